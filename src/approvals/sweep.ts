import { and, asc, eq, inArray, isNull, lte, sql } from 'drizzle-orm'
import type { Tx } from '../db/database.ts'
import { clock } from './clock.ts'
import { tellRefused } from './hold.ts'
import type { EndedGrant, Ground } from './ports.ts'
import { grants, holds, requests } from './schema.ts'
import { closeRequest, endedGrant, tellGrants } from './settle.ts'

/** Rows of one transaction. A sweeper that finds this many comes again at once. */
export const sweepPage = 100

/** Ends requests that nobody answered in time. Two sweepers share the work: each row is taken by one of them. */
export async function expireRequests(ground: Ground, tx: Tx): Promise<string[]> {
  const now_ms = await clock(tx)
  const due = await tx
    .select()
    .from(requests)
    .where(and(eq(requests.state, 'pending'), lte(requests.expires_at, new Date(now_ms))))
    .orderBy(asc(requests.expires_at))
    .limit(sweepPage)
    .for('no key update', { skipLocked: true })
  for (const request of due) {
    await closeRequest(ground, tx, request, {
      state: 'expired',
      by: 'time',
      outcome: 'nobody answered in time',
      now_ms,
    })
  }
  return due.map(request => request.id)
}

/** A gateway says each second that it waits; one that has not for so long is gone, and with it the client. */
const forsaken_s = 20
/** A server that was down heard of nobody: it waits as long from its start. */
const forsaken = sql`greatest(${holds.seen_at}, pg_postmaster_start_time()) < clock_timestamp() - make_interval(secs => ${forsaken_s})`

/** Ends holds that nobody waits for any more: their process died, or could not say that its client left. */
export async function endForsaken(ground: Ground, tx: Tx): Promise<string[]> {
  const due = await tx
    .select({ request: requests })
    .from(requests)
    .innerJoin(holds, eq(holds.request_id, requests.id))
    .where(and(eq(requests.state, 'pending'), eq(requests.kind, 'hold'), forsaken))
    .limit(sweepPage)
    .for('no key update', { of: requests, skipLocked: true })
  const now_ms = await clock(tx)
  const outcome = 'nobody waits for it any more: its connection is gone'
  for (const { request } of due)
    await closeRequest(ground, tx, request, { state: 'cancelled', by: 'time', outcome, now_ms })
  return due.map(({ request }) => request.id)
}

/** What was approved and neither went on nor said why: its process died between the two. @returns their requests. */
export async function endUnused(ground: Ground, tx: Tx): Promise<string[]> {
  const due = await tx
    .select({ id: holds.request_id })
    .from(requests)
    .innerJoin(holds, eq(holds.request_id, requests.id))
    .where(
      and(
        sql`${requests.kind} = 'hold' and ${requests.state} = 'approved'`,
        sql`${requests.expires_at} > clock_timestamp() - interval '1 day'`,
        isNull(holds.released_at),
        isNull(holds.unused),
        forsaken,
      ),
    )
    .limit(sweepPage)
    .for('no key update', { of: holds, skipLocked: true })
  for (const { id } of due) await tellRefused(ground, tx, id, 'its connection was gone before it could go on')
  return due.map(({ id }) => id)
}

/** Announces grants whose time is over. They gave nothing since `ends_at`: this is the event, not the end. */
export async function endGrants(ground: Ground, tx: Tx): Promise<EndedGrant[]> {
  const now_ms = await clock(tx)
  const due = await tx
    .select()
    .from(grants)
    .where(and(isNull(grants.ended_at), lte(grants.ends_at, new Date(now_ms))))
    .orderBy(asc(grants.ends_at))
    .limit(sweepPage)
    .for('no key update', { skipLocked: true })
  if (due.length === 0) return []
  for (const grant of due) {
    await ground.audit.record(tx, {
      type: 'grant.ended',
      body: { grant_id: grant.id, request_id: grant.request_id, role: grant.role, ends_at_ms: grant.ends_at.getTime() },
      subject_id: grant.subject_id,
      resource: grant.resource,
    })
    await tellGrants(tx, grant, 'ended')
  }
  await tx
    .update(grants)
    .set({ ended_at: new Date(now_ms) })
    .where(
      inArray(
        grants.id,
        due.map(grant => grant.id),
      ),
    )
  return due.map(grant => endedGrant(grant, 'its time is over'))
}
