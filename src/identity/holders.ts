import { sql } from 'drizzle-orm'
import type { Queryable } from '../db/database.ts'

/**
 * Who can act as these subjects: they themselves, whoever issued a token of theirs that was good at `since` or later, and
 * so on up the line. Whoever issued a machine's token has seen its text, so what the machine does may be their doing. Accounts of
 * one address are one person: this takes something from people and gives nothing, so nobody has to prove the address.
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
      union select behind.id from held cross join lateral (
        select t.created_by from api_tokens t
          where t.subject_id = held.id and t.expires_at > ${since.toISOString()}::timestamptz
            and (t.revoked_at is null or t.revoked_at > ${since.toISOString()}::timestamptz)
        union all select other.id from subjects one join subjects other on lower(other.email) = lower(one.email)
          where one.id = held.id and one.kind = 'person' and other.kind = 'person'
      ) behind (id))
    select id from held`)
  return new Set(rows.map(row => row.id))
}
