import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { isId, newId } from '../../src/ids.ts'
import { createRootKey } from '../../src/keys.ts'
import { Secret } from '../../src/secret.ts'
import { parsePublicKey, publicKeyText, signingKeys } from '../../src/signing-keys.ts'

const canary = 'SECRET-canary-1'

describe('a secret', () => {
  test('is printed by nothing', () => {
    const secret = new Secret(canary)
    const ways = [
      `${secret}`,
      String(secret),
      JSON.stringify({ secret }),
      inspect(secret),
      inspect({ a: [secret] }, { showHidden: true, depth: 9 }),
      secret + '',
    ]
    for (const way of ways) expect(way).not.toContain(canary)
    expect(Object.keys(secret)).toEqual([])
    expect(secret.reveal()).toBe(canary)
  })

  test('compares with itself only', () => {
    const secret = new Secret(canary)
    expect(secret.equals(canary)).toBe(true)
    expect(secret.equals(canary + 'x')).toBe(false)
    expect(secret.equals('')).toBe(false)
  })
})

describe('ids', () => {
  test('have their prefix, never repeat, and sort by time', () => {
    const ids = Array.from({ length: 5_000 }, () => newId('ses'))
    expect(new Set(ids).size).toBe(ids.length)
    for (const id of ids) expect(isId('ses', id)).toBe(true)
    expect(ids[0]!.slice(0, 12) <= ids.at(-1)!.slice(0, 12)).toBe(true)
  })

  test('other shapes are no ids', () => {
    for (const text of [
      '',
      'ses_',
      'ses_' + 'u'.repeat(26),
      newId('req'),
      newId('ses') + 'a',
      newId('ses').toUpperCase(),
    ]) {
      expect(isId('ses', text)).toBe(false)
    }
  })
})

describe('signing keys', () => {
  const root = createRootKey(join(mkdtempSync(join(tmpdir(), 'sallyport-keys-')), 'root'))

  test('are the same after every start and different for each purpose', () => {
    const [a, b] = [signingKeys(root, 'checkpoints'), signingKeys(root, 'checkpoints')]
    expect(publicKeyText(a.publicKey)).toBe(publicKeyText(b.publicKey))
    expect(publicKeyText(signingKeys(root, 'replay-calls').publicKey)).not.toBe(publicKeyText(a.publicKey))
    expect(parsePublicKey(publicKeyText(a.publicKey)).equals(a.publicKey)).toBe(true)
  })

  test('a public key of another shape is refused', () => {
    for (const text of [
      '',
      'ed25519:',
      'ed25519:' + 'A'.repeat(42),
      'rsa:' + 'A'.repeat(43),
      'ed25519:' + 'A'.repeat(44),
    ]) {
      expect(() => parsePublicKey(text)).toThrow(/public key/)
    }
  })
})
