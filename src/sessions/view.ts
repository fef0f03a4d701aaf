import { and, count, desc, eq, gte, inArray, isNotNull, isNull, lt } from 'drizzle-orm'
import type { Queryable } from '../db/database.ts'
import { subjects } from '../identity/schema.ts'
import { calledSo } from '../identity/subjects.ts'
import { connections, sessions } from './schema.ts'

/** A session as people see it. */
export interface SessionView {
  readonly id: string
  readonly subject: { readonly id: string; readonly name: string }
  readonly resource: string
  readonly role: string
  readonly protocol: string
  readonly grant_id: string
  readonly decision_id: string
  readonly opened_at_ms: number
  readonly ends_at_ms: number
  readonly ended_at_ms: number | null
  readonly end_code: string | null
  readonly end_reason: string | null
  readonly open_connections: number
}

export interface SessionFilter {
  /** Id, name, e-mail of a subject, or what the identity provider calls them. */
  readonly subject?: string | undefined
  /** Only theirs. */
  readonly subject_id?: string | undefined
  readonly resource?: string | undefined
  readonly state?: 'live' | 'ended' | undefined
  readonly since_ms?: number | undefined
  readonly limit: number
  /** Ids sort by time: the page after this one. */
  readonly before?: string | undefined
}

export async function readSession(q: Queryable, id: string): Promise<SessionView | undefined> {
  return (await rowsAsViews(q, await sessionRows(q).where(eq(sessions.id, id))))[0]
}

/** Newest first. */
export async function listSessions(q: Queryable, filter: SessionFilter): Promise<SessionView[]> {
  const { subject, subject_id, resource, state, since_ms, before } = filter
  const rows = await sessionRows(q)
    .where(
      and(
        subject === undefined ? undefined : calledSo(subject),
        subject_id === undefined ? undefined : eq(sessions.subject_id, subject_id),
        resource === undefined ? undefined : eq(sessions.resource, resource),
        state === undefined ? undefined : state === 'live' ? isNull(sessions.ended_at) : isNotNull(sessions.ended_at),
        since_ms === undefined ? undefined : gte(sessions.opened_at, new Date(since_ms)),
        before === undefined ? undefined : lt(sessions.id, before),
      ),
    )
    .orderBy(desc(sessions.id))
    .limit(filter.limit)
  return rowsAsViews(q, rows)
}

function sessionRows(q: Queryable) {
  return q
    .select({ session: sessions, name: subjects.name })
    .from(sessions)
    .innerJoin(subjects, eq(subjects.id, sessions.subject_id))
}

async function rowsAsViews(q: Queryable, rows: Awaited<ReturnType<typeof sessionRows>>): Promise<SessionView[]> {
  if (rows.length === 0) return []
  const open = await q
    .select({ session_id: connections.session_id, n: count() })
    .from(connections)
    .where(
      and(
        inArray(
          connections.session_id,
          rows.map(row => row.session.id),
        ),
        isNull(connections.closed_at),
      ),
    )
    .groupBy(connections.session_id)
  const openOf = new Map(open.map(row => [row.session_id, row.n]))
  return rows.map(({ session, name }) => ({
    id: session.id,
    subject: { id: session.subject_id, name },
    resource: session.resource,
    role: session.role,
    protocol: session.protocol,
    grant_id: session.grant_id,
    decision_id: session.decision_id,
    opened_at_ms: session.opened_at.getTime(),
    ends_at_ms: session.ends_at.getTime(),
    ended_at_ms: session.ended_at?.getTime() ?? null,
    end_code: session.end_code,
    end_reason: session.end_reason,
    open_connections: openOf.get(session.id) ?? 0,
  }))
}

/** The sessions of each of these grants, oldest first. */
export async function sessionsOfGrants(q: Queryable, grant_ids: readonly string[]): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>()
  if (grant_ids.length === 0) return found
  const rows = await q
    .select({ id: sessions.id, grant_id: sessions.grant_id })
    .from(sessions)
    .where(inArray(sessions.grant_id, [...grant_ids]))
    .orderBy(sessions.id)
    .limit(1000)
  for (const { id, grant_id } of rows) found.set(grant_id, [...(found.get(grant_id) ?? []), id])
  return found
}
