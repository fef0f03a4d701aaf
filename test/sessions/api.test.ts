import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Api } from '../../src/api/deps.ts'
import { grantRoutes } from '../../src/api/grants.ts'
import { requestRoutes } from '../../src/api/requests.ts'
import { resourceRoutes } from '../../src/api/resources.ts'
import { buildServer } from '../../src/api/server.ts'
import type { SessionDeps } from '../../src/api/sessions.ts'
import { sessionRoutes } from '../../src/api/sessions.ts'
import { type TicketDeps, ticketRoutes } from '../../src/api/tickets.ts'
import { Registry } from '../../src/gateway/registry.ts'
import { createIdentity } from '../../src/identity/identity.ts'
import { createRootKey } from '../../src/keys.ts'
import type { SubjectFacts } from '../../src/policy/points.ts'
import { allProtocols } from '../../src/protocols/all.ts'
import { protocolKeys } from '../../src/signing-keys.ts'
import { compileWith, granted } from '../approvals/world.ts'
import { createSessionWorld, type SessionWorld, type Worker } from './world.ts'

let world: SessionWorld
let gateway: Worker
let app: Api
let tokenOf: (subject: SubjectFacts, scopes?: string[]) => Promise<string>
const people: Record<string, { facts: SubjectFacts; token: string }> = {}

beforeAll(async () => {
  world = await createSessionWorld()
  gateway = await world.worker()
  await world.activate(await compileWith())
  const origin = 'http://127.0.0.1:4000'
  const oidc = {
    issuer: 'http://127.0.0.1:1',
    client_id: 'c',
    groups_claim: 'groups',
    scopes: 'openid',
    refresh_s: 5,
    max_groups_age_s: 3600,
    allow_http: true,
  }
  const { ground } = world.control
  const identity = createIdentity({
    database: ground.database,
    audit: ground.audit,
    config: { origin, oidc },
    root: createRootKey(join(mkdtempSync(join(tmpdir(), 'sallyport-keys-')), 'root')),
    ports: { liveSubjects: async () => [], onGroupsChanged: () => {} },
  })
  tokenOf = async (facts, scopes = ['*']) => {
    const issued = await identity.issueToken(
      { facts, via: 'cli', credential: 'test' },
      { name: 'test', scopes, expires_s: 600 },
    )
    if (!issued.ok) throw new Error(issued.message)
    return issued.token
  }
  const areas = [resourceRoutes, requestRoutes, grantRoutes, ticketRoutes, sessionRoutes]
  app = await buildServer<TicketDeps & SessionDeps & Parameters<typeof resourceRoutes>[1]>(
    {
      config: { origin, deployment: 'test', zone: 'UTC', oidc, control: {} },
      database: ground.database,
      identity,
      engine: world.control.engine,
      decisions: ground.decisionLog,
      now: Date.now,
      ready: () => 'ready',
      limits: { calls: 100_000, failures: 100_000 },
      approvals: world.approvals,
      sessions: world.controlSessions,
      tickets: world.tickets,
      resources: world.control.resources,
      registry: new Registry(allProtocols),
      endpoint: async () => ({ host: 'gateway.test', port: 5439, ca: 'PEM', published: {} }),
      keys: (protocol, purpose) => protocolKeys(world.root, protocol, purpose),
    },
    areas,
  )
  for (const [name, groups] of Object.entries({
    ada: ['engineers'],
    ben: ['engineers'],
    dan: ['dbas'],
    sec: ['security-admins'],
    audrey: ['auditors'],
    eve: ['sales'],
  })) {
    const facts = await world.person(name, groups)
    people[name] = { facts, token: await tokenOf(facts) }
  }
})
afterAll(async () => {
  await app.close()
  await gateway.row.close()
  await world.drop()
})

interface Answer {
  readonly status: number
  readonly body: { items: { id: string }[]; next: string | null; error: Record<string, unknown> } & Record<
    string,
    unknown
  >
}
async function call(who: string, method: 'GET' | 'POST', url: string, payload?: object): Promise<Answer> {
  const token = people[who]?.token ?? who
  const answer = await app.inject({
    method,
    url,
    headers: { authorization: `Bearer ${token}` },
    ...(payload === undefined ? {} : { payload }),
  })
  return { status: answer.statusCode, body: answer.json() as Answer['body'] }
}
const wanted = { resource: 'shop-db', role: 'reader', duration_s: 900, reason: 'look into order 4711' }
const ask = async (who: string, more = {}) =>
  (await call(who, 'POST', '/api/requests', { ...wanted, ...more })).body as unknown as {
    id: string
    hash: string
    state: string
  }

describe('the API of requests', () => {
  test('shows the resources and roles that the caller may ask for, and nothing of how they are reached', async () => {
    const { body } = await call('ada', 'GET', '/api/resources')
    expect(body.items).toEqual([
      {
        name: 'shop-db',
        protocol: 'postgres',
        via: 'postgres',
        labels: { class: 'customer-data', env: 'staging' },
        roles: [
          { role: 'admin', max_s: 1800 },
          { role: 'reader', max_s: 28800 },
          { role: 'writer', max_s: 3600 },
        ],
      },
      {
        name: 'web-1',
        protocol: 'ssh',
        via: 'ssh',
        labels: { class: 'server', env: 'staging' },
        roles: [
          { role: 'operator', max_s: 3600 },
          { role: 'reader', max_s: 28800 },
        ],
      },
    ])
    expect((await call('eve', 'GET', '/api/resources')).body.items).toEqual([])
  })

  test('asks, shows it to the approver, counts the vote and shows the grant', async () => {
    const { id, hash, state } = await ask('ada')
    expect(state).toBe('pending')
    expect((await call('dan', 'GET', '/api/requests?state=pending')).body.items.map(r => r.id)).toContain(id)
    expect((await call('ben', 'GET', '/api/requests')).body.items).toEqual([])
    expect((await call('ben', 'GET', `/api/requests/${id}`)).status).toBe(403)
    expect((await call('audrey', 'GET', '/api/requests')).body.items.map(r => r.id)).toContain(id)
    const voted = await call('dan', 'POST', `/api/requests/${id}/votes`, { answer: 'approve', hash })
    expect(voted).toMatchObject({
      status: 200,
      body: {
        state: 'approved',
        votes: [{ approver: { name: 'dan' }, answer: 'approve', via: 'api' }],
        grant: { id: expect.stringMatching(/^grt_/) },
      },
    })
    expect((await call('ada', 'GET', '/api/grants')).body.items).toHaveLength(1)
    expect((await call('ben', 'GET', '/api/grants')).body.items).toEqual([])
  })

  test('AP6: refuses the vote of who asked, and names rule and decision where policy refused', async () => {
    const { id, hash } = await ask('ada')
    const own = await call('ada', 'POST', `/api/requests/${id}/votes`, { answer: 'approve', hash })
    expect(own).toMatchObject({
      status: 403,
      body: { error: { code: 'policy_denied', message: expect.stringContaining('own') } },
    })
    const eve = await call('eve', 'POST', `/api/requests/${id}/votes`, { answer: 'approve', hash })
    expect(eve).toMatchObject({
      status: 403,
      body: {
        error: {
          rule: 'approve.default',
          at: expect.stringMatching(/^approve\/approve\.rego:\d+@/),
          decision_id: expect.stringMatching(/^dec_/),
        },
      },
    })
    expect(
      (await call('dan', 'POST', `/api/requests/${id}/votes`, { answer: 'approve', hash: '0'.repeat(64) })).status,
    ).toBe(409)
    expect((await call('ben', 'POST', `/api/requests/${id}/cancel`, {})).status).toBe(403)
    expect((await call('ada', 'POST', `/api/requests/${id}/cancel`, {})).body).toMatchObject({ state: 'cancelled' })
  })

  test.each([
    ['an unknown member', { extra: 1 }],
    ['a duration as text', { duration_s: '900' }],
    ['no reason', { reason: '' }],
    ['a control character', { reason: 'a\u0000b' }],
  ])('%s is a bad request', async (_, more) => {
    expect(await call('ada', 'POST', '/api/requests', { ...wanted, ...more })).toMatchObject({
      status: 400,
      body: { error: { code: 'bad_request' } },
    })
  })

  test('pages follow one another without a gap or a repeat', async () => {
    for (let i = 0; i < 5; i++) await ask('ben', { reason: `page ${i}` })
    const seen: string[] = []
    for (let cursor: string | null = '', pages = 0; cursor !== null && pages < 9; pages++) {
      const { body }: Answer = await call(
        'ben',
        'GET',
        `/api/requests?limit=2${cursor === '' ? '' : `&cursor=${cursor}`}`,
      )
      seen.push(...body.items.map(r => r.id))
      cursor = body.next
    }
    expect(seen).toHaveLength(5)
    expect(seen).toEqual([...new Set(seen)].sort().reverse())
    expect((await call('ben', 'GET', '/api/requests?cursor=x')).status).toBe(400)
  })
})

describe('the API of tickets and sessions', () => {
  test('gives a ticket that opens a session, and says nothing of the target', async () => {
    const issued = await call('dan', 'POST', '/api/tickets', { resource: 'shop-db', role: 'reader' })
    expect(issued).toMatchObject({
      status: 201,
      body: {
        host: 'gateway.test',
        port: 5439,
        ca: 'PEM',
        role: 'reader',
        protocol: 'postgres',
        resource: { host: 'gateway.test', secret: null },
      },
    })
    expect(JSON.stringify(issued.body)).not.toMatch(/5455|shop-gateway/)
    const opened = granted(await world.present(gateway, String(issued.body['id'])))
    expect((await call('dan', 'GET', '/api/sessions?state=live')).body.items.map(s => s.id)).toContain(
      opened.session.id,
    )
    expect((await call('ben', 'GET', '/api/sessions')).body.items).toEqual([])
    expect(
      (await call('audrey', 'GET', '/api/sessions?subject=dan&since=2020-01-01T00:00:00Z')).body.items.map(s => s.id),
    ).toEqual([opened.session.id])
    expect((await call('dan', 'GET', '/api/sessions?since=yesterday')).status).toBe(400)
    expect((await call('ben', 'POST', `/api/sessions/${opened.session.id}/end`, {})).status).toBe(403)
    expect((await call('sec', 'POST', `/api/sessions/${opened.session.id}/end`, { reason: 'odd' })).body).toEqual({
      id: opened.session.id,
      ended: true,
    })
    expect((await call('dan', 'GET', `/api/sessions/${opened.session.id}`)).body).toMatchObject({
      end_code: 'revoked',
      end_reason: 'ended by sec: odd',
    })
  })

  test('AP11: refuses one that needs an approval, and says that asking is the way', async () => {
    const refusal = await call('ben', 'POST', '/api/tickets', { resource: 'shop-db', role: 'admin' })
    expect(refusal).toMatchObject({ status: 403, body: { error: { ask: true, rule: 'access.two-stages' } } })
    expect((await call('eve', 'POST', '/api/tickets', { resource: 'shop-db' })).status).toBe(403)
    expect((await call('ben', 'POST', '/api/tickets', { resource: 'shop-db' })).body.error).toMatchObject({
      code: 'bad_request',
      message: expect.stringContaining('admin, reader, writer'),
    })
    expect((await call('ben', 'POST', '/api/tickets', { resource: 'no-db' })).status).toBe(404)
  })

  test('a grant is ended by its holder or a security admin, and by nobody else', async () => {
    const [grant] = (await call('ada', 'GET', '/api/grants')).body.items
    const url = `/api/grants/${grant!.id}/revoke`
    expect((await call('ben', 'POST', url, { reason: 'x' })).status).toBe(403)
    expect((await call('ada', 'POST', url, {})).status).toBe(400)
    expect((await call('sec', 'POST', url, { reason: 'incident 12' })).body).toEqual({ id: grant!.id, revoked: true })
    expect((await call('sec', 'POST', url, { reason: 'again' })).status).toBe(410)
  })

  test('the scopes of a token subtract: one that may ask gets no ticket', async () => {
    const token = await tokenOf(people['dan']!.facts, ['access:request'])
    expect((await call(token, 'POST', '/api/requests', { ...wanted, duration_s: 60 })).status).toBe(201)
    expect((await call(token, 'POST', '/api/tickets', { resource: 'shop-db', role: 'reader' })).status).toBe(403)
    expect((await call('sallyport_nobody_x', 'GET', '/api/grants')).status).toBe(401)
  })
})
