import { and, eq } from 'drizzle-orm'
import type { EventType } from '../audit/events.ts'
import type { Tx } from '../db/database.ts'
import { notify } from '../db/notices.ts'
import { newId } from '../ids.ts'
import type { Decision } from '../policy/decision.ts'
import type { EndedGrant, Ground } from './ports.ts'
import { openReview } from './review.ts'
import { grants, type RequestState, requests } from './schema.ts'

export type RequestRow = typeof requests.$inferSelect
export type GrantRow = typeof grants.$inferSelect

/** Ends a pending request without a grant. The caller holds the row's lock. */
export async function closeRequest(
  ground: Pick<Ground, 'audit'>,
  tx: Tx,
  request: RequestRow,
  end: {
    state: Exclude<RequestState, 'pending' | 'approved'>
    by: string
    outcome: string
    now_ms: number
    decision_id?: string
    /** That answered; decisions on actions have a log of their own, which requests do not refer to. */
    point?: Decision['point']
  },
): Promise<void> {
  const type: EventType = `request.${end.state}`
  await ground.audit.record(tx, {
    type,
    body: {
      request_id: request.id,
      by: end.by,
      outcome: end.outcome,
      role: request.role,
      decision_id: end.decision_id,
    },
    subject_id: request.subject_id,
    resource: request.resource,
  })
  await leavePending(tx, request, {
    state: end.state,
    ended_at: new Date(end.now_ms),
    ended_by: end.by,
    outcome: end.outcome,
    ...(end.decision_id === undefined || end.point === 'action' ? {} : { decision_id: end.decision_id }),
  })
  await tellRequests(tx, request.id, end.state)
}

/** An action that waits may go on: its gateway hears of it, decides once more, and lets it. */
export async function approveHold(
  ground: Ground,
  tx: Tx,
  request: RequestRow,
  decision: Decision<'action'>,
  end: { by: string; outcome: string; now_ms: number },
): Promise<null> {
  if (request.kind !== 'hold') throw new TypeError('an action that is approved gives no access')
  await ground.audit.record(tx, {
    type: 'request.approved',
    body: { request_id: request.id, by: end.by, outcome: end.outcome, role: request.role, decision_id: decision.id },
    subject_id: request.subject_id,
    resource: request.resource,
  })
  await leavePending(tx, request, {
    state: 'approved',
    ended_at: new Date(end.now_ms),
    ended_by: end.by,
    outcome: end.outcome,
  })
  await tellRequests(tx, request.id, 'approved')
  return null
}

/**
 * Turns an allow into a grant whose clock starts now.
 * INVARIANT: only an `access` decision that allows, with the votes recorded now, comes here; it ends after the shorter of
 * what was asked and what policy gives now.
 */
export async function approveRequest(
  ground: Ground,
  tx: Tx,
  request: RequestRow,
  decision: Decision<'access'>,
  end: { by: string; outcome: string; now_ms: number },
): Promise<GrantRow> {
  const max_s = decision.result?.grant?.max_s
  if (decision.effect !== 'allow' || max_s === undefined)
    throw new TypeError('a grant needs an allow that says how long')
  if (request.kind !== 'access') throw new TypeError('an action that waits gives no grant')
  const grant_id = newId('grt')
  const ends_at = new Date(end.now_ms + Math.min(request.duration_s, max_s) * 1000)
  const about = { subject_id: request.subject_id, resource: request.resource }
  await ground.audit.record(tx, {
    type: 'request.approved',
    body: { request_id: request.id, by: end.by, outcome: end.outcome, role: request.role, decision_id: decision.id },
    ...about,
  })
  await ground.audit.record(tx, {
    type: 'grant.started',
    body: {
      grant_id,
      request_id: request.id,
      role: request.role,
      decision_id: decision.id,
      starts_at_ms: end.now_ms,
      ends_at_ms: ends_at.getTime(),
    },
    ...about,
  })
  await leavePending(tx, request, {
    state: 'approved',
    ended_at: new Date(end.now_ms),
    ended_by: end.by,
    outcome: end.outcome,
    decision_id: decision.id,
  })
  const [grant] = await tx
    .insert(grants)
    .values({
      id: grant_id,
      request_id: request.id,
      subject_id: request.subject_id,
      resource: request.resource,
      role: request.role,
      starts_at: new Date(end.now_ms),
      ends_at,
      decision_id: decision.id,
    })
    .returning()
  const review = decision.result?.grant?.review
  if (review !== undefined) await openReview(ground, tx, grant!, review, decision.id)
  await tellRequests(tx, request.id, 'approved')
  await tellGrants(tx, grant!, 'started')
  return grant!
}

/** Ends a grant before its time. The caller holds the row's lock. */
export async function revokeGrant(
  ground: Ground,
  tx: Tx,
  grant: GrantRow,
  end: { by: string; reason: string; now_ms: number; decision_id: string | null },
): Promise<EndedGrant> {
  await ground.audit.record(tx, {
    type: 'grant.revoked',
    body: {
      grant_id: grant.id,
      request_id: grant.request_id,
      role: grant.role,
      by: end.by,
      reason: end.reason,
      decision_id: end.decision_id,
    },
    subject_id: grant.subject_id,
    resource: grant.resource,
  })
  const at = new Date(end.now_ms)
  await tx
    .update(grants)
    .set({ revoked_at: at, revoked_by: end.by, revoke_reason: end.reason, ended_at: at })
    .where(eq(grants.id, grant.id))
  await tellGrants(tx, grant, 'revoked')
  return endedGrant(grant, end.reason)
}

export function endedGrant(grant: GrantRow, reason: string): EndedGrant {
  return { id: grant.id, subject_id: grant.subject_id, resource: grant.resource, role: grant.role, reason }
}

export function tellRequests(tx: Tx, id: string, state: RequestState): Promise<void> {
  return notify(tx, 'requests', JSON.stringify({ id, state }))
}

export function tellGrants(tx: Tx, grant: GrantRow, what: 'started' | 'revoked' | 'ended'): Promise<void> {
  return notify(tx, 'grants', JSON.stringify({ id: grant.id, subject_id: grant.subject_id, what }))
}

/** INVARIANT: a request leaves `pending` once; whoever finds it gone has no effect, because this throws. */
async function leavePending(tx: Tx, request: RequestRow, change: Partial<RequestRow>): Promise<void> {
  const moved = await tx
    .update(requests)
    .set(change)
    .where(and(eq(requests.id, request.id), eq(requests.state, 'pending')))
    .returning({ id: requests.id })
  if (moved.length !== 1) throw new Error(`request ${request.id} was no longer pending although its row was locked`)
}
