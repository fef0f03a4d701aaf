import { sql } from 'drizzle-orm'
import type { Database, Queryable } from '../../db/database.ts'
import { decisionPlaces } from '../schema.ts'

const placedAtOnce = 5_000

/**
 * Gives decisions that have none their place in the exports. Rows are written by many processes, some of them late, so
 * neither their clock nor their id says what was not there at the last look. INVARIANT: places are taken under the lock
 * of one row, until its transaction ends: whoever sees a place sees all those before it.
 * @returns how many got one.
 */
export async function placeDecisions(database: Database): Promise<number> {
  await database.db.insert(decisionPlaces).values({ id: 1, last: 0 }).onConflictDoNothing()
  return database.db.transaction(async tx => {
    const [row] = await tx.select({ last: decisionPlaces.last }).from(decisionPlaces).for('update')
    const placed = await tx.execute<{ n: string }>(sql`
      with due as (select id, row_number() over (order by at_ms, id) as n from (
        select id, at_ms from decisions where seq is null order by at_ms, id limit ${placedAtOnce}) d),
      done as (update decisions set seq = ${row!.last}::bigint + due.n from due where decisions.id = due.id returning 1)
      select count(*)::text as n from done`)
    const n = Number(placed[0]!.n)
    if (n > 0) await tx.update(decisionPlaces).set({ last: row!.last + n })
    return n
  })
}

/** Decisions that have a place after this one, or none yet. */
export async function behind(db: Queryable, seq: number): Promise<number> {
  const [row] = await db.execute<{ n: string }>(sql`
    select (case when exists (select from decisions where seq > ${seq}::bigint)
        then greatest(0, coalesce((select last from decision_places), 0) - ${seq}::bigint) else 0 end
      + (select count(*) from (select from decisions where seq is null limit 1000000) unplaced))::text as n`)
  return Number(row!.n)
}
