import { type SQL, sql } from 'drizzle-orm'
import type { Database, Queryable } from '../../db/database.ts'
import { isId } from '../../ids.ts'

const digits = '0123456789abcdefghjkmnpqrstvwxyz'
/** Before any session of ours: the day of what names none. It has no partition, and lies with the rest. */
const nobodysDay = '1970-01-01'
/** Days that have their partition before they come: so long the job may fail before rows lie with the rest. */
const daysAhead = 7
/** What a grant and with it a session may last at most (data-schema.ts), and a day for clocks. */
export const longestSession_days = 31

/**
 * The day of an action decision: that on which its session began, which the session's id says. INVARIANT: whichever
 * worker writes it, and whenever, a decision of a session has one day, so that its id is unique where the day is part of
 * the key. What belongs to no session has an id of its own, and the day of its clock.
 */
export function dayOf(session_id: string | null, at_ms: number): string {
  if (session_id === null) return dateOf(at_ms)
  if (!isId('ses', session_id)) return nobodysDay
  let ms = 0
  for (const digit of session_id.slice(4, 14)) ms = ms * 32 + digits.indexOf(digit)
  return dateOf(ms)
}

function dateOf(ms: number): string {
  return ms >= 0 && ms < 4_102_444_800_000 ? new Date(ms).toISOString().slice(0, 10) : nobodysDay
}

/**
 * Makes the partitions of the days to come, and drops those of past days that retention has emptied. Both are functions of
 * the owner, which do nothing else: control may not change tables. @returns how many were made and dropped.
 */
export async function keepDecisionDays(database: Database): Promise<{ made: number; dropped: number }> {
  const [made] = await database.db.execute<{ n: number }>(sql`select decision_days.make(${daysAhead}) as n`)
  const [dropped] = await database.db.execute<{ n: number }>(sql`select decision_days.drop_empty() as n`)
  return { made: made!.n, dropped: dropped!.n }
}

/**
 * The days that a turn of something that is done again and again looks at: those on which a session that lives may have
 * begun, and once in so many turns all, for what comes late. To plan a statement over all partitions takes a processor
 * longer than to run it.
 */
export class RecentDays {
  readonly #every: number
  #turn = 0

  constructor(every: number) {
    this.#every = every
  }

  /** The first day of the next turn; null: all days. */
  next(now_ms = Date.now()): string | null {
    return this.#turn++ % this.#every === 0 ? null : dateOf(now_ms - (longestSession_days + 1) * 86_400_000)
  }
}

/** The days that have a partition, in their order. */
export interface KeptDays {
  readonly days: readonly string[]
}

export async function keptDays(db: Queryable): Promise<KeptDays> {
  // Names are looked at here: an expression over each table of the database costs more than the whole page.
  const rows = await db.execute<{ name: string }>(sql`
    select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'action_decisions'::regclass`)
  const days = rows.flatMap(({ name }) => {
    const [, year, month, day] = /^d(\d{4})(\d\d)(\d\d)$/.exec(name) ?? []
    return year === undefined ? [] : [`${year}-${month}-${day}`]
  })
  return { days: days.sort() }
}

/** Rows that lie with the rest: of no day that has a partition. Written so that no partition is looked at for them. */
export function withoutPartition({ days }: KeptDays): SQL {
  const gaps = days.flatMap((day, i) => {
    const next = days[i + 1]
    if (next === undefined) return [sql`day > ${day}::date`]
    return Date.parse(next) - Date.parse(day) > 86_400_000 ? [sql`(day > ${day}::date and day < ${next}::date)`] : []
  })
  const [first] = days
  return first === undefined ? sql`true` : sql`(${sql.join([sql`day < ${first}::date`, ...gaps], sql` or `)})`
}
