import { and, desc, eq, gte, lt, lte, sql } from 'drizzle-orm'
import { auditInbox } from '../audit/schema.ts'
import type { Queryable } from '../db/database.ts'
import type { RecordingRow } from './reader.ts'
import { recordings } from './schema.ts'

export interface RecordingFilter {
  readonly subject_id?: string | undefined
  readonly resource?: string | undefined
  readonly state?: RecordingRow['state'] | undefined
  readonly from_ms?: number | undefined
  readonly to_ms?: number | undefined
  /** Recordings older than this one. */
  readonly before?: string | undefined
  readonly limit?: number | undefined
}

export interface ListedRecording {
  readonly recording: RecordingRow
  readonly holds: number
}

/** Recordings, newest first: facts only, nothing of what was recorded. */
export async function listRecordings(db: Queryable, filter: RecordingFilter): Promise<ListedRecording[]> {
  const { subject_id, resource, state, from_ms, to_ms, before, limit = 100 } = filter
  return db
    .select({ recording: recordings, holds: openHolds })
    .from(recordings)
    .where(
      and(
        subject_id === undefined ? undefined : eq(recordings.subject_id, subject_id),
        resource === undefined ? undefined : eq(recordings.resource, resource),
        state === undefined ? undefined : eq(recordings.state, state),
        from_ms === undefined ? undefined : gte(recordings.started_at, new Date(from_ms)),
        to_ms === undefined ? undefined : lte(recordings.started_at, new Date(to_ms)),
        before === undefined ? undefined : lt(recordings.id, before),
      ),
    )
    .orderBy(desc(recordings.id))
    .limit(Math.min(limit, 1000))
}

export async function findRecording(db: Queryable, sessionId: string): Promise<ListedRecording | undefined> {
  const [row] = await db
    .select({ recording: recordings, holds: openHolds })
    .from(recordings)
    .where(eq(recordings.session_id, sessionId))
  return row
}

/** Whether the audit log has the event of this very seal; a seal that was written over has none. */
export async function sealIsInLog(db: Queryable, row: RecordingRow): Promise<boolean> {
  if (row.seal_hash === null) return false
  const [found] = await db
    .select({ id: auditInbox.id })
    .from(auditInbox)
    .where(
      and(
        eq(auditInbox.session_id, row.session_id),
        sql`${auditInbox.type} in ('recording.sealed', 'recording.interrupted')`,
        sql`(${auditInbox.body})::jsonb ->> 'seal_hash' = ${row.seal_hash}`,
      ),
    )
    .limit(1)
  return found !== undefined
}

const openHolds = sql<number>`(select count(*)::int from legal_holds h where h.recording_id = recordings.id and h.lifted_at is null)`
