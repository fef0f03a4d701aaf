import { eq, sql } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Approvals } from '../../src/approvals/approvals.ts'
import type { EndedGrant } from '../../src/approvals/ports.ts'
import { grants, requests } from '../../src/approvals/schema.ts'
import type { SubjectFacts } from '../../src/policy/points.ts'
import { timeFacts } from '../../src/policy/time.ts'
import { compileWith, createWorld, granted, refused, type World } from './world.ts'

let world: World
let dba: SubjectFacts
const told: EndedGrant[] = []

beforeAll(async () => {
  world = await createWorld({ onGrantEnded: grant => told.push(grant) })
  await world.activate(await compileWith())
  dba = await world.person('dan', ['dbas'])
})
afterAll(() => world.drop())

const grantOf = async (subject: SubjectFacts, duration_s = 600) =>
  granted(await world.ask(subject, { duration_s })).grant!
const row = async (id: string) => (await world.db.select().from(grants).where(eq(grants.id, id)))[0]!

describe('the end of a grant', () => {
  test('comes by the clock, once, as an event, however many sweep', async () => {
    const grant = await grantOf(dba)
    await world.db
      .update(grants)
      .set({ starts_at: sql`clock_timestamp() - interval '2 s'`, ends_at: sql`clock_timestamp() - interval '1 s'` })
      .where(eq(grants.id, grant.id))
    expect(
      await world.approvals.accessFacts({
        subject_id: dba.id,
        on_behalf_of: null,
        resource: 'shop-db',
        role: 'reader',
      }),
    ).toEqual([])
    await Promise.all([world.approvals.expireDue(), world.approvals.expireDue(), world.approvals.expireDue()])
    expect((await world.events('grant.ended')).filter(e => e.body['grant_id'] === grant.id)).toHaveLength(1)
    expect(told.filter(g => g.id === grant.id)).toHaveLength(1)
    expect((await row(grant.id)).ended_at).not.toBeNull()
  })

  test('comes when its holder gives it back, with the reason', async () => {
    const grant = await grantOf(dba)
    granted(await world.approvals.revoke({ grant_id: grant.id, by: dba, reason: 'done early' }))
    expect(await row(grant.id)).toMatchObject({ revoked_by: dba.id, revoke_reason: 'done early' })
    expect(refused(await world.approvals.revoke({ grant_id: grant.id, by: dba, reason: 'again' })).code).toBe('gone')
    expect((await world.events('grant.revoked')).at(-1)?.body).toMatchObject({
      grant_id: grant.id,
      reason: 'done early',
    })
  })

  test('comes from somebody else only with the Permit of this call, made for them', async () => {
    const grant = await grantOf(dba)
    const sec = await world.person('sec', ['security-admins'])
    const eve = await world.person('eve', ['sales'])
    const permitFor = (subject: SubjectFacts, call: string) =>
      world.engine.decide('admin', {
        subject,
        call,
        target: { grant: grant.id },
        own: false,
        time: timeFacts(Date.now(), 'UTC'),
      }).permit
    const permit = permitFor(sec, 'grants.revoke')
    const other = permitFor(sec, 'sessions.end')
    expect(permit).not.toBeNull()
    const attempt = (by: SubjectFacts, with_: typeof permit) =>
      world.approvals.revoke({ grant_id: grant.id, by, reason: 'x', permit: with_ })
    expect(refused(await attempt(eve, null)).code).toBe('policy_denied')
    expect(refused(await attempt(eve, permit)).code).toBe('policy_denied')
    expect(refused(await attempt(sec, other)).code).toBe('policy_denied')
    expect(refused(await attempt(sec, { ...permit } as typeof permit)).code).toBe('policy_denied')
    granted(await attempt(sec, permit))
  })

  test('comes at once when the group is gone, and names the rule', async () => {
    const moved = await world.person('moved', ['dbas'])
    const grant = await grantOf(moved)
    await world.setGroups(moved.id, [])
    const { revoked } = await world.approvals.redecideAll({ subject_id: moved.id })
    expect(revoked).toMatchObject([
      {
        id: grant.id,
        reason: expect.stringMatching(/no longer allows this: .*access\.default, access\/access\.rego:\d+@/),
      },
    ])
    expect((await world.approvals.redecideAll({ subject_id: moved.id })).revoked).toEqual([])
  })

  test('comes when a revision no longer declares the resource', async () => {
    const grant = await grantOf(await world.person('dee', ['dbas']))
    await world.activate(await compileWith(['resources/data.yaml', 'shop-db:', 'other-db:']))
    const { revoked } = await world.approvals.redecideAll()
    expect(revoked.find(g => g.id === grant.id)?.reason).toContain('no longer declares')
    await world.activate(await compileWith())
  })

  test('does not come because policy cannot answer at this moment', async () => {
    const grant = await grantOf(dba)
    world.engine.markStale('a newer revision is active and not here')
    expect((await world.approvals.redecideAll()).revoked).toEqual([])
    world.engine.markStale(null)
    expect((await row(grant.id)).ended_at).toBeNull()
  })
})

describe('a question', () => {
  test('that nobody answers expires, and is not answered after that', async () => {
    const ada = await world.person('ada', ['engineers'])
    const { request } = granted(await world.ask(ada))
    await world.db.update(requests).set({ expires_at: sql`clock_timestamp()` }).where(eq(requests.id, request.id))
    expect(
      refused(await world.approvals.vote({ request_id: request.id, approver: dba, answer: 'approve', via: 'web' }))
        .code,
    ).toBe('gone')
    await world.approvals.expireDue()
    expect((await world.db.select().from(requests).where(eq(requests.id, request.id)))[0]).toMatchObject({
      state: 'expired',
      ended_by: 'time',
    })
    expect((await world.events('request.expired')).map(e => e.body['request_id'])).toEqual([request.id])
  })

  test('is taken back by who asked, and by nobody else', async () => {
    const ada = await world.person('ada', ['engineers'])
    const { request } = granted(await world.ask(ada))
    expect(refused(await world.approvals.cancel({ request_id: request.id, by: dba })).code).toBe('policy_denied')
    granted(await world.approvals.cancel({ request_id: request.id, by: ada }))
    expect(refused(await world.approvals.cancel({ request_id: request.id, by: ada })).code).toBe('conflict')
  })

  test('that nothing changed for is left alone when it is judged again', async () => {
    const { request } = granted(await world.ask(await world.person('ada', ['engineers'])))
    for (let i = 0; i < 2; i++) expect((await world.approvals.redecideAll()).changed).not.toContain(request.id)
  })

  test('becomes a grant when a new revision gives it without approval', async () => {
    const ada = await world.person('ada', ['engineers'])
    const { request } = granted(await world.ask(ada))
    await world.activate(
      await compileWith([
        'access/access.rego',
        '"dbas" in input.subject.groups\n\tmax_s_of("dbas")',
        'max_s_of("engineers")',
      ]),
    )
    expect((await world.approvals.redecideAll()).changed).toContain(request.id)
    expect(await world.db.$count(grants, eq(grants.request_id, request.id))).toBe(1)
    await world.activate(await compileWith())
  })
})

test('other processes hear of it: the notice comes with the commit', async () => {
  const heard: string[] = []
  await world.test.database.sql.listen('requests', payload => heard.push(payload))
  await world.test.database.sql.listen('grants', payload => heard.push(payload))
  const approvals = new Approvals(world.ground)
  const { request, grant } = granted(
    await approvals.ask({
      subject: dba,
      resource: 'shop-db',
      role: 'reader',
      duration_s: 600,
      reason: 'r',
      ticket_ref: null,
      via: 'api',
      client: world.client,
    }),
  )
  await expect.poll(() => heard.length).toBe(2)
  expect(heard.map(text => JSON.parse(text) as unknown)).toEqual([
    { id: request.id, state: 'approved' },
    { id: grant!.id, subject_id: dba.id, what: 'started' },
  ])
})
