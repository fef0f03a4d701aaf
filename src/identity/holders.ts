import { sql } from 'drizzle-orm'
import type { Queryable } from '../db/database.ts'

/**
 * Who can act as these subjects: they themselves, whoever issued a token of theirs that was good at `since` or later, and
 * so on up the line. Whoever issued a machine's token has seen its text, so what the machine does may be their doing.
 */
export async function holdersOf(
  q: Queryable,
  ids: readonly (string | null)[],
  since: Date,
): Promise<ReadonlySet<string>> {
  const known = ids.filter(id => id !== null)
  const rows = await q.execute<{ id: string }>(sql`
    with recursive held (id) as (
      select unnest(${sql.param(known)}::text[])
      union select t.created_by from api_tokens t join held on t.subject_id = held.id
        where t.expires_at > ${since.toISOString()}::timestamptz
          and (t.revoked_at is null or t.revoked_at > ${since.toISOString()}::timestamptz))
    select id from held`)
  return new Set(rows.map(row => row.id))
}
