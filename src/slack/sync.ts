import { and, eq, ne, sql } from 'drizzle-orm'
import { type ReviewView, reviewOfRequest } from '../approvals/review-view.ts'
import { requests, reviews } from '../approvals/schema.ts'
import { type RequestView, readRequest } from '../approvals/view.ts'
import { canonical, type Json } from '../canonical.ts'
import type { Tx } from '../db/database.ts'
import { getDecision } from '../policy/log/decision-store.ts'
import type { Message } from './blocks.ts'
import type { SlackDeps } from './deps.ts'
import { approverMessage, requesterMessage } from './request-message.ts'
import { flaggedMessage, overdueMessage, reviewMessage } from './review-message.ts'
import { slackMessages } from './schema.ts'

const page = 100

/**
 * Writes down what Slack should show of a request now. It may be called at any time and any number of times; the outbox
 * does the rest.
 */
export async function syncRequest(deps: SlackDeps, id: string): Promise<void> {
  await deps.database.db.transaction(async tx => {
    // A share lock keeps the request as it is until this is committed, so that an older view never replaces a newer one.
    const [row] = await tx.select({ id: requests.id }).from(requests).where(eq(requests.id, id)).for('share')
    await tx.select({ id: reviews.id }).from(reviews).where(eq(reviews.request_id, id)).for('share')
    const request = row && (await readRequest(tx, id))
    if (!request) return
    const review = await reviewOfRequest(tx, id)
    const state = stateOf(request, review)
    for (const wanted of [...(await wantedMessages(deps, tx, request)), ...reviewMessages(deps, review)])
      await want(tx, request, state, wanted)
    // Whatever is left (its account was unlinked since) is as good as it gets: the sweep must not find it again.
    await tx
      .update(slackMessages)
      .set({ state })
      .where(and(eq(slackMessages.request_id, id), ne(slackMessages.state, state)))
  })
}

/** Requests whose messages were never written down, or show an older state: a lost notice costs a second, no more. */
export async function unsynced({ database }: SlackDeps): Promise<string[]> {
  const rows = await database.sql<{ id: string }[]>`
    select r.id from requests r left join reviews w on w.request_id = r.id
    where r.created_at > now() - interval '40 days' and (
      (r.state = 'pending' and not exists (select from slack_messages m where m.request_id = r.id))
      or (w.id is not null and not exists (
        select from slack_messages m where m.request_id = r.id and m.purpose = 'review'))
      or exists (
        select from slack_messages m where m.request_id = r.id
        and m.state <> r.state || '/' || (select count(*) from votes v where v.request_id = r.id) || coalesce((
          select case when h.unused is not null then '/unused' when h.released_at is not null then '/released' end
          from holds h where h.request_id = r.id), '') || case
          when w.id is null then ''
          when w.answer = 'accept' then '/accepted'
          when w.answer = 'flag' then '/flagged'
          when w.overdue_at is not null then '/overdue'
          else '/open' end))
    order by r.id limit ${page}`
  return rows.map(row => row.id)
}

interface Wanted {
  readonly purpose: string
  readonly channel: string
  readonly message: Message
}

async function wantedMessages(deps: SlackDeps, tx: Tx, request: RequestView): Promise<Wanted[]> {
  const known = await tx.select().from(slackMessages).where(eq(slackMessages.request_id, request.id))
  const decision = await getDecision(tx, request.decision_id)
  const reasons = decision?.reasons ?? []
  const stages = request.terms?.stages ?? []
  const current = request.state === 'pending' ? currentStage(request) : null
  const wanted: Wanted[] = []
  // Stages that a newer revision no longer asks for still have their message, which must lose its buttons.
  const asked = known.filter(message => message.purpose.startsWith('approvers:')).length
  for (let stage = 0; stage < Math.max(stages.length, asked); stage++) {
    const purpose = `approvers:${stage}`
    const channel =
      known.find(message => message.purpose === purpose)?.channel ??
      (stage === current ? stages[stage]?.channel : undefined)
    if (channel === undefined) continue // never asked, so there is nothing to correct
    wanted.push({
      purpose,
      channel,
      message: approverMessage(request, stage, reasons, {
        open: stage === current,
        zone: deps.zone,
        origin: deps.origin,
      }),
    })
  }
  // Who waits for an action to go on reads the answer where they wait.
  if (request.state !== 'pending' && request.kind === 'access') {
    const account = await deps.identity.slackOf(request.subject.id)
    if (account?.team_id === deps.teamId) {
      const channel = known.find(message => message.purpose === 'requester')?.channel ?? account.user_id
      wanted.push({ purpose: 'requester', channel, message: requesterMessage(request, deps.zone) })
    }
  }
  return wanted
}

/** A review is posted when it opens, once more when it is overdue, and once more when something was flagged. */
function reviewMessages(deps: SlackDeps, review: ReviewView | undefined): Wanted[] {
  if (review === undefined) return []
  const { channel } = review
  const wanted = [{ purpose: 'review', channel, message: reviewMessage(review, deps) }]
  if (review.overdue_at_ms !== null)
    wanted.push({ purpose: 'review:overdue', channel, message: overdueMessage(review, deps) })
  if (review.state === 'flagged')
    wanted.push({ purpose: 'review:flagged', channel, message: flaggedMessage(review, deps.zone) })
  return wanted
}

/** The first stage that has fewer approvals than its quorum. For display: the vote itself is judged by policy. */
function currentStage(request: RequestView): number {
  const stages = request.terms?.stages ?? []
  const open = stages.findIndex(
    ({ quorum }, stage) => request.votes.filter(v => v.stage === stage && v.answer === 'approve').length < quorum,
  )
  return open < 0 ? stages.length - 1 : open
}

/** What `unsynced` compares. */
function stateOf(request: RequestView, review: ReviewView | undefined): string {
  const { hold, state, votes } = request
  const became =
    (hold?.unused ?? null) !== null ? '/unused' : (hold?.released_at_ms ?? null) !== null ? '/released' : ''
  return `${state}/${votes.length}${became}${review === undefined ? '' : `/${review.state}`}`
}

async function want(tx: Tx, request: RequestView, state: string, { purpose, channel, message }: Wanted): Promise<void> {
  const wanted = canonical(message as unknown as Json)
  await tx
    .insert(slackMessages)
    .values({ request_id: request.id, purpose, channel, wanted, state })
    .onConflictDoUpdate({
      target: [slackMessages.request_id, slackMessages.purpose],
      set: { wanted, state, attempts: 0, next_try_at: sql`now()` },
      setWhere: sql`${slackMessages.wanted} <> ${wanted} or ${slackMessages.state} <> ${state}`,
    })
}

/** Whether this message of ours carries the buttons of this request, or of its review. */
export async function carries(
  deps: SlackDeps,
  request_id: string,
  place: { channel: string; ts: string },
  buttons: 'approvers' | 'review' = 'approvers',
): Promise<boolean> {
  const rows = await deps.database.db
    .select({ purpose: slackMessages.purpose })
    .from(slackMessages)
    .where(
      and(
        eq(slackMessages.request_id, request_id),
        eq(slackMessages.channel, place.channel),
        eq(slackMessages.ts, place.ts),
      ),
    )
  return rows.some(row => row.purpose.split(':')[0] === buttons && row.purpose !== 'review:flagged')
}
