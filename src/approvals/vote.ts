import { eq } from 'drizzle-orm'
import type { Tx } from '../db/database.ts'
import { newId } from '../ids.ts'
import type { Decision } from '../policy/decision.ts'
import { Permit } from '../policy/permit.ts'
import type { SubjectFacts } from '../policy/points.ts'
import { type PolicyResource, resourceFacts } from '../policy/resources.ts'
import { timeFacts } from '../policy/time.ts'
import { mayVote, tally } from '../policy/votes.ts'
import { askedOf, buildAccessInput, loadVotes, type Vote } from './access.ts'
import { clock } from './clock.ts'
import type { Ground } from './ports.ts'
import { isVerdict, type Refused, reasonText, refuse, refusedBy } from './refusal.ts'
import { requests, votes as voteRows } from './schema.ts'
import { approveRequest, closeRequest, type GrantRow, type RequestRow, tellRequests } from './settle.ts'
import { loadSubjects } from './subjects.ts'

export interface Cast {
  readonly request_id: string
  /** As authenticated now, at the click. */
  readonly approver: SubjectFacts
  readonly answer: 'approve' | 'deny'
  readonly via: string
  /** What the approver saw; another hash means that they would answer something else. */
  readonly expected_hash?: string | undefined
}

export interface Counted {
  readonly refused: false
  readonly state: 'pending' | 'approved' | 'denied'
  readonly request: RequestRow
  readonly grant: GrantRow | null
  readonly decision: Decision
  /** The stage (from 0) that waits now, while pending. */
  readonly stage: number | null
}

/** Everything an answer is judged by, read under the request's lock. */
interface Question {
  readonly request: RequestRow
  readonly requester: SubjectFacts
  readonly resource: PolicyResource
  readonly recorded: readonly Vote[]
  readonly now_ms: number
}

/** One person's answer to one pending request. The lock on its row makes simultaneous answers follow one another. */
export async function vote(ground: Ground, tx: Tx, cast: Cast): Promise<Counted | Refused> {
  const [request] = await tx.select().from(requests).where(eq(requests.id, cast.request_id)).for('no key update')
  if (request === undefined) return refuse('not_found', 'there is no such request')
  const now_ms = await clock(tx)
  const question = await questionOf(ground, tx, request, now_ms)
  const problem = question.refused ? question : problemWith(request, cast, question.recorded)
  if (problem !== undefined) return refuseVote(ground, tx, request, cast, problem)
  if (question.refused) return question

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

async function questionOf(
  ground: Ground,
  tx: Tx,
  request: RequestRow,
  now_ms: number,
): Promise<(Question & { refused: false }) | Refused> {
  if (request.state !== 'pending') {
    return refuse(
      'conflict',
      `this request is ${request.state} already${request.outcome === null ? '' : `: ${request.outcome}`}`,
      'nothing is left to answer',
    )
  }
  if (request.expires_at.getTime() <= now_ms)
    return refuse('gone', 'this request expired unanswered', 'the requester can ask again')
  const resource = ground.resources.get(request.resource)
  if (resource === undefined) return refuse('gone', `policy no longer declares the resource ${request.resource}`)
  const requester = (await loadSubjects(tx, [request.subject_id])).get(request.subject_id)
  if (requester === undefined)
    return refuse('gone', 'the account that asked is disabled or was signed out by the identity provider')
  const recorded = await loadVotes(tx, request, request.hash)
  return {
    refused: false,
    request,
    requester: { ...requester, on_behalf_of: request.on_behalf_of },
    resource,
    recorded,
    now_ms,
  }
}

/** What keeps this person from answering, whatever policy says. */
function problemWith(request: RequestRow, cast: Cast, recorded: readonly Vote[]): Refused | undefined {
  const { approver } = cast
  const requesters = [request.subject_id, request.on_behalf_of].filter(id => id !== null)
  if (
    requesters.includes(approver.id) ||
    (approver.on_behalf_of !== null && requesters.includes(approver.on_behalf_of))
  ) {
    return refuse(
      'policy_denied',
      'nobody answers a request of their own, through whatever door',
      'ask another approver',
    )
  }
  if (cast.expected_hash !== undefined && cast.expected_hash !== request.hash) {
    return refuse('conflict', 'what you saw is not what this request asks for')
  }
  if (recorded.some(v => v.approver === approver.id)) {
    return refuse(
      'conflict',
      'you have answered this request already',
      'one person has one vote: another approver must answer',
    )
  }
  return undefined
}

export function decideAgain(
  ground: Ground,
  q: Omit<Question, 'recorded'>,
  counted: readonly Vote[],
): Decision<'access'> {
  const { request, requester, resource, now_ms } = q
  const asked = askedOf({ ...request, created_at_ms: request.created_at.getTime() })
  const input = buildAccessInput(
    {
      stage: 'request',
      subject: requester,
      resource,
      role: request.role,
      request: asked,
      votes: counted,
      grant: null,
      client: request.client,
      now_at_ms: now_ms,
    },
    ground,
  )
  return ground.engine.decide('access', input, { request_id: request.id }).decision
}

function decideApprove(ground: Ground, q: Question, cast: Cast, stage: number, approvers: string[]) {
  const { request } = q
  const asked = askedOf({ ...request, created_at_ms: request.created_at.getTime() })
  return ground.engine.decide(
    'approve',
    {
      subject: cast.approver,
      answer: cast.answer,
      via: cast.via,
      stage,
      request: asked,
      requester: q.requester,
      resource: resourceFacts(q.resource),
      role: request.role,
      approvers,
      votes: [...q.recorded],
      time: timeFacts(q.now_ms, ground.zone),
    },
    { request_id: request.id },
  )
}

function requestersOf(q: Question): (string | null)[] {
  return [q.request.subject_id, q.request.on_behalf_of]
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

/** One "deny" of somebody who may ends the request, whatever the others said. */
async function denyBy(ground: Ground, tx: Tx, q: Question, approver: SubjectFacts, judged: Decision): Promise<Counted> {
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

async function keepWaiting(
  ground: Ground,
  tx: Tx,
  q: Question,
  counted: readonly Vote[],
  decision: Decision<'access'>,
): Promise<Counted> {
  await ground.decisionLog.insert(tx, decision)
  const terms = decision.result!.approval!
  await tx.update(requests).set({ terms, decision_id: decision.id }).where(eq(requests.id, q.request.id))
  await tellRequests(tx, q.request.id, 'pending')
  const { stage } = tally(terms, counted, requestersOf(q))
  return { refused: false, state: 'pending', request: { ...q.request, terms }, grant: null, decision, stage }
}

/** Policy changed since it was asked: it gives this now without another vote, or no longer at all. The answer has no effect. */
async function settleWithoutVote(ground: Ground, tx: Tx, q: Question, decision: Decision<'access'>): Promise<Refused> {
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

export async function settleByDecision(
  ground: Ground,
  tx: Tx,
  q: Omit<Question, 'recorded'>,
  decision: Decision<'access'>,
  outcome: string,
  by: string,
): Promise<Counted> {
  const { request, now_ms } = q
  await ground.decisionLog.insert(tx, decision)
  if (decision.effect === 'allow' && decision.result?.grant !== undefined) {
    const grant = await approveRequest(ground, tx, request, decision, { by, outcome, now_ms })
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
