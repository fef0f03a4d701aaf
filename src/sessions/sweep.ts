import { and, asc, eq, inArray, isNull, lte, sql } from 'drizzle-orm'
import { clock } from '../approvals/clock.ts'
import { grants } from '../approvals/schema.ts'
import type { Queryable, Tx } from '../db/database.ts'
import { notify } from '../db/notices.ts'
import { deadProcesses } from '../db/processes.ts'
import { endSessions } from './end.ts'
import type { EndCode, EndedSession, SessionGround } from './ports.ts'
import { connections, leases, sessions, tickets } from './schema.ts'

/** Rows of one transaction. A sweeper that finds this many comes again at once. */
export const sweepPage = 100

export interface DueRow extends Record<string, unknown> {
  id: string
  ticket_id: string
  code: EndCode
}

const reasons: Partial<Record<EndCode, string>> = {
  expired: 'its time is over',
  idle: 'it lay idle with no connection',
  token: 'the API token that it was opened with was revoked or ran out',
}

/** Why sessions are over by the clock: their time, a token that is no longer good, or no connection for too long. */
async function dueSessions(q: Queryable, only?: string): Promise<readonly DueRow[]> {
  const one = only === undefined ? sql`true` : sql`s.id = ${only}`
  return await q.execute<DueRow>(sql`
    select s.id, s.ticket_id, case when s.ends_at <= clock_timestamp() then 'expired' when k.bad then 'token' else 'idle' end as code
    from sessions s join tickets t on t.id = s.ticket_id
    cross join lateral (select t.token is not null and not exists (select from api_tokens a
      where a.id = t.token->>'id' and a.revoked_at is null and a.expires_at > clock_timestamp()) as bad) k
    where s.ended_at is null and ${one} and (s.ends_at <= clock_timestamp() or k.bad
      or (s.last_connection_at + make_interval(secs => s.idle_s) <= clock_timestamp()
        and not exists (select from connections c where c.session_id = s.id and c.closed_at is null)))
    order by s.id limit ${sweepPage}`)
}

export function listDueSessions(ground: SessionGround): Promise<readonly DueRow[]> {
  return dueSessions(ground.database.db)
}

/**
 * Ends one session that is over by the clock, if it still is once its ticket is locked: somebody may have connected, or
 * got a longer grant. The process that serves it ends it too, and earlier; this is what stands behind it.
 */
export async function endDueSession(ground: SessionGround, tx: Tx, due: DueRow): Promise<EndedSession | undefined> {
  await tx.select({ id: tickets.id }).from(tickets).where(eq(tickets.id, due.ticket_id)).for('no key update')
  const [still] = await dueSessions(tx, due.id)
  if (still === undefined) return undefined
  const reason = reasons[still.code] ?? still.code
  const end = { id: due.id, code: still.code, reason, by: 'time' }
  return (await endSessions(ground.audit, tx, [end], await clock(tx)))[0]
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

/** Open connections of processes that are dead, and those processes. */
export async function listLost(
  ground: SessionGround,
): Promise<{ readonly connections: string[]; readonly dead: string[] }> {
  const { db } = ground.database
  const dead = await deadProcesses(db)
  if (dead.length === 0) return { connections: [], dead }
  const lost = await db
    .select({ id: connections.id })
    .from(connections)
    .where(and(isNull(connections.closed_at), inArray(connections.process_id, dead)))
    .orderBy(asc(connections.id))
    .limit(sweepPage)
  return { connections: lost.map(row => row.id), dead }
}

/** Makes the leases of dead processes due: nobody else knows those passwords. */
export async function orphanLeases(tx: Tx, dead: readonly string[]): Promise<void> {
  if (dead.length === 0) return
  const orphans = await tx
    .update(leases)
    .set({ state: 'reaping', next_try_at: new Date(await clock(tx)) })
    .where(and(inArray(leases.state, ['minting', 'minted']), inArray(leases.process_id, [...dead])))
    .returning({ id: leases.id })
  if (orphans.length > 0) await notify(tx, 'leases', JSON.stringify({}))
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
