import { sql } from 'drizzle-orm'
import type { Database } from '../../db/database.ts'
import { isId } from '../../ids.ts'

const digits = '0123456789abcdefghjkmnpqrstvwxyz'
/** Before any session of ours: the day of what names none. It has no partition, and lies with the rest. */
const nobodysDay = '1970-01-01'
/** Days that have their partition before they come: so long the job may fail before rows lie with the rest. */
const daysAhead = 7

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
