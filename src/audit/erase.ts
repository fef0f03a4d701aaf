import { sql } from 'drizzle-orm'
import type { Tx } from '../db/database.ts'
import { placeOf } from './store.ts'

/**
 * Erases what events said, with the salt that would let a guess be checked. Their leaves stay, so that the log verifies.
 * @returns how many; an event that has no index yet keeps its body.
 */
export async function eraseBodies(tx: Tx, events: readonly string[]): Promise<number> {
  if (events.length === 0) return 0
  const erased = await tx.execute(sql`
    update audit_inbox i set body = null, salt = null
    where i.id = any(${sql.param([...events])}::text[]) and i.body is not null
      and exists (select from audit_places p where p.seq = ${sql.raw(placeOf)} and i.seq < p.seq + p.count and p.idx is not null)
    returning i.id`)
  return erased.length
}
