import { and, asc, eq, isNull, lte } from 'drizzle-orm'
import type { Tx } from '../db/database.ts'
import { notify } from '../db/notices.ts'
import { newId } from '../ids.ts'
import type { ReviewTerms } from '../policy/points.ts'
import { clock } from './clock.ts'
import type { Ground } from './ports.ts'
import { requests, reviews } from './schema.ts'
import type { GrantRow, RequestRow } from './settle.ts'

/** Rows of one transaction. A sweeper that finds this many comes again at once. */
export const reviewPage = 100

export type ReviewRow = typeof reviews.$inferSelect
export type ReviewState = 'open' | 'overdue' | 'accepted' | 'flagged'

/** INVARIANT: in the transaction that makes the grant, so that no glass is broken without somebody who must look at it. */
export async function openReview(
  ground: Ground,
  tx: Tx,
  grant: GrantRow,
  terms: ReviewTerms,
  decision_id: string,
): Promise<void> {
  const { id: grant_id, request_id, subject_id } = grant
  const id = newId('rvw')
  const due_at = new Date(grant.ends_at.getTime() + terms.due_s * 1000)
  await ground.audit.record(tx, {
    type: 'review.opened',
    body: {
      review_id: id,
      grant_id,
      request_id,
      role: grant.role,
      reviewers: [...terms.reviewers],
      due_at_ms: due_at.getTime(),
      decision_id,
    },
    subject_id,
    resource: grant.resource,
  })
  const { reviewers, channel } = terms
  await tx.insert(reviews).values({
    ...{ id, grant_id, request_id, subject_id, reviewers, channel, decision_id, due_at },
    opened_at: grant.starts_at,
  })
  await tellReviews(tx, { id, request_id }, 'open')
}

/** Announces reviews that nobody answered in time. They stay open: this is the event, not the end. */
export async function remindReviews(ground: Ground, tx: Tx): Promise<ReviewRow[]> {
  const now_ms = await clock(tx)
  const due = await tx
    .select()
    .from(reviews)
    .where(and(isNull(reviews.answered_at), isNull(reviews.overdue_at), lte(reviews.due_at, new Date(now_ms))))
    .orderBy(asc(reviews.due_at))
    .limit(reviewPage)
    .for('no key update', { skipLocked: true })
  for (const review of due) {
    const [request] = await tx.select().from(requests).where(eq(requests.id, review.request_id))
    await ground.audit.record(tx, {
      type: 'review.overdue',
      body: { ...aboutOf(review, request!), reviewers: [...review.reviewers], due_at_ms: review.due_at.getTime() },
      subject_id: review.subject_id,
      resource: request!.resource,
    })
    await tx
      .update(reviews)
      .set({ overdue_at: new Date(now_ms) })
      .where(eq(reviews.id, review.id))
    await tellReviews(tx, review, 'overdue')
  }
  return due
}

export function stateOf(review: Pick<ReviewRow, 'answer' | 'overdue_at'>): ReviewState {
  if (review.answer !== null) return review.answer === 'accept' ? 'accepted' : 'flagged'
  return review.overdue_at === null ? 'open' : 'overdue'
}

export function aboutOf(review: ReviewRow, request: RequestRow) {
  return { review_id: review.id, grant_id: review.grant_id, request_id: review.request_id, role: request.role }
}

export function tellReviews(tx: Tx, { id, request_id }: Pick<ReviewRow, 'id' | 'request_id'>, state: ReviewState) {
  return notify(tx, 'reviews', JSON.stringify({ id, request_id, state }))
}
