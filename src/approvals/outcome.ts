import { eq } from 'drizzle-orm'
import type { Tx } from '../db/database.ts'
import type { Decision } from '../policy/decision.ts'
import type { ApprovalTerms, SubjectFacts } from '../policy/points.ts'
import { tally } from '../policy/votes.ts'
import type { Vote } from './access.ts'
import type { Ground } from './ports.ts'
import { type Question, requestersOf } from './question.ts'
import { type Refused, reasonText, refuse } from './refusal.ts'
import { holds, requests } from './schema.ts'
import { approveHold, approveRequest, closeRequest, type GrantRow, type RequestRow, tellRequests } from './settle.ts'

/** What came of an answer that counted. */
export interface Counted {
  readonly refused: false
  readonly state: 'pending' | 'approved' | 'denied'
  readonly request: RequestRow
  readonly grant: GrantRow | null
  readonly decision: Decision
  /** The stage (from 0) that waits now, while pending. */
  readonly stage: number | null
}

/** One "deny" of somebody who may ends the request, whatever the others said. */
export async function denyBy(
  ground: Ground,
  tx: Tx,
  q: Question,
  approver: SubjectFacts,
  judged: Decision,
): Promise<Counted> {
  const { request, now_ms } = q
  const outcome = `denied by ${approver.name}`
  await closeRequest(ground, tx, request, { state: 'denied', by: approver.id, outcome, now_ms, decision_id: judged.id })
  return {
    refused: false,
    state: 'denied',
    request: { ...request, state: 'denied', outcome },
    grant: null,
    decision: judged,
    stage: null,
  }
}

/** Other approvals are missing. */
export async function keepWaiting(
  ground: Ground,
  tx: Tx,
  q: Question,
  counted: readonly Vote[],
  decision: Decision<'access'> | Decision<'action'>,
): Promise<Counted> {
  const terms = await renewTerms(ground, tx, q.request.id, decision)
  await tellRequests(tx, q.request.id, 'pending')
  const { stage } = tally(terms, counted, requestersOf(q))
  return { refused: false, state: 'pending', request: { ...q.request, terms }, grant: null, decision, stage }
}

/** It waits on, under the terms of this decision. */
export async function renewTerms(
  ground: Ground,
  tx: Tx,
  request_id: string,
  decision: Decision<'access'> | Decision<'action'>,
): Promise<ApprovalTerms> {
  await ground.decisionLog.insert(tx, decision)
  const terms = decision.result!.approval!
  if (decision.point === 'action') {
    await tx.update(requests).set({ terms }).where(eq(requests.id, request_id))
    await tx.update(holds).set({ decision_id: decision.id }).where(eq(holds.request_id, request_id))
  } else await tx.update(requests).set({ terms, decision_id: decision.id }).where(eq(requests.id, request_id))
  return terms
}

/** Policy changed since it was asked: it gives this now without another vote, or no longer at all. The answer has no effect. */
export async function settleWithoutVote(
  ground: Ground,
  tx: Tx,
  q: Question,
  decision: Decision<'access'> | Decision<'action'>,
): Promise<Refused> {
  const settled = await settleByDecision(ground, tx, q, decision, 'allowed by policy as it is now', 'policy')
  const what =
    settled.state === 'approved'
      ? 'policy allows this now without your answer'
      : `policy no longer allows this: ${reasonText(decision)}`
  return {
    ...refuse('conflict', what, 'nothing is left to answer'),
    decision_id: decision.id,
    reasons: decision.reasons,
  }
}

/** Grants what policy allows now, or lets the action go on, and closes what it does not. */
export async function settleByDecision(
  ground: Ground,
  tx: Tx,
  q: Omit<Question, 'recorded'>,
  decision: Decision<'access'> | Decision<'action'>,
  outcome: string,
  by: string,
): Promise<Counted> {
  const { request, now_ms } = q
  await ground.decisionLog.insert(tx, decision)
  if (decision.effect === 'allow' && (request.kind === 'hold' || givesFor(decision))) {
    const end = { by, outcome, now_ms }
    const grant = isAccess(decision)
      ? await approveRequest(ground, tx, request, decision, end)
      : await approveHold(ground, tx, request, decision, end)
    return {
      refused: false,
      state: 'approved',
      request: { ...request, state: 'approved', outcome },
      grant,
      decision,
      stage: null,
    }
  }
  const why =
    decision.effect === 'allow'
      ? 'policy does not say how long this access may last'
      : `policy no longer allows this: ${reasonText(decision)}`
  await closeRequest(ground, tx, request, {
    state: 'denied',
    by: 'policy',
    outcome: why,
    now_ms,
    decision_id: decision.id,
    point: decision.point,
  })
  return {
    refused: false,
    state: 'denied',
    request: { ...request, state: 'denied', outcome: why },
    grant: null,
    decision,
    stage: null,
  }
}

const isAccess = (decision: Decision<'access'> | Decision<'action'>): decision is Decision<'access'> =>
  decision.point === 'access'

const givesFor = (decision: Decision<'access'> | Decision<'action'>): boolean =>
  isAccess(decision) && decision.result?.grant !== undefined
