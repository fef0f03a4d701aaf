import { afterAll, beforeAll, expect, test } from 'vitest'
import { readReview, reviewOfRequest } from '../../src/approvals/review-view.ts'
import type { StoredMessage } from '../../src/dev/slack/workspace.ts'
import type { SubjectFacts } from '../../src/policy/points.ts'
import { granted } from '../approvals/world.ts'
import { hasButtons, type SlackWorld, slackWorld, textOf } from './world.ts'

let world: SlackWorld
let erin: SubjectFacts

beforeAll(async () => {
  world = await slackWorld()
  erin = await world.bound('U0ERIN', ['engineers', 'on-call'])
  await world.bound('U0DANA', ['dbas'])
})
afterAll(() => world.close())

const reason = 'checkout is down <!channel> *Accepted by* nobody'

async function broken() {
  const { request, grant } = granted(await world.ask(erin, { role: 'break-glass', duration_s: 900, reason }))
  await world.slack.requestChanged(request.id)
  const review = (await reviewOfRequest(world.db, request.id))!
  return { request, grant: grant!, review, message: await message(request.id, 'review') }
}

async function message(request_id: string, purpose: string): Promise<StoredMessage> {
  const [row] = await world.test.database.sql<{ channel: string; ts: string }[]>`
    select channel, ts from slack_messages where request_id = ${request_id} and purpose = ${purpose}`
  return world.standIn.messages().find(m => m.channel === row?.channel && m.ts === row.ts)!
}

/** Presses a button and fills in the form that it opens. */
async function answer(user: string, of: StoredMessage, button: string, words: string) {
  const before = world.standIn.view(user)?.id
  await world.standIn.click(user, of, button)
  await expect.poll(() => world.standIn.view(user)?.id).not.toBe(before)
  return world.standIn.submitView(user, { reason: words })
}

test('AP13: a broken glass is told to its reviewers, what was written stands as plain text; a button asks for words, and these answer', async () => {
  const { grant, review, message: posted } = await broken()
  expect(textOf(posted)).toContain('To be reviewed: erin had break-glass on shop-db')
  expect(textOf(posted)).toContain(reason)
  expect(JSON.stringify(posted.blocks)).not.toContain('mrkdwn')
  granted(await world.approvals.revoke({ grant_id: grant.id, by: erin, reason: 'done' }))
  await answer('U0DANA', posted, 'review_accept', 'watched the session: one restart')
  await expect.poll(() => readReview(world.db, review.id).then(r => r?.state)).toBe('accepted')
  await expect.poll(() => hasButtons(posted)).toBe(false)
  expect(textOf(posted)).toContain('✓ Accepted by dana')
  expect(textOf(posted)).toContain('watched the session: one restart')
})

test('AP6: who broke the glass is refused in the form, and the message keeps its buttons', async () => {
  const { review, message: posted } = await broken()
  await answer('U0ERIN', posted, 'review_flag', 'it was me')
  expect(JSON.stringify(world.standIn.view('U0ERIN')?.errors)).toContain('nobody reviews what they did themselves')
  expect((await readReview(world.db, review.id))?.state).toBe('open')
  expect(hasButtons(posted)).toBe(true)
})

test('AP8: a button of another message, another review or another kind has no effect', async () => {
  const one = await broken()
  const two = await broken()
  const click = (value: string, action_id = 'review_flag') =>
    world.standIn.click('U0DANA', one.message, 'review_flag', {
      actions: [{ type: 'button', action_id, block_id: 'review', value, action_ts: '1' }],
    })
  const told = () => world.told('U0DANA').at(-1)
  await click(two.review.id)
  await expect.poll(told).toContain('does not belong to that review')
  await click(`${one.request.id}:${one.request.hash}`)
  await expect.poll(told).toContain('not one of ours')
  await click(`${one.request.id}:${one.request.hash}`, 'approve')
  await expect.poll(told).toContain('does not belong to that request')
  expect((await world.events('slack.refused')).slice(-3).map(e => e.body['why'])).toEqual([
    'button of another message',
    'malformed button',
    'button of another message',
  ])
})

test('AP2: the form sent again, as it was or signed anew, answers nothing twice', async () => {
  const { review, message: posted } = await broken()
  await answer('U0DANA', posted, 'review_flag', 'something is wrong')
  const again = await world.standIn.send(
    new URLSearchParams({
      payload: JSON.stringify({
        type: 'view_submission',
        team: { id: 'T0TEST' },
        user: { id: 'U0DANA', team_id: 'T0TEST' },
        view: {
          type: 'modal',
          callback_id: 'review',
          private_metadata: `accept:${review.id}`,
          state: { values: { reason: { value: { type: 'plain_text_input', value: 'nothing is' } } } },
        },
      }),
    }).toString(),
  )
  expect(again.body).toContain('this review is flagged already')
  expect((await readReview(world.db, review.id))?.answer?.reason).toBe('something is wrong')
})

test('what is overdue is told once more, a flag is news, and after the answer no message has a button', async () => {
  const { request, grant, review, message: posted } = await broken()
  const { sql } = world.test.database
  await sql`update grants set starts_at = now() - interval '3 days', ends_at = now() - interval '2 days' where id = ${grant.id}`
  await sql`update reviews set due_at = now() - interval '1 day' where grant_id = ${grant.id}`
  await world.approvals.expireDue()
  await world.slack.sweep() // nobody said that it changed
  const reminder = await message(request.id, 'review:overdue')
  expect(textOf(reminder)).toContain('Overdue: nobody has reviewed break-glass on shop-db, which erin had')
  await answer('U0DANA', reminder, 'review_flag', 'who is 4711?')
  await expect.poll(() => readReview(world.db, review.id).then(r => r?.state)).toBe('flagged')
  await expect.poll(() => message(request.id, 'review:flagged')).toBeDefined()
  expect(textOf(await message(request.id, 'review:flagged'))).toContain('Flagged: what erin did as break-glass')
  await expect.poll(() => hasButtons(reminder) || hasButtons(posted)).toBe(false)
})

test('AP12: while Slack is down a review is opened and answered, and Slack shows it later', async () => {
  world.standIn.setOutage('error')
  const { request, grant } = granted(await world.ask(erin, { role: 'break-glass', duration_s: 900, reason }))
  await world.slack.requestChanged(request.id)
  const review = (await reviewOfRequest(world.db, request.id))!
  granted(await world.approvals.revoke({ grant_id: grant!.id, by: erin, reason: 'done' }))
  const dana = (await world.identity.bySlack('T0TEST', 'U0DANA'))!
  granted(
    await world.approvals.answerReview({
      review_id: review.id,
      reviewer: dana,
      answer: 'accept',
      reason: 'ok',
      via: 'web',
    }),
  )
  world.standIn.setOutage('none')
  await world.test.database.sql`update slack_messages set next_try_at = now() where request_id = ${request.id}`
  await world.slack.sweep()
  const posted = await message(request.id, 'review')
  expect(hasButtons(posted)).toBe(false)
  expect(textOf(posted)).toContain('Accepted by')
})
