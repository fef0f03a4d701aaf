import { register } from 'prom-client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { measureReviews } from '../../src/approvals/metrics.ts'
import { personalReviews } from '../../src/approvals/personal.ts'
import { listReviews, readReview, reviewOfRequest } from '../../src/approvals/review-view.ts'
import { apiTokens } from '../../src/identity/schema.ts'
import { newId } from '../../src/ids.ts'
import { getDecision } from '../../src/policy/log/decision-store.ts'
import type { SubjectFacts } from '../../src/policy/points.ts'
import { compileWith, createWorld, type Edit, granted, refused, type World } from './world.ts'

const reason = 'checkout is down, restarting the queue'
const alsoOnCall: Edit = [
  'access/break_glass.rego',
  '"reviewers": ["dbas", people.security]',
  '"reviewers": ["on-call", people.security]',
]
const machines: Edit = ['access/machines.rego', '{"admin", "break-glass", "root"}', '{"admin", "root"}']
const anybody: Edit = ['approve/approve.rego', '	name in input.subject.groups\n', '	input.subject.groups != []\n']

let world: World
let erin: SubjectFacts
let dan: SubjectFacts
let sam: SubjectFacts

beforeAll(async () => {
  world = await createWorld()
  await world.activate(await compileWith())
  erin = await world.person('erin', ['engineers', 'on-call'])
  dan = await world.person('dan', ['dbas'])
  sam = await world.person('sam', ['security-admins'])
})
afterAll(() => world.drop())

async function breakGlass(who: SubjectFacts = erin) {
  const { request, grant } = granted(await world.ask(who, { role: 'break-glass', duration_s: 900, reason }))
  const review = await reviewOfRequest(world.db, request.id)
  return { request, grant: grant!, review: review! }
}
const answer = (
  review_id: string,
  reviewer: SubjectFacts,
  more: Partial<{ answer: 'accept' | 'flag'; via: string }> = {},
) =>
  world.approvals.answerReview({ review_id, reviewer, answer: 'accept', reason: 'looked at it', via: 'web', ...more })
const giveBack = (grant_id: string, by = erin) => world.approvals.revoke({ grant_id, by, reason: 'done' })
/** As if the grant had ended and its review had been due long ago. */
async function passTime(grant_id: string) {
  const { sql } = world.test.database
  await sql`update grants set starts_at = now() - interval '3 days', ends_at = now() - interval '2 days' where id = ${grant_id}`
  await sql`update reviews set due_at = now() - interval '1 day' where grant_id = ${grant_id}`
}

describe('a broken glass is looked at', () => {
  test('with the grant a review is opened, for whom policy names, due after its end; what needs no review opens none', async () => {
    const { request, grant, review } = await breakGlass()
    expect(review).toMatchObject({
      grant_id: grant.id,
      subject: { id: erin.id },
      state: 'open',
      reviewers: ['dbas', 'security-admins'],
      channel: 'db-approvals',
      reason,
      due_at_ms: grant.ends_at.getTime() + 86_400_000,
      answer: null,
    })
    const events = (await world.events('review.opened')).filter(e => e.body['request_id'] === request.id)
    expect(events.map(e => e.body)).toMatchObject([{ review_id: review.id, grant_id: grant.id, role: 'break-glass' }])
    const other = granted(await world.ask(dan))
    expect(other.grant).not.toBeNull()
    expect(await reviewOfRequest(world.db, other.request.id)).toBeUndefined()
  })

  test('one of the reviewers accepts it once the grant is over, once, and it is an event with a decision', async () => {
    const { grant, review } = await breakGlass()
    expect(refused(await answer(review.id, dan))).toMatchObject({
      code: 'conflict',
      message: expect.stringContaining('the grant still lasts'),
    })
    granted(await giveBack(grant.id))
    granted(await answer(review.id, dan))
    expect(await readReview(world.db, review.id)).toMatchObject({
      state: 'accepted',
      answer: { answer: 'accept', by: { id: dan.id }, reason: 'looked at it', via: 'web' },
    })
    const event = (await world.events('review.answered')).at(-1)!.body
    expect(event).toMatchObject({ review_id: review.id, answer: 'accept', by: dan.id, late: false })
    const decision = await getDecision(world.db, event['decision_id'] as string)
    expect(decision).toMatchObject({ point: 'approve', effect: 'allow', subject_id: dan.id })
    expect(JSON.parse(decision!.input)).toMatchObject({ answer: 'accept', requester: { id: erin.id } })
    expect(refused(await answer(review.id, sam, { answer: 'flag' }))).toMatchObject({
      code: 'conflict',
      message: 'this review is accepted already',
    })
  })

  test('it can be flagged while the grant lasts', async () => {
    const { review } = await breakGlass()
    granted(await answer(review.id, sam, { answer: 'flag' }))
    expect((await readReview(world.db, review.id))?.state).toBe('flagged')
  })

  test('an answer says why', async () => {
    const { review } = await breakGlass()
    const said = await world.approvals.answerReview({
      review_id: review.id,
      reviewer: sam,
      answer: 'flag',
      reason: ' ',
      via: 'web',
    })
    expect(refused(said).code).toBe('bad_request')
    expect(refused(await answer(newId('rvw'), sam)).code).toBe('not_found')
  })

  test('AP4: who is no reviewer is refused, and it is an event', async () => {
    const { review } = await breakGlass()
    const eve = await world.person('eve', ['engineers'])
    expect(refused(await answer(review.id, eve, { answer: 'flag' }))).toMatchObject({
      code: 'policy_denied',
      decision_id: expect.stringMatching(/^dec_/),
    })
    expect((await world.events('review.refused')).at(-1)?.body).toMatchObject({ review_id: review.id, by: eve.id })
    expect((await readReview(world.db, review.id))?.state).toBe('open')
  })

  test('AP10: of many answers at once one counts', async () => {
    const { review } = await breakGlass()
    const all = await Promise.all(
      [dan, sam, dan, sam, dan].map((who, i) =>
        answer(review.id, who, { answer: 'flag', via: i % 2 ? 'slack' : 'web' }),
      ),
    )
    expect(all.filter(each => !each.refused)).toHaveLength(1)
    const answered = (await world.events('review.answered')).filter(e => e.body['review_id'] === review.id)
    expect(answered).toHaveLength(1)
  })
})

describe('AP6: nobody reviews what they did', () => {
  beforeAll(async () => world.activate(await compileWith(alsoOnCall, anybody, machines)))
  afterAll(async () => world.activate(await compileWith()))

  test('not who broke the glass, even where policy names their group and lets anybody answer', async () => {
    const { review } = await breakGlass()
    const machine = { ...(await world.person('bot', ['on-call'], 'machine')), on_behalf_of: erin.id }
    for (const who of [erin, machine])
      expect(refused(await answer(review.id, who, { answer: 'flag' }))).toMatchObject({
        message: 'nobody reviews what they did themselves, through whatever door',
      })
    await expect(
      world.test.database.sql`update reviews set answer = 'accept', answered_at = now(), answered_by = ${erin.id},
        answer_reason = 'x', answer_via = 'db', answer_decision_id = decision_id where id = ${review.id}`,
    ).rejects.toThrow(/reviews_not_own/)
  })

  test('not who issued the token of the machine that did it', async () => {
    const bot = await world.person('robot', ['on-call'], 'machine')
    const owner = await world.person('owner', ['on-call'])
    await world.db.insert(apiTokens).values({
      id: newId('tok'),
      subject_id: bot.id,
      name: 'ci',
      hash: Buffer.alloc(32),
      scopes: ['*'],
      created_by: owner.id,
      expires_at: new Date(Date.now() + 3_600_000),
    })
    const { review } = await breakGlass(bot)
    expect(refused(await answer(review.id, owner, { answer: 'flag' })).message).toContain(
      'whoever issued the API token',
    )
  })

  test('nor who is not named, where the approve point lets anybody answer', async () => {
    const { review } = await breakGlass()
    expect(refused(await answer(review.id, dan, { answer: 'flag' })).message).toContain(
      'you are not among the reviewers',
    )
  })
})

describe('time', () => {
  test('what nobody looked at in time is announced once, stays open, and is counted', async () => {
    const { grant, review } = await breakGlass()
    await passTime(grant.id)
    await world.approvals.expireDue()
    await world.approvals.expireDue()
    const late = (await world.events('review.overdue')).filter(e => e.body['review_id'] === review.id)
    expect(late).toHaveLength(1)
    expect((await readReview(world.db, review.id))?.state).toBe('overdue')
    await measureReviews(world.test.database)
    const text = await register.metrics()
    expect(text).toMatch(/^sallyport_reviews_open [1-9]/m)
    expect(text).toMatch(/^sallyport_reviews_overdue 1$/m)
    granted(await answer(review.id, dan))
    expect((await world.events('review.answered')).at(-1)!.body).toMatchObject({ late: true })
    await measureReviews(world.test.database)
    expect(await register.metrics()).toMatch(/^sallyport_reviews_overdue 0$/m)
  })

  test('what was done is looked at also when who did it may not act any more and policy forgot the resource', async () => {
    const gone = await world.person('gone', ['on-call'])
    const { grant, review } = await breakGlass(gone)
    granted(await giveBack(grant.id, gone))
    await world.test.database.sql`update subjects set disabled_at = now() where id = ${gone.id}`
    await world.activate(await compileWith(['resources/data.yaml', 'shop-db:', 'other-db:']))
    granted(await answer(review.id, dan))
    await world.activate(await compileWith())
  })
})

test('a list holds what is about me and what I am to answer, and everything where it is given', async () => {
  const mine = await breakGlass()
  const ids = async (of?: SubjectFacts) =>
    (await listReviews(world.db, { state: 'open', of, limit: 500 })).map(each => each.id)
  const eve = await world.person('eve', ['engineers'])
  expect(await ids(erin)).toContain(mine.review.id)
  expect(await ids(dan)).toContain(mine.review.id)
  expect(await ids(eve)).toEqual([])
  expect(await ids()).toContain(mine.review.id)
})

test("an erasure takes what was written of the person's access, and what they wrote of others'", async () => {
  const { grant, review } = await breakGlass()
  await passTime(grant.id)
  granted(await answer(review.id, dan))
  const { sql } = world.test.database
  await sql`update audit_places set idx = seq where idx is null` // as the sequencer does
  for (const who of [erin, dan]) {
    await sql`update reviews set answer_reason = 'looked at it' where id = ${review.id}`
    const person = { subject_id: who.id, email: null, held_sessions: [] }
    await world.db.transaction(async tx => {
      const found = await personalReviews.find(tx, person, 100)
      expect(found).toContain(review.id)
      await personalReviews.erase(tx, person, found)
      expect(await personalReviews.find(tx, person, 100)).toEqual([])
    })
    expect(await readReview(world.db, review.id)).toMatchObject({ answer: { answer: 'accept', reason: '[erased]' } })
  }
  const told =
    await sql`select body from audit_inbox where type = 'review.answered' and leaf is not null order by seq desc limit 1`
  expect(told).toEqual([{ body: null }])
})
