import { eq } from 'drizzle-orm'
import type { Tx } from '../db/database.ts'
import { newId } from '../ids.ts'
import { Permit } from '../policy/permit.ts'
import { mayVote, tally } from '../policy/votes.ts'
import type { Vote } from './access.ts'
import { clock } from './clock.ts'
import { type Counted, denyBy, keepWaiting, settleByDecision, settleWithoutVote } from './outcome.ts'
import { problemWith } from './own-request.ts'
import type { Ground } from './ports.ts'
import { type Cast, decideAgain, decideApprove, type Question, questionOf, requestersOf } from './question.ts'
import { isVerdict, type Refused, refuse, refusedBy } from './refusal.ts'
import { requests, votes as voteRows } from './schema.ts'
import type { RequestRow } from './settle.ts'

/** One person's answer to one pending request. The lock on its row makes simultaneous answers follow one another. */
export async function vote(ground: Ground, tx: Tx, cast: Cast): Promise<Counted | Refused> {
  const [request] = await tx.select().from(requests).where(eq(requests.id, cast.request_id)).for('no key update')
  if (request === undefined) return refuse('not_found', 'there is no such request')
  const now_ms = await clock(tx)
  const question = await questionOf(ground, tx, request, now_ms)
  if (question.refused) return refuseVote(ground, tx, request, cast, question)
  const problem = await problemWith(tx, question, cast)
  if (problem !== undefined) return refuseVote(ground, tx, request, cast, problem)

  const before = decideAgain(ground, question, question.recorded)
  if (!isVerdict(before)) return refuseVote(ground, tx, request, cast, refusedBy(before))
  const terms = before.effect === 'ask' ? before.result?.approval : undefined
  if (terms === undefined) return await settleWithoutVote(ground, tx, question, before)
  const { stage } = tally(terms, question.recorded, requestersOf(question))
  const approvers = terms.stages[stage]?.approvers ?? []
  const judged = decideApprove(ground, question, cast, stage, approvers)
  await ground.decisionLog.insert(tx, judged.decision)
  if (!Permit.is(judged.permit)) return refuseVote(ground, tx, request, cast, refusedBy(judged.decision))
  if (!mayVote(approvers, cast.approver)) {
    const message = `you are not among the approvers of stage ${stage + 1}, whom policy names now`
    return refuseVote(ground, tx, request, cast, {
      ...refuse('policy_denied', message),
      decision_id: judged.decision.id,
    })
  }
  const own: Vote = {
    approver: cast.approver.id,
    groups: cast.approver.groups,
    stage,
    answer: cast.answer,
    at_ms: now_ms,
  }
  const counted = [...question.recorded, own]
  const after = decideAgain(ground, question, counted)
  if (!isVerdict(after)) return refuseVote(ground, tx, request, cast, refusedBy(after))
  await record(ground, tx, question, own, cast.via, judged.decision.id)
  if (cast.answer === 'deny') return await denyBy(ground, tx, question, cast.approver, judged.decision)
  if (after.effect === 'ask') return await keepWaiting(ground, tx, question, counted, after)
  return await settleByDecision(ground, tx, question, after, `approved by ${cast.approver.name}`, cast.approver.id)
}

async function record(ground: Ground, tx: Tx, q: Question, own: Vote, via: string, decision_id: string): Promise<void> {
  const { request } = q
  const vote_id = newId('vot')
  await ground.audit.record(tx, {
    type: 'vote.cast',
    body: {
      vote_id,
      request_id: request.id,
      request_hash: request.hash,
      approver_id: own.approver,
      requester_id: request.subject_id,
      stage: own.stage,
      answer: own.answer,
      via,
      decision_id,
    },
    subject_id: own.approver,
    resource: request.resource,
  })
  await tx.insert(voteRows).values({
    id: vote_id,
    request_id: request.id,
    request_hash: request.hash,
    requester_id: request.subject_id,
    approver_id: own.approver,
    groups: own.groups,
    stage: own.stage,
    answer: own.answer === 'approve' ? 'approve' : 'deny',
    via,
    decision_id,
    at: new Date(own.at_ms),
  })
}

/** A refused answer is an Event. Nothing but the events tells of it: no state changes. */
async function refuseVote(ground: Ground, tx: Tx, request: RequestRow, cast: Cast, refusal: Refused): Promise<Refused> {
  await ground.audit.record(tx, {
    type: 'vote.refused',
    body: {
      request_id: request.id,
      approver_id: cast.approver.id,
      answer: cast.answer,
      via: cast.via,
      code: refusal.code,
      message: refusal.message,
      decision_id: refusal.decision_id,
    },
    subject_id: cast.approver.id,
    resource: request.resource,
  })
  return refusal
}
