import { sql } from 'drizzle-orm'
import type { Queryable } from '../db/database.ts'

/**
 * The database's clock in ms. Read it after the locks are taken: a transaction that waited would otherwise judge by the
 * instant at which it began (`now()` stands still within a transaction).
 */
export async function clock(q: Queryable): Promise<number> {
  const [row] = await q.execute<{ ms: string }>(
    sql`select (extract(epoch from clock_timestamp()) * 1000)::bigint::text as ms`,
  )
  return Number(row!.ms)
}
