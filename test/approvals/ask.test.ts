import { eq } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { grants, requests } from '../../src/approvals/schema.ts'
import type { SubjectFacts } from '../../src/policy/points.ts'
import { decisions } from '../../src/policy/schema.ts'
import { compileWith, createWorld, granted, refused, type World } from './world.ts'

let world: World
let ada: SubjectFacts
let dba: SubjectFacts

beforeAll(async () => {
  world = await createWorld()
  await world.activate(await compileWith())
  ada = await world.person('ada', ['engineers'])
  dba = await world.person('dan', ['dbas'])
})
afterAll(() => world.drop())

describe('asking for access', () => {
  test('an engineer who asks waits for an approver, and has nothing meanwhile', async () => {
    const answer = granted(await world.ask(ada))
    expect(answer.grant).toBeNull()
    expect(answer.request).toMatchObject({ state: 'pending', resource: 'shop-db', role: 'reader', subject_id: ada.id })
    expect(answer.request.terms).toMatchObject({ stages: [{ approvers: ['dbas'], quorum: 1 }] })
    expect(
      await world.approvals.accessFacts({
        subject_id: ada.id,
        on_behalf_of: null,
        resource: 'shop-db',
        role: 'reader',
      }),
    ).toEqual([])
    const [row] = await world.db.select().from(decisions).where(eq(decisions.id, answer.request.decision_id))
    expect(row).toMatchObject({ point: 'access', effect: 'ask', request_id: answer.request.id })
    expect((await world.events('request.created')).at(-1)?.body).toMatchObject({
      request_id: answer.request.id,
      reason: 'look into order 4711',
    })
  })

  test('what policy allows is granted at once, for the time that was asked', async () => {
    const answer = granted(await world.ask(dba, { duration_s: 600 }))
    expect(answer.request.state).toBe('approved')
    const grant = answer.grant!
    expect(grant.ends_at.getTime() - grant.starts_at.getTime()).toBe(600_000)
    const covers = await world.approvals.accessFacts({
      subject_id: dba.id,
      on_behalf_of: null,
      resource: 'shop-db',
      role: 'reader',
    })
    expect(covers.map(c => c.id)).toEqual([grant.id])
  })

  test('what policy denies leaves no request, and names rule and place', async () => {
    const before = await world.db.$count(requests)
    const refusal = refused(await world.ask(await world.person('eve', ['sales'])))
    expect(refusal).toMatchObject({ code: 'policy_denied', remedy: expect.stringContaining('roles/data.yaml') })
    expect(refusal.message).toMatch(/access\.default, access\/access\.rego:\d+@1{40}/)
    expect(await world.db.$count(requests)).toBe(before)
    expect((await world.events('request.denied')).at(-1)?.body).toMatchObject({
      by: 'policy',
      decision_id: refusal.decision_id,
    })
    expect(await world.db.$count(decisions, eq(decisions.id, refusal.decision_id!))).toBe(1)
  })

  test('longer than policy gives is refused with what it gives', async () => {
    const refusal = refused(await world.ask(ada, { duration_s: 30_000 }))
    expect(refusal.message).toContain('28800')
  })

  test.each([
    ['an empty reason', { reason: '  ' }],
    ['a reason of 2001 characters', { reason: 'x'.repeat(2001) }],
    ['a reason with an escape sequence', { reason: 'clear \u001b[2J' }],
    ['a reason that turns its direction', { reason: 'ok \u202e' }],
    ['a lone surrogate', { reason: 'x\ud800' }],
    ['59 seconds', { duration_s: 59 }],
    ['half a second more', { duration_s: 60.5 }],
    ['no number', { duration_s: Number.NaN }],
    ['a ticket number with a line break', { ticket_ref: 'A\n1' }],
    ['an empty role', { role: '' }],
  ])('%s is a bad request', async (_, more) => {
    expect(refused(await world.ask(ada, more))).toMatchObject({ code: 'bad_request', decision_id: null })
  })

  test('an unknown resource is not found', async () => {
    expect(refused(await world.ask(ada, { resource: 'shop_db' })).code).toBe('not_found')
  })

  test('a disabled account asks for nothing', async () => {
    const ghost = { ...ada, id: 'sub_00000000000000000000000000' }
    expect(refused(await world.ask(ghost)).code).toBe('unauthenticated')
  })

  test('twenty requests may wait, also when thirty come at once', async () => {
    const many = await world.person('many', ['engineers'])
    const answers = await Promise.all(Array.from({ length: 30 }, () => world.ask(many)))
    expect(answers.filter(a => !a.refused)).toHaveLength(20)
    expect(new Set(answers.filter(a => a.refused).map(a => refused(a).code))).toEqual(new Set(['rate_limited']))
  })

  test('a standing grant is refused, without a request, where somebody must approve', async () => {
    const before = await world.db.$count(requests)
    const refusal = refused(
      await world.approvals.standingGrant({
        subject: ada,
        resource: 'shop-db',
        role: 'writer',
        duration_s: 600,
        reason: 'standing access',
        ticket_ref: null,
        via: 'api',
        client: world.client,
      }),
    )
    expect(refusal.message).toContain('approval first')
    expect(await world.db.$count(requests)).toBe(before)
  })

  test('the row, the decision and the event stand or fall together', async () => {
    const [events, rows, logged] = await Promise.all([
      world.events(),
      world.db.$count(requests),
      world.db.$count(decisions),
    ])
    const audit = { record: async () => Promise.reject(new Error('the log is full')) }
    const { Approvals } = await import('../../src/approvals/approvals.ts')
    await expect(
      new Approvals({ ...world.ground, audit }).ask({
        subject: ada,
        resource: 'shop-db',
        role: 'reader',
        duration_s: 600,
        reason: 'r',
        ticket_ref: null,
        via: 'api',
        client: world.client,
      }),
    ).rejects.toThrow('the log is full')
    expect([(await world.events()).length, await world.db.$count(requests), await world.db.$count(decisions)]).toEqual([
      events.length,
      rows,
      logged,
    ])
  })
})

test('without a policy nobody gets anything', async () => {
  const bare = await createWorld()
  try {
    const someone = await bare.person('ada', ['engineers'])
    expect(refused(await bare.ask(someone)).code).toBe('not_found')
    expect(await bare.db.$count(grants)).toBe(0)
  } finally {
    await bare.drop()
  }
})
