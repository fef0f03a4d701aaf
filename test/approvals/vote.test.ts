import { eq, sql } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Approvals } from '../../src/approvals/approvals.ts'
import { grants, requests, votes } from '../../src/approvals/schema.ts'
import { apiTokens, subjects } from '../../src/identity/schema.ts'
import { newId } from '../../src/ids.ts'
import type { SubjectFacts } from '../../src/policy/points.ts'
import { compileWith, createWorld, type Edit, granted, refused, type World } from './world.ts'

const access = 'access/access.rego'
const machines: Edit = ['approve/approve.rego', 'input.subject.kind == "person"', 'input.subject.kind != "system"']
const twoOfThem: Edit = [access, '"approvers": ["dbas"], "quorum": 1', '"approvers": ["dbas"], "quorum": 2']
const nobody: Edit = [access, '"approvers": ["dbas"]', '"approvers": []']

let world: World
let ada: SubjectFacts
let dan: SubjectFacts
let dora: SubjectFacts

beforeAll(async () => {
  world = await createWorld()
  await world.activate(await compileWith())
  ada = await world.person('ada', ['engineers'])
  dan = await world.person('dan', ['dbas'])
  dora = await world.person('dora', ['dbas'])
})
afterAll(() => world.drop())

const pending = async (more: Parameters<World['ask']>[1] = {}) => granted(await world.ask(ada, more)).request
const cast = (request_id: string, approver: SubjectFacts, answer: 'approve' | 'deny' = 'approve', more = {}) =>
  world.approvals.vote({ request_id, approver, answer, via: 'slack', ...more })
const token = (of: SubjectFacts, by: SubjectFacts, more: { revoked_at?: Date } = {}) =>
  world.db.insert(apiTokens).values({
    id: newId('tok'),
    subject_id: of.id,
    name: 'ci',
    hash: Buffer.alloc(32),
    scopes: ['*'],
    created_by: by.id,
    expires_at: new Date(Date.now() + 3_600_000),
    ...more,
  })
const stateOf = async (id: string) => (await world.db.select().from(requests).where(eq(requests.id, id)))[0]!
const covers = (subject_id: string, role = 'reader') =>
  world.approvals.accessFacts({ subject_id, on_behalf_of: null, resource: 'shop-db', role })

describe('one click', () => {
  test('an approver grants, and the clock of the grant starts at the click', async () => {
    const request = await pending({ duration_s: 900 })
    await new Promise(resolve => setTimeout(resolve, 30))
    const counted = granted(await cast(request.id, dan, 'approve', { expected_hash: request.hash }))
    expect(counted.state).toBe('approved')
    const { starts_at, ends_at } = counted.grant!
    expect(ends_at.getTime() - starts_at.getTime()).toBe(900_000)
    expect(starts_at.getTime()).toBeGreaterThanOrEqual(request.created_at.getTime() + 30)
    expect((await covers(ada.id)).map(c => c.request.id)).toContain(request.id)
    const types = (await world.events()).filter(e => e.body['request_id'] === request.id).map(e => e.type)
    expect(types.sort()).toEqual(['grant.started', 'request.approved', 'request.created', 'vote.cast'])
  })

  test('one deny ends the request', async () => {
    const request = await pending()
    expect(granted(await cast(request.id, dan, 'deny'))).toMatchObject({ state: 'denied', grant: null })
    expect(await stateOf(request.id)).toMatchObject({ state: 'denied', outcome: 'denied by dan', ended_by: dan.id })
    expect(refused(await cast(request.id, dora)).code).toBe('conflict')
  })

  test('AP4: a member who is no approver is refused, and it is an event', async () => {
    const request = await pending()
    const eve = await world.person('eve', ['sales'])
    expect(refused(await cast(request.id, eve))).toMatchObject({
      code: 'policy_denied',
      decision_id: expect.stringMatching(/^dec_/),
    })
    expect(refused(await cast(request.id, eve, 'deny')).code).toBe('policy_denied')
    expect((await world.events('vote.refused')).at(-1)?.body).toMatchObject({
      request_id: request.id,
      approver_id: eve.id,
      answer: 'deny',
    })
    expect((await stateOf(request.id)).state).toBe('pending')
  })

  test('AP6: whoever issued the token of a machine does not answer for it, nor through a machine that issued one', async () => {
    const robot = await world.person('robot', ['engineers'], 'machine')
    const middle = await world.person('middle', ['deployers'], 'machine')
    await token(middle, dan)
    await token(robot, middle)
    const request = granted(await world.ask(robot)).request
    expect(refused(await cast(request.id, dan))).toMatchObject({ code: 'policy_denied' })
    expect((await world.events('vote.refused')).at(-1)?.body).toMatchObject({ approver_id: dan.id })
    expect((await stateOf(request.id)).state).toBe('pending')
    expect(granted(await cast(request.id, dora)).state).toBe('approved')
  })

  test('AP6: a machine whose token the asker issued does not answer, even where policy lets machines answer', async () => {
    await world.activate(await compileWith(machines))
    const [hers, other] = [
      await world.person('hers', ['dbas'], 'machine'),
      await world.person('other', ['dbas'], 'machine'),
    ]
    await token(hers, ada)
    await token(other, dora)
    const request = await pending()
    expect(refused(await cast(request.id, hers)).message).toContain('API token')
    expect(granted(await cast(request.id, other)).state).toBe('approved')
    await world.activate(await compileWith())
  })

  test('AP6: two approvers are two persons: not one of them and a machine whose token they issued, in whatever order', async () => {
    await world.activate(await compileWith(machines, twoOfThem))
    const [hers, other] = [
      await world.person('of-dora', ['dbas'], 'machine'),
      await world.person('of-dora-too', ['dbas'], 'machine'),
    ]
    await token(hers, dora)
    await token(other, dora)
    for (const [first, second] of [
      [dora, hers],
      [hers, dora],
      [hers, other],
    ] as const) {
      const request = await pending()
      expect(granted(await cast(request.id, first)).state).toBe('pending')
      expect(refused(await cast(request.id, second)).message).toContain('the person behind this account')
      expect((await stateOf(request.id)).state).toBe('pending')
      expect(granted(await cast(request.id, dan)).state).toBe('approved')
    }
    await world.activate(await compileWith())
  })

  test('a token that had ended before the question stands in nobody’s way', async () => {
    const robot = await world.person('robot2', ['engineers'], 'machine')
    await token(robot, dan, { revoked_at: new Date(Date.now() - 60_000) })
    const request = granted(await world.ask(robot)).request
    expect(granted(await cast(request.id, dan)).state).toBe('approved')
  })

  test('AP4: an empty list of approvers is nobody', async () => {
    const request = await pending()
    await world.activate(await compileWith(nobody))
    try {
      expect(refused(await cast(request.id, dan)).code).toBe('policy_denied')
      expect((await stateOf(request.id)).state).toBe('pending')
    } finally {
      await world.activate(await compileWith())
    }
  })

  test('AP4: who left the group of approvers is refused at the click', async () => {
    const request = await pending()
    const was = await world.person('was', ['dbas'])
    await world.setGroups(was.id, ['sales'])
    expect(refused(await cast(request.id, await world.facts(was.id))).code).toBe('policy_denied')
  })

  test('AP6: nobody approves their own request: as themselves, by token, or as a machine in their name', async () => {
    const lead = await world.person('lead', ['engineers', 'dbas'])
    const request = granted(await world.ask(lead, { role: 'writer' })).request
    const token = { id: 'tok_00000000000000000000000000', scopes: ['*'] }
    const machine = { ...(await world.person('bot', ['dbas'], 'machine')), on_behalf_of: lead.id }
    for (const approver of [lead, { ...lead, token }, machine]) {
      expect(refused(await cast(request.id, approver))).toMatchObject({ code: 'policy_denied', decision_id: null })
    }
    const asked = granted(await world.ask({ ...machine, groups: ['engineers'] }, { role: 'writer' })).request
    expect(refused(await cast(asked.id, lead)).message).toContain('own')
    expect(granted(await cast(asked.id, dora)).state).toBe('approved')
  })

  test('AP6: two accounts of one address are one person: neither approves what the other asks, nor do they make two approvers', async () => {
    const people = await Promise.all(
      ['ann', 'ann-admin', 'bea', 'bea-admin'].map(name =>
        world.person(name, ['engineers', 'dbas', 'security-admins']),
      ),
    )
    const [ann, annAdmin, bea, beaAdmin] = people as [SubjectFacts, SubjectFacts, SubjectFacts, SubjectFacts]
    const [first, second] = [
      [ann, annAdmin],
      [bea, beaAdmin],
    ]
    for (const [i, pair] of [first!, second!].entries())
      for (const [n, { id }] of pair.entries())
        await world.db
          .update(subjects)
          .set({ email: `${n ? 'p' : 'P'}${i}@example.test` })
          .where(eq(subjects.id, id))
    const request = granted(await world.ask(ann, { role: 'admin', duration_s: 600 })).request
    expect(refused(await cast(request.id, annAdmin))).toMatchObject({ code: 'policy_denied', decision_id: null })
    expect(granted(await cast(request.id, bea)).stage).toBe(1)
    expect(refused(await cast(request.id, beaAdmin)).message).toContain('has answered this request already')
    expect((await stateOf(request.id)).state).toBe('pending')
  })

  test('AP6: the database itself refuses a vote by the requester', async () => {
    const request = await pending()
    const vote = {
      id: 'vot_x',
      request_id: request.id,
      request_hash: request.hash,
      groups: [],
      stage: 0,
      answer: 'approve' as const,
      via: 'x',
      decision_id: request.decision_id,
    }
    await expect(
      world.db.insert(votes).values({ ...vote, requester_id: ada.id, approver_id: ada.id }),
    ).rejects.toMatchObject({ cause: { constraint_name: 'votes_not_own' } })
    await expect(
      world.db.insert(votes).values({ ...vote, requester_id: dan.id, approver_id: ada.id }),
    ).rejects.toMatchObject({ cause: { constraint_name: 'votes_requester' } })
  })

  test('AP8: a click binds what was seen; another hash has no effect', async () => {
    const [seen, meant] = [await pending(), await pending({ role: 'writer' })]
    expect(refused(await cast(meant.id, dan, 'approve', { expected_hash: seen.hash })).code).toBe('conflict')
    expect((await stateOf(meant.id)).state).toBe('pending')
    expect(refused(await cast('req_00000000000000000000000000', dan)).code).toBe('not_found')
  })

  test('AP11: a pending request covers nothing', async () => {
    const request = await pending({ role: 'admin', duration_s: 600 })
    expect(await covers(ada.id, 'admin')).toEqual([])
    expect(granted(await cast(request.id, dan))).toMatchObject({ state: 'pending', stage: 1, grant: null })
    expect(await covers(ada.id, 'admin')).toEqual([])
  })

  test('stages follow one another, and nobody answers in two of them', async () => {
    const request = await pending({ role: 'admin', duration_s: 600 })
    const both = await world.person('both', ['dbas', 'security-admins'])
    const sec = await world.person('sec', ['security-admins'])
    expect(refused(await cast(request.id, sec)).code).toBe('policy_denied') // not their stage yet
    expect(granted(await cast(request.id, both)).stage).toBe(1)
    expect(refused(await cast(request.id, both)).code).toBe('conflict')
    expect(granted(await cast(request.id, sec)).state).toBe('approved')
  })
})

describe('AP9: an approval is void', () => {
  test('when the request was edited behind our back: its votes no longer count', async () => {
    const request = await pending({ duration_s: 600 })
    granted(await cast(request.id, dan))
    const [cover] = (await covers(ada.id)).filter(c => c.request.id === request.id)
    expect(cover?.votes).toHaveLength(1)
    await world.db.update(requests).set({ reason: 'something else' }).where(eq(requests.id, request.id))
    expect((await covers(ada.id)).find(c => c.request.id === request.id)?.votes).toEqual([])
    const { revoked } = await world.approvals.redecideAll({ subject_id: ada.id })
    expect(revoked.map(g => g.id)).toContain(cover?.id)
  })

  test('when a new revision asks for more than the recorded votes give', async () => {
    const request = await pending({ role: 'writer', duration_s: 600 })
    const grant = granted(await cast(request.id, dan)).grant!
    await world.activate(await compileWith(twoOfThem))
    try {
      const { revoked } = await world.approvals.redecideAll()
      const [ended] = revoked.filter(g => g.id === grant.id)
      expect(ended?.reason).toMatch(/recorded votes do not satisfy.*access\.dba-approves, access\/access\.rego:\d+@/)
      expect((await world.db.select().from(grants).where(eq(grants.id, grant.id)))[0]).toMatchObject({
        revoked_by: 'policy',
      })
      expect(await covers(ada.id, 'writer')).toEqual([])
    } finally {
      await world.activate(await compileWith())
    }
  })

  test('the vote of a pending request is judged by the terms of now', async () => {
    const request = await pending()
    await world.activate(await compileWith(twoOfThem))
    try {
      expect(granted(await cast(request.id, dan)).state).toBe('pending')
      expect(granted(await cast(request.id, dora)).state).toBe('approved')
    } finally {
      await world.activate(await compileWith())
    }
  })

  test('when the requester lost the group: nothing is granted any more', async () => {
    const moved = await world.person('moved', ['engineers'])
    const request = granted(await world.ask(moved)).request
    await world.setGroups(moved.id, ['sales'])
    expect(refused(await cast(request.id, dan)).message).toContain('no longer allows')
    expect(await stateOf(request.id)).toMatchObject({ state: 'denied', ended_by: 'policy' })
  })
})

describe('AP10: at once', () => {
  test('approve, deny, cancel and expire end in one state, with one event and at most one grant', async () => {
    const other = await world.otherProcess('control')
    const elsewhere = new Approvals(other.ground)
    await world.activate(await compileWith())
    for (let round = 0; round < 6; round++) {
      const request = await pending({ reason: `round ${round}` })
      if (round % 2 === 0)
        await world.db
          .update(requests)
          .set({ expires_at: sql`clock_timestamp() + interval '5 ms'` })
          .where(eq(requests.id, request.id))
      await Promise.all([
        cast(request.id, dan),
        elsewhere.vote({ request_id: request.id, approver: dora, answer: 'deny', via: 'web' }),
        elsewhere.cancel({ request_id: request.id, by: ada }),
        elsewhere.expireDue(),
        world.approvals.expireDue(),
      ])
      await new Promise(resolve => setTimeout(resolve, 8))
      await world.approvals.expireDue()
      const { state } = await stateOf(request.id)
      expect(['approved', 'denied', 'cancelled', 'expired']).toContain(state)
      const ends = (await world.events()).filter(
        e => e.body['request_id'] === request.id && /^request\.(?!created)/.test(e.type),
      )
      expect(ends.map(e => e.type)).toEqual([`request.${state}`])
      expect(await world.db.$count(grants, eq(grants.request_id, request.id))).toBe(state === 'approved' ? 1 : 0)
    }
  })

  test('twenty clicks of one approver are one vote of a quorum of two; a second person completes it', async () => {
    await world.activate(await compileWith(twoOfThem))
    try {
      const request = await pending()
      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, i) => cast(request.id, dan, 'approve', { via: i % 2 ? 'web' : 'slack' })),
      )
      expect(answers.filter(a => !a.refused)).toHaveLength(1)
      expect(await world.db.$count(votes, eq(votes.request_id, request.id))).toBe(1)
      expect((await stateOf(request.id)).state).toBe('pending')
      expect(granted(await cast(request.id, dora)).state).toBe('approved')
    } finally {
      await world.activate(await compileWith())
    }
  })

  test('the one who asked is told once, whoever wins', async () => {
    const told: string[] = []
    const approvals = new Approvals(world.ground, { onChanged: id => told.push(id) })
    const request = await pending()
    await Promise.all(
      [dan, dora].map(approver => approvals.vote({ request_id: request.id, approver, answer: 'approve', via: 'web' })),
    )
    expect(await world.db.$count(grants, eq(grants.request_id, request.id))).toBe(1)
    expect(told).toContain(request.id)
  })
})
