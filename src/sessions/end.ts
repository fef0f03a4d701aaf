import { and, asc, inArray, isNull, sql } from 'drizzle-orm'
import type { BatchWriter } from '../audit/writer.ts'
import type { Tx } from '../db/database.ts'
import { notify } from '../db/notices.ts'
import type { EndCode, EndedSession } from './ports.ts'
import { connections, leases, sessions, tickets } from './schema.ts'

/** Which session, and why. */
export interface SessionEnd {
  readonly id: string
  readonly code: EndCode
  readonly reason: string
  readonly by?: string | undefined
}

/**
 * Ends sessions: their tickets open nothing any more, their leases are due, whoever serves them hears of it. Idempotent:
 * only the first end of each writes its event. @returns for each the session, undefined when it had ended before.
 */
export async function endSessions(
  audit: BatchWriter,
  tx: Tx,
  ends: readonly SessionEnd[],
  now_ms: number,
): Promise<(EndedSession | undefined)[]> {
  const ids = ends.map(end => end.id)
  // Tickets are locked before sessions, as when one is presented, and all in the order of their ids: two orders would be a deadlock.
  const of = tx.select({ id: sessions.ticket_id }).from(sessions).where(inArray(sessions.id, ids))
  await tx
    .select({ id: tickets.id })
    .from(tickets)
    .where(inArray(tickets.id, of))
    .orderBy(asc(tickets.id))
    .for('no key update')
  const open = await tx
    .select()
    .from(sessions)
    .where(and(inArray(sessions.id, ids), isNull(sessions.ended_at)))
    .orderBy(asc(sessions.id))
    .for('no key update')
  if (open.length === 0) return ends.map(() => undefined)
  const first = new Map(ends.toReversed().map(end => [end.id, end]))
  const ending = open.map(session => ({ session, end: first.get(session.id)! }))
  await audit.recordAll(
    tx,
    ending.map(({ session, end: { code, reason, by } }) => ({
      type: 'session.ended',
      body: { code, reason, by, role: session.role, opened_at_ms: session.opened_at.getTime() },
      subject_id: session.subject_id,
      session_id: session.id,
      resource: session.resource,
    })),
  )
  const now = new Date(now_ms)
  const column = (of: (one: (typeof ending)[number]) => string) => sql`${sql.param(ending.map(of))}::text[]`
  await tx.execute(sql`
    update sessions s set ended_at = ${now.toISOString()}::timestamptz, end_code = e.code, end_reason = e.reason
    from unnest(${column(one => one.session.id)}, ${column(one => one.end.code)}, ${column(one => one.end.reason)}) as e (id, code, reason)
    where s.id = e.id`)
  await tx
    .update(tickets)
    .set({ ended_at: now })
    .where(
      inArray(
        tickets.id,
        open.map(session => session.ticket_id),
      ),
    )
  await dueLeases(
    tx,
    open.map(session => session.id),
    now,
  )
  await tx.execute(sql`select pg_notify('sessions', payload)
    from unnest(${column(({ end: { id, code } }) => JSON.stringify({ id, code }))}) as payload`)
  const ended = new Map(ending.map(({ end: { id, code, reason } }) => [id, { id, code, reason }]))
  return ends.map(end => (first.get(end.id) === end ? ended.get(end.id) : undefined))
}

async function dueLeases(tx: Tx, session_ids: readonly string[], now: Date): Promise<void> {
  const due = await tx
    .update(leases)
    .set({ state: 'reaping', next_try_at: now })
    .where(and(inArray(leases.session_id, [...session_ids]), inArray(leases.state, ['minting', 'minted'])))
    .returning({ session_id: leases.session_id })
  if (due[0] !== undefined) await notify(tx, 'leases', JSON.stringify(due.length === 1 ? due[0] : {}))
}

/** Which connection, and why. */
export interface ConnectionClose {
  readonly id: string
  readonly reason: string
}

/** Closes connections. Idempotent; their sessions go on, idle when it was the last. @returns which were open. */
export async function closeConnections(
  audit: BatchWriter,
  tx: Tx,
  closes: readonly ConnectionClose[],
  now_ms: number,
): Promise<boolean[]> {
  const now = new Date(now_ms)
  const ids = closes.map(close => close.id)
  const of = tx.select({ id: connections.session_id }).from(connections).where(inArray(connections.id, ids))
  const rows = await tx
    .select({ id: sessions.id, subject_id: sessions.subject_id, resource: sessions.resource })
    .from(sessions)
    .where(inArray(sessions.id, of))
    .orderBy(asc(sessions.id))
    .for('no key update')
  const first = new Map(closes.toReversed().map(close => [close.id, { ...close, reason: plainText(close.reason) }]))
  const wanted = [...first.values()]
  const column = (of: (one: ConnectionClose) => string) => sql`${sql.param(wanted.map(of))}::text[]`
  const closed = await tx.execute<{ id: string; session_id: string; process_id: string }>(sql`
    update connections c set closed_at = ${now.toISOString()}::timestamptz, close_reason = e.reason
    from unnest(${column(one => one.id)}, ${column(one => one.reason)}) as e (id, reason)
    where c.id = e.id and c.closed_at is null
    returning c.id, c.session_id, c.process_id`)
  if (closed.length > 0) {
    const touched = [...new Set(closed.map(one => one.session_id))]
    await tx.update(sessions).set({ last_connection_at: now }).where(inArray(sessions.id, touched))
    const session = new Map(rows.map(row => [row.id, row]))
    await audit.recordAll(
      tx,
      closed.map(({ id, session_id, process_id }) => ({
        type: 'connection.closed',
        body: { connection_id: id, reason: first.get(id)!.reason, process_id },
        subject_id: session.get(session_id)?.subject_id,
        session_id,
        resource: session.get(session_id)?.resource,
      })),
    )
  }
  const found = new Set(closed.map(one => one.id))
  return closes.map(close => found.delete(close.id))
}

/** Text from outside as a row and an event can hold it: bounded, no control characters, no half of a surrogate pair. */
export function plainText(text: string): string {
  return text
    .slice(0, 500)
    .toWellFormed()
    .replace(/[\u0000-\u001f\u007f]/g, ' ')
}
