import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { SallyportError } from '../../src/errors.ts'
import { checkConfig, loadConfig } from '../../src/load-config.ts'

const page = readFileSync(resolve(import.meta.dirname, '../../src/README.md'), 'utf8')
const example = /```yaml\n([\s\S]+?)```/.exec(page)![1]!
const filled = example
  .replaceAll('ed25519:…', `ed25519:${'A'.repeat(43)}`)
  .replaceAll('age1…', 'age1qqq')
  .replaceAll('age1other…', 'age1ppp')

function messageOf(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    if (error instanceof SallyportError) return error.message
    throw error
  }
  return 'it was accepted'
}

describe('the configuration', () => {
  test('that the documentation shows is accepted, and frozen', () => {
    const config = checkConfig(parse(filled), 'the example')
    expect(config.gateway.workers).toBe(2)
    expect(() => Object.assign(config.gateway, { workers: 9 })).toThrow(TypeError)
  })

  test('every missing and wrong setting is listed at once', () => {
    const wrong = parse(filled)
    delete wrong.origin
    delete wrong.oidc.issuer
    wrong.gateway.workers = 0
    wrong.policy.poll_s = 'often'
    wrong.recordings = {}
    wrong.zone = 'Europe/Nowhere'
    const message = messageOf(() => checkConfig(wrong, 'sallyport.yaml'))
    for (const place of ['zone', 'origin', 'issuer', '/gateway/workers', '/policy/poll_s', 'recordings'])
      expect(message).toContain(place)
  })

  test('originals that the recipients of recordings could open are refused', () => {
    const wrong = parse(filled)
    wrong.recording.originals_recipients = ['age1zzz', ...wrong.recording.recipients]
    const message = messageOf(() => checkConfig(wrong, 'sallyport.yaml'))
    expect(message).toContain('/recording/originals_recipients/1: must not be among recipients too')
    wrong.recording.originals_recipients = undefined
    delete wrong.recording.originals_recipients
    expect(messageOf(() => checkConfig(wrong, 'sallyport.yaml'))).toBe('it was accepted')
  })

  test('one of the two keys of a bucket alone is refused', () => {
    const wrong = parse(filled)
    wrong.recording.store = { kind: 's3', bucket: 'recordings', region: 'eu-central-1', access_key: 'env:KEY' }
    expect(messageOf(() => checkConfig(wrong, 'sallyport.yaml'))).toContain(
      '/recording/store: access_key and secret_key go together',
    )
    wrong.recording.store.secret_key = 'env:SECRET'
    expect(messageOf(() => checkConfig(wrong, 'sallyport.yaml'))).toBe('it was accepted')
  })

  test('a secret itself in the place of its reference is refused, and not repeated', () => {
    const wrong = parse(filled)
    wrong.database.control = 'postgres://sallyport:SECRET-canary@db/sallyport'
    const message = messageOf(() => checkConfig(wrong, 'sallyport.yaml'))
    expect(message).toContain('/database/control')
    expect(message).not.toContain('SECRET-canary')
  })

  test('a file that is missing, empty or no YAML is refused with its path', () => {
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-config-'))
    writeFileSync(join(folder, 'empty.yaml'), '')
    writeFileSync(join(folder, 'broken.yaml'), 'a: [1,\nb: {')
    for (const name of ['missing.yaml', 'empty.yaml', 'broken.yaml']) {
      expect(messageOf(() => loadConfig(join(folder, name)))).toContain(join(folder, name))
    }
  })
})
