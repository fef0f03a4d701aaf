import { asc, gt, sql } from 'drizzle-orm'
import { unionAll } from 'drizzle-orm/pg-core'
import type { Database, Queryable } from '../../../db/database.ts'
import { actionDecisions, decisionPlaces, decisions } from '../../schema.ts'
import { columnsOf, type StoredDecision, type Table } from '../decision-filter.ts'

const placedAtOnce = 5_000

/**
 * Gives decisions that have none their place in the exports. Rows are written by many processes, some of them late, so
 * neither their clock nor their id says what was not there at the last look. INVARIANT: places are taken under the lock
 * of one row, until its transaction ends: whoever sees a place sees all those before it.
 * @param from the first day of decisions on actions that is looked at.
 * @returns how many got one.
 */
export async function placeDecisions(database: Database, from: string | null = null): Promise<number> {
  await database.db.insert(decisionPlaces).values({ id: 1, last: 0 }).onConflictDoNothing()
  return database.db.transaction(async tx => {
    const [row] = await tx.select({ last: decisionPlaces.last }).from(decisionPlaces).for('update')
    const days = from === null ? sql`true` : sql`d.day >= ${from}::date`
    const placed = await tx.execute<{ n: string }>(sql`
      with due as (select id, day, row_number() over (order by at_ms, id) as n from (
        (select id, at_ms, null::date as day from decisions where seq is null order by at_ms, id limit ${placedAtOnce})
        union all
        (select id, at_ms, day from action_decisions d where seq is null and ${days} order by at_ms, id limit ${placedAtOnce})
        order by at_ms, id limit ${placedAtOnce}) d),
      others as (update decisions d set seq = ${row!.last}::bigint + due.n from due
        where due.day is null and d.id = due.id returning 1),
      actions as (update action_decisions d set seq = ${row!.last}::bigint + due.n from due
        where d.day = due.day and d.id = due.id and ${days} returning 1)
      select ((select count(*) from others) + (select count(*) from actions))::text as n`)
    const n = Number(placed[0]!.n)
    if (n > 0) await tx.update(decisionPlaces).set({ last: row!.last + n })
    return n
  })
}

/** Decisions that an export which is at this place has not delivered, and how long ago the first of them was decided. */
export async function behind(db: Queryable, seq: number): Promise<{ count: number; lag_s: number }> {
  const count = Math.max(0, (await lastPlace(db)) - seq)
  if (count === 0) return { count, lag_s: 0 }
  const [row] = await db.execute<{ lag_s: string | null }>(sql`
    select greatest(0, extract(epoch from clock_timestamp()) - min(at_ms) / 1000.0)::text as lag_s from (
      (select at_ms from decisions where seq = ${seq + 1}::bigint)
      union all (select at_ms from action_decisions where seq = ${seq + 1}::bigint)) due`)
  return { count, lag_s: Math.round(Number(row?.lag_s ?? 0)) }
}

/** The place before the first that is left: what was deleted before nobody waits for. */
export async function firstPlace(db: Queryable): Promise<number> {
  const [row] = await db.execute<{ seq: string | null }>(sql`
    select (least((select min(seq) from decisions), (select min(seq) from action_decisions)) - 1)::text as seq`)
  return row?.seq == null ? await lastPlace(db) : Number(row.seq)
}

/** The last place that was given. */
export async function lastPlace(db: Queryable): Promise<number> {
  return (await db.select({ last: decisionPlaces.last }).from(decisionPlaces))[0]?.last ?? 0
}

/** In one look at both tables: two would see places between which others were given. */
export async function placedAfter(
  db: Queryable,
  seq: number,
  limit: number,
): Promise<(StoredDecision & { seq: number })[]> {
  const some = (table: Table) =>
    db
      .select({ ...columnsOf(table), seq: sql<number>`${table.seq}`.mapWith(Number).as('seq') })
      .from(table as typeof decisions)
      .where(gt(table.seq, seq))
      .orderBy(asc(table.seq))
      .limit(limit)
  return unionAll(some(decisions), some(actionDecisions)).orderBy(sql`seq`).limit(limit)
}
