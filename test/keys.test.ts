import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { afterAll, describe, expect, test } from 'vitest'
import {
  createGatewayRootKey,
  createRootKey,
  derive,
  loadRootKey,
  open,
  rootKeyOf,
  seal,
  secretRef,
  ticketsKey,
} from '../src/keys.ts'

const dir = mkdtempSync(join(tmpdir(), 'sallyport-keys-'))
afterAll(() => rmSync(dir, { recursive: true }))

describe('root keys', () => {
  const path = join(dir, 'control.key')
  const root = createRootKey(path)

  test('a root key file is 0600, and is never replaced', () => {
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(() => createRootKey(path)).toThrow(/EEXIST/)
  })

  test('a root key file that others can read is refused, with the command that mends it', () => {
    const open = join(dir, 'open.key')
    writeFileSync(open, readFileSync(path), { mode: 0o600 })
    chmodSync(open, 0o640)
    expect(() => loadRootKey(open)).toThrow(/too open: run `chmod 600/)
  })

  test('a file that is cut short or changed is no root key', () => {
    for (const text of [
      '',
      'sallyport-root-1 ',
      readFileSync(path, 'utf8').slice(0, -6),
      'x' + readFileSync(path, 'utf8'),
    ]) {
      const bad = join(dir, `bad-${text.length}`)
      writeFileSync(bad, text, { mode: 0o600 })
      expect(() => loadRootKey(bad)).toThrow(/holds no root key/)
    }
  })

  test('what one purpose seals, another purpose, context or root cannot open', () => {
    const sealed = seal(derive(root, 'sign-ins'), 'geheim', 'row-1')
    expect(open(derive(loadRootKey(path), 'sign-ins'), sealed, 'row-1')?.toString()).toBe('geheim')
    expect(open(derive(root, 'sign-ins'), sealed, 'row-2')).toBeNull()
    expect(open(derive(root, 'refresh-tokens'), sealed, 'row-1')).toBeNull()
    expect(open(derive(createRootKey(join(dir, 'other.key')), 'sign-ins'), sealed, 'row-1')).toBeNull()
  })

  test('a sealed value with any byte changed does not open', () => {
    const key = derive(root, 'sign-ins')
    const sealed = seal(key, 'abc', 'c')
    for (let i = 0; i < sealed.length; i++) {
      const changed = Buffer.from(sealed)
      changed[i]! ^= 1
      expect(open(key, changed, 'c')).toBeNull()
    }
    for (let i = 0; i < sealed.length; i++) expect(open(key, sealed.subarray(0, i), 'c')).toBeNull()
  })

  test('control opens what the gateway sealed for tickets; the gateway cannot make the other keys of control', () => {
    const gateway = createGatewayRootKey(join(dir, 'gateway.key'), root)
    const sealed = seal(ticketsKey('gateway', gateway), 't', 'tkt')
    expect(open(ticketsKey('control', root), sealed, 'tkt')?.toString()).toBe('t')
    expect(open(derive(gateway, 'refresh-tokens'), seal(derive(root, 'refresh-tokens'), 'r', ''), '')).toBeNull()
  })

  test('keys cannot be printed', () => {
    expect(`${root} ${JSON.stringify({ root })} ${inspect(derive(root, 'cookies'))}`).toBe(
      '[secret] {"root":"[secret]"} [secret]',
    )
  })
})

describe('references to secrets', () => {
  test('a file gives its text without the last newline, a variable its value', () => {
    writeFileSync(join(dir, 's'), 'pass word\n', { mode: 0o600 })
    expect(secretRef(`file:${join(dir, 's')}`).reveal()).toBe('pass word')
    process.env['SALLYPORT_TEST_SECRET'] = 'v'
    expect(secretRef('env:SALLYPORT_TEST_SECRET').reveal()).toBe('v')
    process.env['SALLYPORT_TEST_ROOT'] = readFileSync(join(dir, 'control.key'), 'utf8')
    expect(rootKeyOf('env:SALLYPORT_TEST_ROOT').kind).toBe('root')
  })

  test('an unset variable, a missing, empty or world-readable file and an unknown kind are refused by name', () => {
    writeFileSync(join(dir, 'w'), 'x')
    chmodSync(join(dir, 'w'), 0o644)
    writeFileSync(join(dir, 'e'), '\n', { mode: 0o600 })
    expect(() => secretRef('env:SALLYPORT_TEST_NOT_SET')).toThrow(/SALLYPORT_TEST_NOT_SET/)
    expect(() => secretRef(`file:${dir}/missing`)).toThrow(/ENOENT/)
    expect(() => secretRef(`file:${dir}/e`)).toThrow(/is empty/)
    expect(() => secretRef(`file:${dir}/w`)).toThrow(/too open/)
    expect(() => secretRef('http://x')).toThrow(/unknown way/)
  })
})
