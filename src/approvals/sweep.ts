import { and, asc, eq, inArray, isNull, lte } from 'drizzle-orm'
import type { Tx } from '../db/database.ts'
import { clock } from './clock.ts'
import type { EndedGrant, Ground } from './ports.ts'
import { grants, requests } from './schema.ts'
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
