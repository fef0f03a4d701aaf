import { sql } from 'drizzle-orm'
import type { Queryable } from '../db/database.ts'
import { subjects } from './schema.ts'

/** Groups in which somebody is who is known here, by name; at most 500. */
export async function knownGroups(db: Queryable): Promise<string[]> {
  const rows = await db.execute<{ name: string }>(sql`
    select distinct g.name from ${subjects}, jsonb_array_elements_text(${subjects.groups}) as g (name) order by 1 limit 500`)
  return rows.map(row => row.name)
}
