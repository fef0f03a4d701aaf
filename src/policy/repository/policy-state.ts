import { sql } from 'drizzle-orm'
import type { Queryable, Tx } from '../../db/database.ts'
import { policyState } from '../schema.ts'

export type PolicyState = Omit<typeof policyState.$inferSelect, 'id'>

/** Whoever activates or holds it: generations and the state of what is followed change one after the other. */
const activationLock = 7_310_452_881_602n
const rowId = 1
export const noPin = {
  pinned: null,
  pinned_generation: null,
  pinned_kind: null,
  pinned_by: null,
  pinned_at: null,
  pin_reason: null,
} as const

export const noRecovery = {
  recovery_generation: null,
  recovery_by: null,
  recovery_reason: null,
  recovery_ends_at: null,
} as const

const empty: PolicyState = {
  followed: null,
  acknowledged: null,
  ...noPin,
  ...noRecovery,
  looked_at: null,
  looked_by: null,
  head: null,
  problem: null,
  current_at: null,
}

/** Until the end of the transaction nobody else activates, pins or lets go. */
export async function lockActivation(tx: Tx): Promise<void> {
  await tx.execute(sql`select pg_advisory_xact_lock(${activationLock.toString()}::bigint)`)
}

/** What is followed and what holds it. */
export async function readState(db: Queryable): Promise<PolicyState> {
  const [row] = await db.select().from(policyState)
  if (row === undefined) return empty
  const { id: _, ...state } = row
  return state
}

/** The same, and nobody changes it before the end of the transaction. */
export async function lockedState(tx: Tx): Promise<PolicyState> {
  await lockActivation(tx)
  return readState(tx)
}

/** The database's clock. */
export async function instant(tx: Queryable): Promise<Date> {
  const [row] = await tx.execute<{ ms: string }>(
    sql`select (extract(epoch from clock_timestamp()) * 1000)::bigint::text as ms`,
  )
  return new Date(Number(row!.ms))
}

export async function changeState(db: Queryable, change: Partial<PolicyState>): Promise<void> {
  await db
    .insert(policyState)
    .values({ id: rowId, ...change })
    .onConflictDoUpdate({ target: policyState.id, set: change })
}

/** What a look at the repository found, by the database's clock. A failed one leaves when the last good one was. */
export async function recordLook(
  db: Queryable,
  look: { readonly by: string; readonly head: string } | { readonly problem: string } | { readonly current: true },
): Promise<void> {
  const now = sql`clock_timestamp()`
  const change =
    'head' in look
      ? { looked_at: now, looked_by: look.by, head: look.head, problem: null }
      : 'current' in look
        ? { current_at: now }
        : { problem: look.problem }
  await db
    .insert(policyState)
    .values({ id: rowId, ...change })
    .onConflictDoUpdate({ target: policyState.id, set: change })
}

/** Whether a hand holds the policy: the tracked ref is looked at, and not followed. */
export function isHeld(state: PolicyState): boolean {
  return state.pinned !== null || state.recovery_generation !== null
}

/** For how long what is in force has not been what the tracked ref names, or was held by hand; null: nobody ever looked. */
export async function behindFor(db: Queryable): Promise<number | null> {
  const [row] = await db
    .select({
      ms: sql<string | null>`(extract(epoch from clock_timestamp() - ${policyState.current_at}) * 1000)::bigint::text`,
    })
    .from(policyState)
  return row === undefined || row.ms === null ? null : Math.max(0, Number(row.ms))
}
