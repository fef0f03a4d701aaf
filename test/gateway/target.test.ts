import { mkdtempSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Resource } from '../../src/gateway/protocol.ts'
import { GuardedTarget } from '../../src/gateway/target.ts'
import { createRootKey } from '../../src/keys.ts'
import type { Permit } from '../../src/policy/permit.ts'
import { protocolKeys } from '../../src/signing-keys.ts'
import { accessInput, engineOn } from '../policy/support.ts'

const folder = mkdtempSync(join(tmpdir(), 'sallyport-target-'))
const passwordFile = join(folder, 'password')
writeFileSync(passwordFile, 'hunter2\n', { mode: 0o600 })

const root = createRootKey(join(folder, 'root'))
let permit: Permit
let others: Permit[]
let port: number
const server = createServer(socket => socket.on('error', () => {}).end('hello'))

beforeAll(async () => {
  const engine = await engineOn()
  const terms = engine.decide('access', accessInput()).decision.result!.approval!
  const votes = terms.stages.map(({ approvers }, stage) => ({
    approver: `sub_${stage}`,
    groups: approvers,
    stage,
    answer: 'approve',
    at_ms: 1,
  }))
  const permitOf = (stage: 'request' | 'connect') => engine.decide('access', accessInput({ stage, votes })).permit!
  permit = permitOf('connect')
  const about = { subject: accessInput().subject, resource: accessInput().resource, role: 'reader' }
  others = [permitOf('request'), engine.decide('masking', about).permit!, engine.decide('recording', about).permit!]
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  port = (server.address() as { port: number }).port
})
afterAll(() => void server.close())

const resource = (change: Partial<Resource> = {}): Resource => ({
  name: 'shop-db',
  protocol: 'postgres',
  host: '127.0.0.1',
  port,
  labels: { env: 'staging' },
  secret: 'shop',
  options: {},
  ...change,
})
const declared = { from: `file:${passwordFile}`, hosts: ['127.0.0.1'] }
const target = (
  change: Partial<Resource> = {},
  settings: { allow?: string[]; secrets?: Record<string, typeof declared & { labels?: Record<string, string> }> } = {},
) =>
  new GuardedTarget(resource(change), {
    secrets: settings.secrets ?? { shop: declared },
    allow_addresses: settings.allow ?? [`127.0.0.1:${port}`],
    connect_ms: 500,
    keys: (protocol, purpose) => protocolKeys(root, protocol, purpose),
  })

describe('the way to a target', () => {
  test('a look-alike of a Permit opens nothing', async () => {
    const fake = { resource: 'shop-db', role: 'reader', decision_id: 'dec_x' } as unknown as Permit
    expect(() => target().keys(fake, 'target-ca')).toThrow('Permit')
    await expect(target().connect(fake)).rejects.toThrow('Permit')
    expect(() => target().secret(fake)).toThrow('Permit')
  })

  test('a permit for something else on the same resource opens nothing', async () => {
    for (const other of others) {
      expect(other.resource).toBe('shop-db')
      await expect(target().connect(other)).rejects.toThrow('opens no target')
      expect(() => target().secret(other)).toThrow('opens no target')
    }
  })

  test('a permit for another resource opens nothing', async () => {
    await expect(target({ name: 'other-db' }).connect(permit)).rejects.toMatchObject({ code: 'policy_denied' })
    expect(() => target({ name: 'other-db' }).secret(permit)).toThrow('not for other-db')
  })

  test('what the operator allowed is dialled', async () => {
    const socket = await target().connect(permit)
    socket.destroy()
  })

  test('loopback, link-local, unspecified and mapped addresses are refused in every spelling', async () => {
    const hosts = [
      '127.0.0.1',
      '127.8.9.1',
      'localhost',
      '0.0.0.0',
      '169.254.169.254',
      '::1',
      '::',
      'fe80::1',
      '::ffff:127.0.0.1',
      '::ffff:7f00:1',
      '224.0.0.1',
    ]
    for (const host of hosts) {
      await expect(target({ host, port: 9 }, { allow: [] }).connect(permit), host).rejects.toMatchObject({
        code: 'policy_denied',
      })
    }
  })

  test('an allowance is for one port only', async () => {
    await expect(target({ port: port + 1 }).connect(permit)).rejects.toMatchObject({ code: 'policy_denied' })
  })

  test('a target that is away is said so, with its name', async () => {
    await expect(target({ port: 1 }, { allow: ['127.0.0.1:1'] }).connect(permit)).rejects.toMatchObject({
      code: 'target_unavailable',
      message: expect.stringContaining('shop-db cannot be reached'),
    })
  })

  test('a secret goes only to hosts and labels it was declared for', () => {
    expect(target().secret(permit).reveal()).toBe('hunter2')
    expect(() => target({ host: '192.0.2.1' }).secret(permit)).toThrow('may not be sent to 192.0.2.1')
    expect(() => target({ secret: 'unknown' }).secret(permit)).toThrow('did not declare')
    expect(() => target({ secret: 'constructor' }).secret(permit)).toThrow('did not declare')
    expect(() => target({ secret: null }).secret(permit)).toThrow('names no secret')
    expect(() =>
      target({}, { secrets: { shop: { ...declared, labels: { env: 'production' } } } }).secret(permit),
    ).toThrow('env: production')
  })
})
