import { eq } from 'drizzle-orm'
import type { Tx } from '../db/database.ts'
import type { Decision } from '../policy/decision.ts'
import type { SubjectFacts } from '../policy/points.ts'
import { type PolicyResource, resourceFacts } from '../policy/resources.ts'
import { timeFacts } from '../policy/time.ts'
import { askedOf, buildAccessInput, loadVotes, type Vote } from './access.ts'
import type { Ground } from './ports.ts'
import { type Refused, refuse } from './refusal.ts'
import { type HeldActions, holds } from './schema.ts'
import type { RequestRow } from './settle.ts'
import { loadSubjects } from './subjects.ts'

/** Everything an answer is judged by, read under the request's lock. */
export interface Question {
  readonly request: RequestRow
  readonly requester: SubjectFacts
  readonly resource: PolicyResource
  /** The action that waits, where it is no access that is asked for. */
  readonly hold: { readonly session_id: string; readonly held: HeldActions } | null
  readonly recorded: readonly Vote[]
  readonly now_ms: number
}

export interface Cast {
  readonly request_id: string
  /** As authenticated now, at the click. */
  readonly approver: SubjectFacts
  readonly answer: 'approve' | 'deny'
  readonly via: string
  /** What the approver saw; another hash means that they would answer something else. */
  readonly expected_hash?: string | undefined
}

/** The question behind a request whose row is locked, or why it can be answered no more. */
export async function questionOf(
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
  const hold = await holdOf(tx, request)
  const recorded = await loadVotes(tx, { ...request, held: hold }, request.hash)
  return {
    refused: false,
    request,
    requester: { ...requester, on_behalf_of: request.on_behalf_of },
    resource,
    hold,
    recorded,
    now_ms,
  }
}

/** What waits behind a request, as its gateway wrote it down. */
export async function holdOf(tx: Tx, request: RequestRow) {
  if (request.kind !== 'hold') return null
  const [hold] = await tx.select().from(holds).where(eq(holds.request_id, request.id))
  if (hold === undefined) throw new Error(`the action of request ${request.id} is not there`)
  return hold
}

/** Policy's answer as it is now, with these votes: `access`, or `action` where an action waits. */
export function decideAgain(
  ground: Ground,
  q: Omit<Question, 'recorded'>,
  counted: readonly Vote[],
): Decision<'access'> | Decision<'action'> {
  if (q.hold !== null) return decideHeld(ground, q.request.id, q.hold, counted)
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

/** All of the actions of a hold must be allowed: of several answers the first that is none counts. */
function decideHeld(
  ground: Ground,
  request_id: string,
  { session_id, held }: NonNullable<Question['hold']>,
  votes: readonly Vote[],
): Decision<'action'> {
  const { actions, ...about } = held
  const decisions = actions.map(action => {
    const hold = { request: request_id, votes: [...votes] }
    return ground.engine.decide('action', { ...about, action, hold }, { session_id, request_id }).decision
  })
  const worst = decisions.find(each => each.effect === 'deny') ?? decisions.find(each => each.effect !== 'allow')
  const decision = worst ?? decisions.at(-1)
  if (decision === undefined) throw new Error(`request ${request_id} is about no action`)
  return decision
}

/** Whether this press counts at all. */
export function decideApprove(ground: Ground, q: Question, cast: Cast, stage: number, approvers: string[]) {
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
      ...(q.hold === null ? {} : { actions: [...q.hold.held.actions] }),
    },
    { request_id: request.id },
  )
}

/** Who asked, and on whose behalf: neither counts as an approver. */
export function requestersOf(q: Question): (string | null)[] {
  return [q.request.subject_id, q.request.on_behalf_of]
}
