import { inArray } from 'drizzle-orm'
import type { Queryable } from '../db/database.ts'
import { recordings } from './schema.ts'

/** What there is of a session's recording: shown in lists of sessions, also when the recording itself is gone. */
export interface RecordingState {
  readonly state: string
  readonly deleted_at_ms: number | null
  /** Why it went: `policy`, or the erasure that two people decided; null while it is there. */
  readonly deleted_by: string | null
  /** Its keys are destroyed, and the store keeps the sealed data until then. */
  readonly locked_until_ms: number | null
}

export async function recordingStates(
  db: Queryable,
  sessionIds: readonly string[],
): Promise<ReadonlyMap<string, RecordingState>> {
  if (sessionIds.length === 0) return new Map()
  const rows = await db
    .select({
      session_id: recordings.session_id,
      state: recordings.state,
      deleted_at: recordings.deleted_at,
      receipt: recordings.receipt,
    })
    .from(recordings)
    .where(inArray(recordings.session_id, [...sessionIds]))
  return new Map(
    rows.map(({ session_id, state, deleted_at, receipt }) => [
      session_id,
      {
        state,
        deleted_at_ms: deleted_at?.getTime() ?? null,
        deleted_by: receipt === null ? null : (receipt.erasure ?? 'policy'),
        locked_until_ms: receipt?.locked_until_ms ?? null,
      },
    ]),
  )
}
