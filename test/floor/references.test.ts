import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Config } from '../../src/config.ts'
import { checkReferences } from '../../src/references.ts'

const folder = mkdtempSync(join(tmpdir(), 'sallyport-references-'))
const file = (name: string, text = 'postgres://db/CANARY', mode = 0o600) => {
  writeFileSync(join(folder, name), text)
  chmodSync(join(folder, name), mode)
  return `file:${join(folder, name)}`
}
const settings = (changes: Partial<Config> = {}): Config =>
  ({
    database: { control: file('db-control'), gateway: file('db-gateway'), replay: file('db-replay') },
    keys: { control: file('control'), gateway: file('gateway'), replay: file('replay') },
    oidc: { client_secret: file('oidc') },
    policy: {},
    audit: {},
    gateway: {},
    secrets: { shop: { from: file('shop'), hosts: [] } },
    recording: { identity: file('identity') },
    ...changes,
  }) as unknown as Config
const messageOf = (config: Config, roles: ('control' | 'gateway' | 'replay')[]) => {
  try {
    checkReferences(config, roles)
    return null
  } catch (error) {
    return (error as Error).message
  }
}

test('what is there is accepted', () => {
  expect(messageOf(settings(), ['control', 'gateway', 'replay'])).toBeNull()
})

test('all that is missing, unset, empty or too open is listed at once, and no value is repeated', () => {
  const wrong = settings({
    oidc: { client_secret: 'env:SALLYPORT_TEST_NOT_SET' },
    keys: { control: `file:${folder}/none`, gateway: file('open', 'CANARY', 0o644), replay: file('replay') },
    secrets: { shop: { from: file('empty', ''), hosts: [] } },
  } as unknown as Config)
  const message = messageOf(wrong, ['control', 'gateway', 'replay'])
  for (const said of [
    '/keys/control: the file',
    '/oidc/client_secret: the variable SALLYPORT_TEST_NOT_SET',
    '/keys/gateway: the file',
    'too open',
    '/secrets/shop/from: the secret file',
  ])
    expect(message).toContain(said)
  expect(message).not.toContain('CANARY')
})

test('a role asks for nothing of the others', () => {
  const wrong = settings({ recording: { identity: `file:${folder}/none` } } as unknown as Config)
  expect(messageOf(wrong, ['control', 'gateway'])).toBeNull()
  expect(messageOf(wrong, ['replay'])).toContain('/recording/identity')
})

test('the places of checkpoints are control’s, the stores of recordings everybody’s', () => {
  const none = `file:${folder}/none`
  const bucket = { kind: 's3', access_key: file('access'), secret_key: none }
  const wrong = settings({
    audit: { places: [{ kind: 'webhook', secret: none }] },
    recording: { identity: file('identity'), store: bucket },
  } as unknown as Config)
  expect(messageOf(wrong, ['control'])).toContain('/audit/places/0/secret')
  expect(messageOf(wrong, ['gateway', 'replay'])).not.toContain('/audit')
  for (const role of ['control', 'gateway', 'replay'] as const)
    expect(messageOf(wrong, [role])).toContain('/recording/store/secret_key')
})
