import { and, eq, inArray, type SQL, sql } from 'drizzle-orm'
import type { Queryable } from '../../db/database.ts'
import { actionDecisions, type decisions } from '../schema.ts'
import { dayOf, type KeptDays, keptDays, longestSession_days, withoutPartition } from './decision-days.ts'
import {
  type Asked,
  columnsOf,
  compare,
  conditionsOf,
  type DecisionPlace,
  orderOf,
  type Resolved,
  type StoredDecision,
} from './decision-filter.ts'

const day_ms = 86_400_000
const longest_ms = (longestSession_days + 1) * day_ms
/** Days that are looked at together: the first ones often hold a page. */
const chunks = [1, 3]
const chunk = 12

/**
 * A page of the decisions on actions, some days at a time until it is full: a statement over all partitions costs more to
 * plan than to run, and a planner that errs about a word errs about a few days. INVARIANT: a session lasts no longer than
 * `longestSession_days`, so what else may belong on the page lies in the days next to those that were read.
 * @param bound what is beyond this place is on no page that is asked for.
 */
export async function actionPage(db: Queryable, asked: Asked, bound?: DecisionPlace): Promise<StoredDecision[]> {
  const { order, limit, filter } = asked
  const conditions = conditionsOf(actionDecisions, asked)
  const beyond = order === 'newest' ? sql.raw('>=') : sql.raw('<=')
  const upTo = ({ at_ms }: DecisionPlace) => sql`${actionDecisions.at_ms} ${beyond} ${at_ms}::bigint`
  if (bound !== undefined) conditions.push(upTo(bound))
  if (filter.session_id !== undefined)
    return read(db, asked, sql`${actionDecisions.day} = ${dayOf(filter.session_id, 0)}::date`, conditions)
  const kept = await keptDays(db)
  const days = daysOf(kept, asked, bound)
  let found: StoredDecision[] = []
  for (let at = 0, n = 0; n === 0 || at < days.length; n++) {
    const some = days.slice(at, at + (chunks[n] ?? chunk))
    at += some.length
    asked.goOn?.()
    if (n === 0) found = await read(db, asked, withoutPartition(kept), conditions)
    found = first(asked, found, await readDays(db, asked, some, conditions))
    const last = found[limit - 1]
    if (last === undefined || at >= days.length) continue
    if (order === 'newest') {
      // Sessions of days before may have gone on until now.
      const before = days.slice(at).filter(day => Date.parse(day) >= last.at_ms - longest_ms)
      return first(asked, found, await readDays(db, asked, before, [...conditions, upTo(last)]))
    }
    if (Date.parse(days[at]!) - day_ms > last.at_ms) break // a decision is no older than its session, but for clocks
  }
  return found
}

/** Its id does not say its day: the newest days are looked at first, then more and more of those before at once. */
export async function actionDecision(db: Queryable, id: string): Promise<StoredDecision | undefined> {
  const kept = await keptDays(db)
  const days = [...kept.days].reverse()
  const look = async (part: SQL | undefined) =>
    (
      await db
        .select(columnsOf(actionDecisions))
        .from(actionDecisions as unknown as typeof decisions)
        .where(and(part, eq(actionDecisions.id, id)))
    )[0]
  // Tomorrow's are there already, and empty.
  for (let at = 0, some = 10; at < days.length; at += some, some *= 3) {
    const row = await look(within(days.slice(at, at + some)))
    if (row !== undefined) return row
  }
  return look(withoutPartition(kept))
}

/** @returns undefined for none. Days between them that have no partition lie with the rest, and are not meant. */
function within(days: readonly string[]): SQL | undefined {
  return days.length === 0 ? undefined : inArray(actionDecisions.day, [...days])
}

function first({ order, limit }: Asked, ...found: readonly StoredDecision[][]): StoredDecision[] {
  return found.flat().sort(compare(order)).slice(0, limit)
}

/** The days that may hold something of a page, in its order. */
function daysOf({ days }: KeptDays, { order, filter, after }: Asked, bound?: DecisionPlace): string[] {
  const older = [filter.to_ms, order === 'newest' ? after?.at_ms : bound?.at_ms]
  const newer = [filter.from_ms, order === 'newest' ? bound?.at_ms : after?.at_ms]
  const to_ms = Math.min(...older.filter(ms => ms !== undefined))
  const from_ms = Math.max(...newer.filter(ms => ms !== undefined))
  const fit = days.filter(day => Date.parse(day) <= to_ms + day_ms && Date.parse(day) >= from_ms - longest_ms)
  return order === 'newest' ? fit.reverse() : fit
}

/**
 * What these days have first. Where more is asked for than times, each day is planned by itself: a plan for days that hold
 * it often, which reads until enough are found, would read to their end those that hold it not at all.
 */
async function readDays(
  db: Queryable,
  asked: Asked,
  days: readonly string[],
  conditions: readonly SQL[],
): Promise<StoredDecision[]> {
  const { filter, order, limit } = asked
  if (days.length < 2 || !isPicky(filter)) return read(db, asked, within(days), conditions)
  const all = and(sql`true`, ...conditions)
  const by = sql.join(orderOf(actionDecisions, order), sql`, `)
  const parts = days.map(
    day =>
      sql`(select id, day, at_ms from action_decisions where day = ${day}::date and ${all} order by ${by} limit ${limit})`,
  )
  const rows = await db.execute<{ id: string; day: string }>(
    sql`select id, day::text as day from (${sql.join(parts, sql` union all `)}) action_decisions order by ${by} limit ${limit}`,
  )
  return readIds(db, asked, rows)
}

/** Rows that were found. Neither ordered nor limited there: a planner that hopes to be done early would read whole days. */
async function readIds(
  db: Queryable,
  asked: Asked,
  found: readonly { readonly id: string; readonly day: string }[],
): Promise<StoredDecision[]> {
  const part = within([...new Set(found.map(row => row.day))])
  if (part === undefined) return []
  const ids = sql.param(found.map(row => row.id))
  const rows = await db
    .select(columnsOf(actionDecisions))
    .from(actionDecisions as unknown as typeof decisions)
    .where(and(part, sql`${actionDecisions.id} = any(${ids}::text[])`))
  return first(asked, rows)
}

function isPicky({ from_ms: _, to_ms: __, point: ___, ...rest }: Resolved): boolean {
  return Object.values(rest).some(value => value !== undefined)
}

async function read(
  db: Queryable,
  { order, limit }: Asked,
  part: SQL | undefined,
  conditions: readonly SQL[],
): Promise<StoredDecision[]> {
  if (part === undefined) return []
  return db
    .select(columnsOf(actionDecisions))
    .from(actionDecisions as unknown as typeof decisions)
    .where(and(part, ...conditions))
    .orderBy(...orderOf(actionDecisions, order))
    .limit(limit)
}
