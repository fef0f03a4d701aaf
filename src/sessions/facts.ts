import { inArray, sql } from 'drizzle-orm'
import type { Database } from '../db/database.ts'
import { sessions } from './schema.ts'

/** Of these sessions the ones that have ended, and when (ms); one that does not exist ended at 0. */
export async function sessionsEnded(database: Database, ids: readonly string[]): Promise<ReadonlyMap<string, number>> {
  if (ids.length === 0) return new Map()
  const rows = await database.db
    .select({ id: sessions.id, ended_at: sessions.ended_at })
    .from(sessions)
    .where(inArray(sessions.id, [...ids]))
  const found = new Map(rows.map(row => [row.id, row.ended_at]))
  const ended = new Map<string, number>()
  for (const id of ids) {
    const at = found.get(id)
    if (at === undefined) ended.set(id, 0)
    else if (at !== null) ended.set(id, at.getTime())
  }
  return ended
}

/** Subjects with something that lives: an open request, a grant, a ticket, a session. Their groups are kept fresh. */
export async function liveSubjects(database: Database): Promise<string[]> {
  const rows = await database.db.execute<{ id: string }>(sql`
    select subject_id as id from requests where state = 'pending'
    union select subject_id from grants where ended_at is null
    union select subject_id from tickets where ended_at is null
    union select subject_id from sessions where ended_at is null`)
  return rows.map(row => row.id)
}
