import { sql } from 'drizzle-orm'
import type { Tx } from '../db/database.ts'

/**
 * Erases what events said, with the salt that would let a guess be checked. Their leaves stay, so that the log verifies.
 * @returns how many; an event that has no index yet keeps its body.
 */
export async function eraseBodies(tx: Tx, events: readonly string[]): Promise<number> {
  if (events.length === 0) return 0
  const erased = await tx.execute(sql`
    update audit_inbox set body = null, salt = null
    where id = any(${sql.param([...events])}::text[]) and idx is not null and body is not null
    returning id`)
  return erased.length
}
