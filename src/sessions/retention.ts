import { type SQL, sql } from 'drizzle-orm'
import type { LogClass, Needed } from '../policy/log/log-class.ts'

/** Decisions that tickets and sessions stand on. */
export const decisionOfSessions: Needed = (id: SQL) => sql`
  exists (select from tickets t where t.decision_id = ${id})
  or exists (select from sessions s where s.decision_id = ${id})`

/** Grants under which there is a ticket or a session. */
export const grantOfSessions: Needed = (id: SQL) => sql`
  exists (select from tickets t where t.grant_id = ${id}) or exists (select from sessions s where s.grant_id = ${id})`

export const liveSession: Needed = (id: SQL) =>
  sql`exists (select from sessions s where s.id = ${id} and s.ended_at is null)`

/** Sessions with their connections, leases and ticket, from their end; and tickets that never became a session. */
export function sessionClass(options: { readonly needed: Needed }): LogClass {
  return {
    name: 'sessions',
    expired: async (tx, before_ms, limit) => {
      const before = sql`to_timestamp(${before_ms}::double precision / 1000)`
      const over = await tx.execute<{ id: string }>(sql`
        select s.id from sessions s
        where s.ended_at < ${before} and not (${options.needed(sql`s.id`)})
          and not exists (select from connections c where c.session_id = s.id and c.closed_at is null)
          and not exists (select from leases l where l.session_id = s.id and l.state <> 'reaped')
        order by s.ended_at, s.id limit ${limit} for update of s skip locked`)
      if (over.length > 0) return over.map(row => row.id)
      const unused = await tx.execute<{ id: string }>(sql`
        select t.id from tickets t
        where t.ended_at < ${before} and not exists (select from sessions s where s.ticket_id = t.id)
        order by t.ended_at, t.id limit ${limit} for update of t skip locked`)
      return unused.map(row => row.id)
    },
    remove: async (tx, ids, before_ms) => {
      const these = sql`any(${sql.param([...ids])}::text[])`
      const ofSessions = await tx.execute<{ id: string; ticket_id: string }>(sql`
        select id, ticket_id from sessions where id = ${these}`)
      const tickets = ofSessions.length > 0 ? ofSessions.map(s => s.ticket_id) : ids
      const these_tickets = sql`any(${sql.param([...tickets])}::text[])`
      const events = await tx.execute<{ id: string }>(sql`
        select e.id from audit_inbox e
        where e.session_id = ${these} and e.body is not null
          and split_part(e.type, '.', 1) in ('session', 'connection', 'lease', 'ticket')
          and (split_part(e.type, '.', 2) <> 'refused' or e.at_ms < ${before_ms})
        union select e.id from audit_inbox e
        where e.body is not null and e.body::jsonb ->> 'ticket_id' = ${these_tickets}
          and (e.type = 'ticket.issued' or e.type = 'ticket.refused' and e.at_ms < ${before_ms})`)
      await tx.execute(sql`delete from connections where session_id = ${these}`)
      await tx.execute(sql`delete from leases where session_id = ${these}`)
      await tx.execute(sql`delete from sessions where id = ${these}`)
      await tx.execute(sql`delete from tickets where id = ${these_tickets}`)
      return events.map(event => event.id)
    },
  }
}
