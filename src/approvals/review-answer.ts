import { eq } from 'drizzle-orm'
import { Value } from 'typebox/value'
import type { Tx } from '../db/database.ts'
import { getDecision } from '../policy/log/decision-store.ts'
import { Permit } from '../policy/permit.ts'
import { type Input, ResourceFacts, type SubjectFacts } from '../policy/points.ts'
import { resourceFacts } from '../policy/resources.ts'
import { timeFacts } from '../policy/time.ts'
import { mayVote } from '../policy/votes.ts'
import { askedOf, loadVotes } from './access.ts'
import { reasonProblem } from './bounds.ts'
import { clock } from './clock.ts'
import { ownProblem } from './own-request.ts'
import type { Ground } from './ports.ts'
import { type Refused, refuse, refusedBy } from './refusal.ts'
import { aboutOf, type ReviewRow, stateOf, tellReviews } from './review.ts'
import { grants, type ReviewAnswer, requests, reviews } from './schema.ts'
import type { GrantRow, RequestRow } from './settle.ts'
import { loadKnown } from './subjects.ts'

/** One person's answer to one review. */
export interface Looked {
  readonly review_id: string
  /** As authenticated now. */
  readonly reviewer: SubjectFacts
  readonly answer: ReviewAnswer
  readonly reason: string
  readonly via: string
}

export interface Reviewed {
  readonly refused: false
  readonly review: ReviewRow
}

/** Answers a review for good. The lock on its row makes simultaneous answers follow one another. */
export async function answerReview(ground: Ground, tx: Tx, looked: Looked): Promise<Reviewed | Refused> {
  const problem = reasonProblem(looked.reason)
  if (problem !== undefined) return refuse('bad_request', problem, 'say what you looked at, and what you found')
  const [review] = await tx.select().from(reviews).where(eq(reviews.id, looked.review_id)).for('no key update')
  if (review === undefined) return refuse('not_found', 'there is no such review', 'look at `sallyport reviews`')
  const [row] = await tx
    .select({ request: requests, grant: grants })
    .from(grants)
    .innerJoin(requests, eq(requests.id, grants.request_id))
    .where(eq(grants.id, review.grant_id))
  const { request, grant } = row!
  const now_ms = await clock(tx)
  const refusal = await refusalOf(tx, review, request, grant, looked, now_ms)
  if (refusal !== undefined) return refuseAnswer(ground, tx, review, request, looked, refusal)
  const input = await questionOf(ground, tx, review, request, looked, now_ms)
  if ('refused' in input) return refuseAnswer(ground, tx, review, request, looked, input)
  const { decision, permit } = ground.engine.decide('approve', input, { request_id: request.id })
  await ground.decisionLog.insert(tx, decision)
  if (!Permit.is(permit)) return refuseAnswer(ground, tx, review, request, looked, refusedBy(decision))
  if (!mayVote(review.reviewers, looked.reviewer)) {
    const message = `you are not among the reviewers, whom policy named: ${review.reviewers.join(', ')}`
    return refuseAnswer(ground, tx, review, request, looked, {
      ...refuse('policy_denied', message, 'ask one of them'),
      decision_id: decision.id,
    })
  }
  const answer = {
    answer: looked.answer,
    answered_at: new Date(now_ms),
    answered_by: looked.reviewer.id,
    answer_reason: looked.reason,
    answer_via: looked.via,
    answer_decision_id: decision.id,
  }
  await ground.audit.record(tx, {
    type: 'review.answered',
    body: {
      ...aboutOf(review, request),
      answer: looked.answer,
      reason: looked.reason,
      by: looked.reviewer.id,
      via: looked.via,
      late: review.due_at.getTime() <= now_ms,
      decision_id: decision.id,
    },
    subject_id: looked.reviewer.id,
    resource: request.resource,
  })
  await tx.update(reviews).set(answer).where(eq(reviews.id, review.id))
  const answered = { ...review, ...answer }
  await tellReviews(tx, review, stateOf(answered))
  return { refused: false, review: answered }
}

/** What keeps from answering, whoever decides: it is answered, it is one's own, or what is to be looked at still goes on. */
async function refusalOf(
  tx: Tx,
  review: ReviewRow,
  request: RequestRow,
  grant: GrantRow,
  { reviewer, answer }: Looked,
  now_ms: number,
): Promise<Refused | undefined> {
  const own = await ownProblem(tx, reviewer, request, {
    own: 'nobody reviews what they did themselves, through whatever door',
    machine:
      'whoever issued the API token of a machine reviews nothing that it did, and it nothing that they did; accounts of one address are one person',
    remedy: `ask another of the reviewers: ${review.reviewers.join(', ')}`,
  })
  if (own !== undefined) return own
  if (review.answer !== null)
    return refuse('conflict', `this review is ${stateOf(review)} already`, 'nothing is left to answer')
  if (answer === 'accept' && grant.ended_at === null && grant.ends_at.getTime() > now_ms)
    return refuse(
      'conflict',
      'the grant still lasts: what is done under it cannot be accepted before it is done',
      `wait until ${grant.ends_at.toISOString()}, or flag it now`,
    )
  return undefined
}

/** The question of `approve`: the press of a button, like a vote, with the reviewers in place of the approvers. */
async function questionOf(
  ground: Ground,
  tx: Tx,
  review: ReviewRow,
  request: RequestRow,
  looked: Looked,
  now_ms: number,
): Promise<Input<'approve'> | Refused> {
  const requester = await loadKnown(tx, request.subject_id)
  const declared = ground.resources.get(request.resource)
  const resource = declared === undefined ? await resourceThen(tx, review) : resourceFacts(declared)
  if (requester === undefined || resource === undefined)
    return refuse('gone', `what ${request.resource} was is not known any more`, 'declare the resource again')
  return {
    subject: looked.reviewer,
    answer: looked.answer,
    via: looked.via,
    stage: 0,
    request: askedOf({ ...request, created_at_ms: request.created_at.getTime() }),
    requester: { ...requester, on_behalf_of: request.on_behalf_of },
    resource,
    role: request.role,
    approvers: [...review.reviewers],
    votes: await loadVotes(tx, request, request.hash),
    time: timeFacts(now_ms, ground.zone),
  }
}

/** A resource that policy no longer declares, as the decision that gave the grant knew it. */
async function resourceThen(tx: Tx, review: ReviewRow): Promise<ResourceFacts | undefined> {
  const decision = await getDecision(tx, review.decision_id)
  const { resource } = (decision === undefined ? {} : (JSON.parse(decision.input) as { resource?: unknown })) ?? {}
  return Value.Check(ResourceFacts, resource) ? resource : undefined
}

/** A refused answer is an Event. Nothing but the events tells of it: no state changes. */
async function refuseAnswer(
  ground: Ground,
  tx: Tx,
  review: ReviewRow,
  request: RequestRow,
  looked: Looked,
  refusal: Refused,
): Promise<Refused> {
  await ground.audit.record(tx, {
    type: 'review.refused',
    body: {
      ...aboutOf(review, request),
      answer: looked.answer,
      by: looked.reviewer.id,
      via: looked.via,
      code: refusal.code,
      message: refusal.message,
      decision_id: refusal.decision_id,
    },
    subject_id: looked.reviewer.id,
    resource: request.resource,
  })
  return refusal
}
