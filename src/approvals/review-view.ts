import { and, desc, eq, isNotNull, isNull, lt, or, type SQL, sql } from 'drizzle-orm'
import { alias } from 'drizzle-orm/pg-core'
import type { Queryable } from '../db/database.ts'
import { subjects } from '../identity/schema.ts'
import { type ReviewState, stateOf } from './review.ts'
import { grants, type ReviewAnswer, requests, reviews } from './schema.ts'

/** A review as people see it: who had what, why, and what came of looking at it. */
export interface ReviewView {
  readonly id: string
  readonly grant_id: string
  readonly request_id: string
  readonly subject: { readonly id: string; readonly name: string; readonly email: string | null }
  readonly on_behalf_of: string | null
  readonly resource: string
  readonly role: string
  /** Theirs, of when they asked. */
  readonly reason: string
  readonly ticket_ref: string | null
  readonly state: ReviewState
  readonly reviewers: readonly string[]
  readonly channel: string
  readonly opened_at_ms: number
  /** When the grant ended, or will. */
  readonly ends_at_ms: number
  readonly due_at_ms: number
  readonly overdue_at_ms: number | null
  readonly answer: {
    readonly answer: ReviewAnswer
    readonly by: { readonly id: string; readonly name: string }
    readonly at_ms: number
    readonly reason: string
    readonly via: string
  } | null
}

export interface ReviewFilter {
  readonly state?: 'open' | 'answered' | undefined
  /** What this person may see without being shown all: what is about them, and what they are to look at. */
  readonly of?: { readonly id: string; readonly groups: readonly string[] } | undefined
  readonly limit: number
  readonly before?: string | undefined
}

const reviewer = alias(subjects, 'reviewer')

export async function readReview(q: Queryable, id: string): Promise<ReviewView | undefined> {
  return (await rows(q, eq(reviews.id, id), 1))[0]
}

export async function reviewOfRequest(q: Queryable, request_id: string): Promise<ReviewView | undefined> {
  return (await rows(q, eq(reviews.request_id, request_id), 1))[0]
}

/** Newest first. */
export function listReviews(q: Queryable, { state, of, limit, before }: ReviewFilter): Promise<ReviewView[]> {
  const names = of === undefined ? [] : [of.id, ...of.groups]
  return rows(
    q,
    and(
      state === undefined ? undefined : state === 'open' ? isNull(reviews.answered_at) : isNotNull(reviews.answered_at),
      before === undefined ? undefined : lt(reviews.id, before),
      of === undefined
        ? undefined
        : or(
            eq(reviews.subject_id, of.id),
            eq(requests.on_behalf_of, of.id),
            sql`${reviews.reviewers} ?| ${sql.param(names)}::text[]`,
          ),
    ),
    limit,
  )
}

async function rows(q: Queryable, where: SQL | undefined, limit: number): Promise<ReviewView[]> {
  const found = await q
    .select({ review: reviews, request: requests, grant: grants, who: subjects, by: reviewer })
    .from(reviews)
    .innerJoin(requests, eq(requests.id, reviews.request_id))
    .innerJoin(grants, eq(grants.id, reviews.grant_id))
    .innerJoin(subjects, eq(subjects.id, reviews.subject_id))
    .leftJoin(reviewer, eq(reviewer.id, reviews.answered_by))
    .where(where)
    .orderBy(desc(reviews.id))
    .limit(limit)
  return found.map(({ review, request, grant, who, by }) => ({
    id: review.id,
    grant_id: review.grant_id,
    request_id: review.request_id,
    subject: { id: who.id, name: who.name, email: who.email },
    on_behalf_of: request.on_behalf_of,
    resource: request.resource,
    role: request.role,
    reason: request.reason,
    ticket_ref: request.ticket_ref,
    state: stateOf(review),
    reviewers: review.reviewers,
    channel: review.channel,
    opened_at_ms: review.opened_at.getTime(),
    ends_at_ms: (grant.revoked_at ?? grant.ends_at).getTime(),
    due_at_ms: review.due_at.getTime(),
    overdue_at_ms: review.overdue_at?.getTime() ?? null,
    answer:
      review.answer === null || by === null
        ? null
        : {
            answer: review.answer,
            by: { id: by.id, name: by.name },
            at_ms: review.answered_at!.getTime(),
            reason: review.answer_reason!,
            via: review.answer_via!,
          },
  }))
}
