import { createHmac } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { policyRoutes } from '../../src/api/policy.ts'
import { policySchemaRoutes } from '../../src/api/policy-schemas.ts'
import { steeringRoutes } from '../../src/api/policy-steering.ts'
import { webhookRoutes } from '../../src/api/policy-webhooks.ts'
import { buildServer } from '../../src/api/server.ts'
import { SallyportError } from '../../src/errors.ts'
import { Registry } from '../../src/gateway/registry.ts'
import { points } from '../../src/policy/points.ts'
import type { Hand } from '../../src/policy/repository/steering.ts'
import { packSources, unpackSources } from '../../src/policy/revision-sources.ts'
import { allProtocols } from '../../src/protocols/all.ts'
import { Secret } from '../../src/secret.ts'
import { signIn } from '../identity/support.ts'
import { type ApiWorld, apiWorld } from './support.ts'

const steered: unknown[] = []
let looks = 0
const repository = {
  pin: async (commit: string, by: Hand) => {
    if (commit === 'badbadb') throw new SallyportError('not_found', 'no such commit')
    steered.push(['pin', commit, by.name, by.reason])
    return { generation: 2, commit: commit.padEnd(40, '0') }
  },
  rollback: async (generation: number | undefined, by: Hand) => {
    steered.push(['rollback', generation, by.name])
    return { generation: 3, commit: 'a'.repeat(40) }
  },
  unpin: async (by: Hand) => {
    steered.push(['unpin', by.name])
    return { ended: 'pin' as const }
  },
}

let world: ApiWorld
beforeAll(async () => {
  const secrets = { github: new Secret('s3cret') }
  const look = async () => void looks++
  world = await apiWorld(deps =>
    buildServer({ ...deps, repository, webhooks: { secrets, look }, registry: new Registry(allProtocols) }, [
      policyRoutes,
      policySchemaRoutes,
      steeringRoutes,
      webhookRoutes,
    ]),
  )
})
afterAll(() => world.stop())

async function as(sub: string) {
  const { session } = await signIn(world, sub)
  return async (method: string, path: string, body?: unknown) => {
    const response = await fetch(world.origin + path, {
      method,
      headers: { cookie: `sallyport=${session}`, origin: world.origin, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const bytes = Buffer.from(await response.arrayBuffer())
    const type = response.headers.get('content-type') ?? ''
    return { status: response.status, bytes, body: type.includes('json') ? JSON.parse(bytes.toString()) : null }
  }
}

test('the schemas of every point and of the data files are served to whom the admin point allows the status', async () => {
  const [sam, erin] = [await as('sam'), await as('erin')]
  expect((await erin('GET', '/api/policy/schemas')).status).toBe(403)
  const { status, body } = await sam('GET', '/api/policy/schemas')
  expect(status).toBe(200)
  for (const point of Object.keys(points)) expect(Object.keys(body)).toEqual(expect.arrayContaining([`${point}.input`]))
  expect(body['access.input'].properties.stage).toEqual({
    type: 'string',
    enum: ['request', 'ticket', 'connect', 'live'],
  })
  expect(body['recording.result'].additionalProperties).toBe(false)
  expect(Object.keys(body)).toEqual(expect.arrayContaining(['resources', 'roles', 'policy']))
})

describe('steering the policy', () => {
  test('is for whom the admin point allows it, with a reason that is heard', async () => {
    const [sam, erin] = [await as('sam'), await as('erin')]
    const pin = { commit: 'abcdef1', reason: 'an incident' }
    expect((await erin('POST', '/api/policy/pin', pin)).status).toBe(403)
    expect(steered).toEqual([])
    expect(await sam('POST', '/api/policy/pin', pin)).toMatchObject({ status: 200, body: { generation: 2 } })
    expect(await sam('POST', '/api/policy/rollback', { reason: 'r', generation: 1 })).toMatchObject({ status: 200 })
    expect(await sam('POST', '/api/policy/unpin', { reason: 'over' })).toMatchObject({ body: { ended: 'pin' } })
    const name = (steered[0] as string[])[2]
    expect(steered).toEqual([
      ['pin', 'abcdef1', name, 'an incident'],
      ['rollback', 1, name],
      ['unpin', name],
    ])
    for (const bad of [{ ...pin, commit: 'HEAD' }, { ...pin, reason: '' }, { commit: 'abcdef1' }])
      expect((await sam('POST', '/api/policy/pin', bad)).status).toBe(400)
    expect((await sam('POST', '/api/policy/pin', { ...pin, commit: 'badbadb' })).status).toBe(404)
  })

  test('shows what was in force, its sources, and which revision each process runs', async () => {
    const sam = await as('sam')
    const sources = new Map([['lib/x.rego', Buffer.from('package sallyport.lib.x')]])
    await world.database
      .sql`update revisions set sources = ${packSources(sources)}, signer = 'sam' where generation = 1`
    await world.database.sql`
      insert into processes (id, role, host, pid, generation, ready) values ('prc_1', 'gateway', 'g1', 7, 1, 'ready')`
    const { body } = await sam('GET', '/api/policy/revisions?limit=5')
    expect(body.revisions).toMatchObject([{ generation: 1, signer: 'sam', kind: 'followed', sources: true }])
    expect((await sam('GET', '/api/policy/revisions?before=1')).body).toEqual({ revisions: [] })
    expect(unpackSources((await sam('GET', '/api/policy/revisions/1/sources')).bytes)).toEqual(sources)
    expect((await sam('GET', '/api/policy/revisions/9/sources')).status).toBe(404)
    await world.database.sql`insert into policy_state (id, pinned, pinned_kind, pinned_by, pin_reason, head)
      values (1, ${'a'.repeat(40)}, 'pinned', 'sub_sam', 'why', ${'b'.repeat(40)})`
    expect((await sam('GET', '/api/policy/status')).body).toMatchObject({
      processes: [{ id: 'prc_1', role: 'gateway', generation: 1, ready: 'ready' }],
      held: [{ kind: 'pinned', commit: 'a'.repeat(40), reason: 'why' }],
      tracked: { head: 'b'.repeat(40), problem: null },
    })
  })
})

describe('a webhook', () => {
  const push = (path: string, body: string | Buffer, headers: Record<string, string>) =>
    fetch(`${world.origin}/api/policy/webhook/${path}`, { method: 'POST', body, headers })
  const sign = (body: string | Buffer) => ({
    'x-hub-signature-256': `sha256=${createHmac('sha256', 's3cret').update(body).digest('hex')}`,
  })

  test('with a good signature makes somebody look, whatever its content is', async () => {
    looks = 0
    for (const body of ['{"ref":"refs/heads/main"}', 'payload=%7B%7D', '\u0000 no JSON'])
      expect((await push('github', body, { ...sign(body), 'content-type': 'application/json' })).status).toBe(202)
    expect(
      (await push('github', 'x', { ...sign('x'), 'content-type': 'application/x-www-form-urlencoded' })).status,
    ).toBe(202)
    expect(looks).toBe(4)
  })

  test('without one does nothing, from an unknown sender neither; too large a body is not read', async () => {
    looks = 0
    expect((await push('github', 'x', sign('y'))).status).toBe(401)
    expect((await push('gitlab', 'x', { 'x-gitlab-token': 's3cret' })).status).toBe(401)
    expect((await push('constructor', 'x', sign('x'))).status).toBe(401)
    const large = Buffer.alloc(1024 * 1024 + 1, 'x')
    expect((await push('github', large, sign(large))).status).toBe(413)
    expect(looks).toBe(0)
  })

  test('that comes again and again is held off, good or bad', async () => {
    const statuses: number[] = []
    for (let n = 0; n < 70; n++) statuses.push((await push('github', 'x', sign('x'))).status)
    expect(statuses.at(-1)).toBe(429)
    for (let n = 0; n < 40; n++) statuses.push((await push('github', 'x', sign('y'))).status)
    expect(statuses.at(-1)).toBe(429)
  })
})
