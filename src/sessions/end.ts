import { and, eq, inArray, isNull } from 'drizzle-orm'
import type { AuditWriter } from '../audit/events.ts'
import type { Tx } from '../db/database.ts'
import { notify } from '../db/notices.ts'
import type { EndCode, EndedSession } from './ports.ts'
import { connections, leases, sessions, tickets } from './schema.ts'

export interface End {
  readonly code: EndCode
  readonly reason: string
  readonly now_ms: number
  readonly by?: string | undefined
}

/**
 * Ends a session: its ticket opens nothing any more, its lease is due, whoever serves it hears of it. Idempotent: only
 * the first end writes its event. @returns undefined when it had ended before.
 */
export async function endSession(
  audit: AuditWriter,
  tx: Tx,
  session_id: string,
  end: End,
): Promise<EndedSession | undefined> {
  // The ticket is locked before the session, as when it is presented: two orders would be a deadlock.
  const of = tx.select({ id: sessions.ticket_id }).from(sessions).where(eq(sessions.id, session_id))
  await tx.select({ id: tickets.id }).from(tickets).where(inArray(tickets.id, of)).for('no key update')
  const [session] = await tx
    .select()
    .from(sessions)
    .where(and(eq(sessions.id, session_id), isNull(sessions.ended_at)))
    .for('no key update')
  if (session === undefined) return undefined
  const now = new Date(end.now_ms)
  await audit.record(tx, {
    type: 'session.ended',
    body: {
      code: end.code,
      reason: end.reason,
      by: end.by,
      role: session.role,
      opened_at_ms: session.opened_at.getTime(),
    },
    subject_id: session.subject_id,
    session_id,
    resource: session.resource,
  })
  await tx
    .update(sessions)
    .set({ ended_at: now, end_code: end.code, end_reason: end.reason })
    .where(eq(sessions.id, session_id))
  await tx.update(tickets).set({ ended_at: now }).where(eq(tickets.id, session.ticket_id))
  await dueLeases(tx, session_id, now)
  await notify(tx, 'sessions', JSON.stringify({ id: session_id, code: end.code }))
  return { id: session_id, code: end.code, reason: end.reason }
}

async function dueLeases(tx: Tx, session_id: string, now: Date): Promise<void> {
  const due = await tx
    .update(leases)
    .set({ state: 'reaping', next_try_at: now })
    .where(and(eq(leases.session_id, session_id), inArray(leases.state, ['minting', 'minted'])))
    .returning({ id: leases.id })
  if (due.length > 0) await notify(tx, 'leases', JSON.stringify({ session_id }))
}

/** Closes one connection. Idempotent; the session goes on, idle when it was the last. */
export async function closeConnection(
  audit: AuditWriter,
  tx: Tx,
  connection_id: string,
  close: { readonly reason: string; readonly now_ms: number },
): Promise<boolean> {
  const now = new Date(close.now_ms)
  const reason = plainText(close.reason)
  const [closed] = await tx
    .update(connections)
    .set({ closed_at: now, close_reason: reason })
    .where(and(eq(connections.id, connection_id), isNull(connections.closed_at)))
    .returning()
  if (closed === undefined) return false
  const [session] = await tx
    .update(sessions)
    .set({ last_connection_at: now })
    .where(eq(sessions.id, closed.session_id))
    .returning({ subject_id: sessions.subject_id, resource: sessions.resource })
  await audit.record(tx, {
    type: 'connection.closed',
    body: { connection_id, reason, process_id: closed.process_id },
    subject_id: session?.subject_id,
    session_id: closed.session_id,
    resource: session?.resource,
  })
  return true
}

/** Text from outside as a row and an event can hold it: bounded, no control characters, no half of a surrogate pair. */
export function plainText(text: string): string {
  return text
    .slice(0, 500)
    .toWellFormed()
    .replace(/[\u0000-\u001f\u007f]/g, ' ')
}
