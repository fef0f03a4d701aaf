import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { planRoutes } from '../../src/api/plan.ts'
import { baseAreas, buildServer } from '../../src/api/server.ts'
import { newId } from '../../src/ids.ts'
import { bundleDigest, packBundle } from '../../src/policy/bundle.ts'
import type { Engine } from '../../src/policy/engine.ts'
import { Resources } from '../../src/policy/resources.ts'
import { packSources } from '../../src/policy/revision-sources.ts'
import { signIn } from '../identity/support.ts'
import { accessInput, bundleOf, engineer, engineOn, now, starter } from '../policy/support.ts'
import { type ApiWorld, apiWorld } from './support.ts'

let world: ApiWorld
let engine: Engine
let held: { ends_at_ms: number }[] = []
beforeAll(async () => {
  engine = await engineOn()
  world = await apiWorld(
    deps =>
      buildServer(
        {
          ...deps,
          resources: new Resources(engine),
          approvals: { accessFacts: async () => held as never },
        },
        [...baseAreas, planRoutes],
      ),
    { engine },
  )
  const bundle = await bundleOf()
  expect(bundleDigest(bundle)).toBe(engine.revision!.digest)
  await world.database.sql`update revisions set bundle = ${packBundle(bundle)}, sources = ${packSources(starter())}`
})
afterAll(() => world.stop())

async function as(sub: string) {
  const { session, subject_id } = await signIn(world, sub)
  const get = async (path: string) => {
    const response = await fetch(world.origin + path, { headers: { cookie: `sallyport=${session}` } })
    return { status: response.status, body: (await response.json()) as Record<string, never> }
  }
  return { id: subject_id, get }
}
const decisionsOf = async (point: string) =>
  Number((await world.database.sql`select count(*) as n from decisions where point = ${point}`)[0]?.['n'])

describe('can-i', () => {
  test('an engineer learns who would have to approve, a DBA that nobody has to', async () => {
    const [erin, dana] = [await as('erin'), await as('dana')]
    const ask = await erin.get('/api/can-i?role=reader&resource=shop-db')
    expect(ask).toMatchObject({
      status: 200,
      body: { effect: 'ask', max_s: 28_800, held_until_ms: null, approval: { stages: [{ approvers: ['dbas'] }] } },
    })
    const allow = await dana.get('/api/can-i?role=reader&resource=shop-db')
    expect(allow.body).toMatchObject({ effect: 'allow', approval: null })
    held = [{ ends_at_ms: 7 }]
    expect((await erin.get('/api/can-i?role=reader&resource=shop-db')).body).toMatchObject({ held_until_ms: 7 })
    held = []
    expect((await erin.get('/api/can-i?role=reader&resource=nothing')).status).toBe(404)
  })

  test('a denial has its rule and place, and names the roles that one could have here', async () => {
    const erin = await as('erin')
    const { body } = await erin.get('/api/can-i?role=root&resource=shop-db')
    expect(body).toMatchObject({
      effect: 'deny',
      reasons: [{ rule: 'access.default', at: expect.stringMatching(/^access\/access\.rego:\d+@/) }],
      others: expect.arrayContaining([{ role: 'reader', effect: 'ask' }]),
    })
  })

  test('asking leaves no decision of access behind, which anything could stand on', async () => {
    const erin = await as('erin')
    const before = await decisionsOf('access')
    await erin.get('/api/can-i?role=reader&resource=shop-db')
    expect(await decisionsOf('access')).toBe(before)
  })
})

describe('policy plan', () => {
  test('says of each role who approves, how it is recorded, masked, kept and replayed', async () => {
    const [erin, sam] = [await as('erin'), await as('sam')]
    const { status, body } = await sam.get(`/api/policy/plan?subject=${erin.id}&resource=shop-db`)
    expect(status).toBe(200)
    const { roles, logs } = body as unknown as {
      roles: (Record<string, unknown> & { role: string })[]
      logs: { class: string }[]
    }
    const reader = roles.find(each => each.role === 'reader')
    expect(reader).toMatchObject({
      effect: 'ask',
      approval: { stages: [{ approvers: ['dbas'], quorum: 1 }] },
      recording: { level: 'full' },
      masks: expect.arrayContaining([expect.objectContaining({ transform: expect.anything() })]),
      keep_s: expect.any(Number),
      replay: { groups: expect.arrayContaining([expect.objectContaining({ group: 'auditors' })]) },
    })
    expect(roles.find(each => each.role === 'root')).toMatchObject({ effect: 'deny', recording: null, masks: null })
    expect(logs.map(each => each.class)).toEqual(['sessions', 'requests', 'decisions'])
    expect(await decisionsOf('masking')).toBe(0)
  })

  test('is for those whom policy lets, and names who or what it does not know', async () => {
    const [erin, sam] = [await as('erin'), await as('sam')]
    expect((await erin.get(`/api/policy/plan?subject=${erin.id}&resource=shop-db`)).status).toBe(403)
    expect((await sam.get('/api/policy/plan?subject=nobody&resource=shop-db')).status).toBe(404)
    for (const name of ['erin', 'erin@example.test', 'Erin Engineer'])
      expect((await sam.get(`/api/policy/plan?subject=${name}&resource=shop-db`)).body).toMatchObject({
        subject: { id: erin.id },
      })
    await world.database.sql`insert into subjects (id, kind, issuer, subject, name, email)
      values (${newId('sub')}, 'person', 'https://elsewhere.test', 'e2', 'erin', 'other@example.test')`
    const both = await sam.get('/api/policy/plan?subject=erin&resource=shop-db')
    expect(both.status).toBe(409)
    expect(JSON.stringify(both.body)).toMatch(/may be any of these: .*erin@example\.test.*other@example\.test/)
    expect((await sam.get(`/api/policy/plan?subject=${erin.id}&resource=nothing`)).status).toBe(404)
  })
})

describe('explaining a decision over the API', () => {
  test('whose it is and an auditor are told why, with the lines of the rule; others are not', async () => {
    const [erin, eli, sam] = [await as('erin'), await as('eli'), await as('sam')]
    const subject = { ...engineer, id: erin.id, groups_at_ms: now }
    const { decision } = engine.decide('access', accessInput({ role: 'owner', subject }))
    await world.decisions.insert(world.database.db, decision)
    const path = `/api/decisions/${decision.id}/explanation`
    const { status, body } = await erin.get(path)
    expect(status).toBe(200)
    expect(body).toMatchObject({
      id: decision.id,
      effect: 'deny',
      subject: { id: erin.id, name: 'Ada', groups: ['engineers'] },
      rules: [
        {
          rule: 'access.default',
          source: expect.arrayContaining([expect.objectContaining({ text: 'default result := {' })]),
        },
      ],
      instead: expect.arrayContaining([expect.objectContaining({ kind: 'role', effect: 'ask' })]),
    })
    expect((await sam.get(path)).status).toBe(200)
    expect((await eli.get(path)).status).toBe(403)
    expect((await sam.get('/api/decisions/dec_none/explanation')).status).toBe(404)

    const ava = await as('ava')
    const statuses = []
    for (let i = 0; i < 31; i++) statuses.push((await ava.get('/api/decisions/dec_none/explanation')).status)
    expect(statuses.slice(0, 30)).not.toContain(429)
    expect(statuses[30]).toBe(429)
    expect((await sam.get('/api/decisions/dec_none/explanation')).status).toBe(404) // of each caller
  })
})
