import { and, asc, eq, inArray, isNull, lte, sql } from 'drizzle-orm'
import { clock } from '../approvals/clock.ts'
import { grants } from '../approvals/schema.ts'
import type { Tx } from '../db/database.ts'
import { notify } from '../db/notices.ts'
import { deadProcesses } from '../db/processes.ts'
import { closeConnection, endSession } from './end.ts'
import type { EndCode, EndedSession, SessionGround } from './ports.ts'
import { connections, leases, sessions, tickets } from './schema.ts'

/** Rows of one transaction. A sweeper that finds this many comes again at once. */
export const sweepPage = 100

interface DueRow extends Record<string, unknown> {
  id: string
  code: EndCode
}

const reasons: Partial<Record<EndCode, string>> = {
  expired: 'its time is over',
  idle: 'it lay idle with no connection',
  token: 'the API token that it was opened with was revoked or ran out',
}

/**
 * Ends sessions by the clock: over, idle with no connection, or opened with a token that is no longer good. The process
 * that serves one does so too, and earlier; this is what stands behind it.
 */
export async function endDueSessions(ground: SessionGround, tx: Tx): Promise<{ ended: EndedSession[]; more: boolean }> {
  const now_ms = await clock(tx)
  const now = sql`${new Date(now_ms).toISOString()}::timestamptz`
  const due = await tx.execute<DueRow>(sql`
    select s.id, case when s.ends_at <= ${now} then 'expired' when k.bad then 'token' else 'idle' end as code
    from sessions s join tickets t on t.id = s.ticket_id
    cross join lateral (select t.token is not null and not exists (select from api_tokens a
      where a.id = t.token->>'id' and a.revoked_at is null and a.expires_at > ${now}) as bad) k
    where s.ended_at is null and (s.ends_at <= ${now} or k.bad
      or (s.last_connection_at + make_interval(secs => s.idle_s) <= ${now}
        and not exists (select from connections c where c.session_id = s.id and c.closed_at is null)))
    order by s.id limit ${sweepPage}`)
  const ended: EndedSession[] = []
  for (const { id, code } of due) {
    const end = await endSession(ground.audit, tx, id, { code, reason: reasons[code] ?? code, now_ms, by: 'time' })
    if (end !== undefined) ended.push(end)
  }
  return { ended, more: due.length === sweepPage }
}

/** Ends tickets that nobody used in time, or whose token is no longer good. @returns how many. */
export async function endUnusedTickets(tx: Tx): Promise<number> {
  const now = sql`${new Date(await clock(tx)).toISOString()}::timestamptz`
  const ended = await tx.execute(sql`
    update tickets set ended_at = ${now} where id in (
      select t.id from tickets t where t.ended_at is null
        and not exists (select from sessions s where s.ticket_id = t.id)
        and (t.unused_until <= ${now} or (t.token is not null and not exists (select from api_tokens a
          where a.id = t.token->>'id' and a.revoked_at is null and a.expires_at > ${now})))
      order by t.id limit ${sweepPage} for no key update of t skip locked)
    returning id`)
  return ended.length
}

/**
 * Closes the connections of processes whose heartbeat is lost, and makes their leases due: nobody else knows those
 * passwords. The sessions go on for who connects again, and end idle otherwise.
 */
export async function reapDead(ground: SessionGround, tx: Tx): Promise<number> {
  const now_ms = await clock(tx)
  const dead = await deadProcesses(tx)
  if (dead.length === 0) return 0
  const lost = await tx
    .select({ id: connections.id })
    .from(connections)
    .where(and(isNull(connections.closed_at), inArray(connections.process_id, dead)))
    .orderBy(asc(connections.id))
    .limit(sweepPage)
    .for('no key update', { skipLocked: true })
  for (const { id } of lost) await closeConnection(ground.audit, tx, id, { reason: 'its process was lost', now_ms })
  const orphans = await tx
    .update(leases)
    .set({ state: 'reaping', next_try_at: new Date(now_ms) })
    .where(and(inArray(leases.state, ['minting', 'minted']), inArray(leases.process_id, dead)))
    .returning({ id: leases.id })
  if (orphans.length > 0) await notify(tx, 'leases', JSON.stringify({}))
  return lost.length
}

/** Live sessions under a grant that has ended, of which no process serves a connection: nobody else would look at them. */
export async function sessionsWithoutGrant(tx: Tx): Promise<{ id: string; revoke_reason: string | null }[]> {
  return await tx
    .select({ id: sessions.id, revoke_reason: grants.revoke_reason })
    .from(sessions)
    .innerJoin(grants, eq(grants.id, sessions.grant_id))
    .innerJoin(tickets, eq(tickets.id, sessions.ticket_id))
    .where(
      and(
        isNull(sessions.ended_at),
        lte(sessions.opened_at, sql`clock_timestamp()`),
        sql`not exists (select from grants g join requests r on r.id = g.request_id
          where g.subject_id = ${sessions.subject_id} and g.resource = ${sessions.resource} and g.role = ${sessions.role}
            and r.on_behalf_of is not distinct from ${tickets.on_behalf_of}
            and g.ended_at is null and g.ends_at > clock_timestamp())`,
      ),
    )
    .orderBy(asc(sessions.id))
    .limit(sweepPage)
}
