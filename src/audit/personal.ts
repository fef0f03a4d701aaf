import { sql } from 'drizzle-orm'
import type { Tx } from '../db/database.ts'
import { eraseBodies } from './erase.ts'
import { placeOf } from './store.ts'

/** Whose content is erased, and what stays because a legal hold keeps it. */
export interface Person {
  readonly subject_id: string
  readonly email: string | null
  /** Sessions whose recordings are held: what belongs to them stays until the hold is lifted. */
  readonly held_sessions: readonly string[]
}

/**
 * What a room keeps of a person. Each room erases its own rows, at most `limit` at once, and says how many; a run that finds
 * nothing more is done. Without `erase` the same rows are only counted.
 */
export interface PersonalRows {
  readonly name: string
  find(tx: Tx, who: Person, limit: number): Promise<readonly string[]>
  erase(tx: Tx, who: Person, found: readonly string[]): Promise<void>
}

/** Only what has its index: an event that waits for it keeps its body until the next run. */
const isPlaced = sql.raw(
  `exists (select from audit_places p where p.seq = ${placeOf.replaceAll('i.seq', 'e.seq')} and e.seq < p.seq + p.count and p.idx is not null)`,
)

/** Receipts, and facts that proofs of recordings stand on, say nothing of what a person did: they stay. */
const staying = ['recording', 'recordings', 'hold', 'log', 'proposal', 'retention', 'backup']

/**
 * Bodies of events that tell of the person: those under their id, and those that hold their e-mail address. Leaves stay, so
 * that the log verifies and says how many bodies were erased.
 */
export const personalEvents: PersonalRows = {
  name: 'events',
  find: async (tx, who, limit) => {
    const address = who.email === null ? sql`false` : sql`strpos(e.body, ${who.email}) > 0`
    const held = sql.param([...who.held_sessions])
    const rows = await tx.execute<{ id: string }>(sql`
      select e.id from audit_inbox e
      where e.body is not null and ${isPlaced} and (e.subject_id = ${who.subject_id} or ${address})
        and split_part(e.type, '.', 1) <> all(${sql.param(staying)}::text[])
        and e.type not in ('subject.erased', 'subject.erasure_waits')
        and (e.session_id is null or e.session_id <> all(${held}::text[]))
      limit ${limit}`)
    return rows.map(row => row.id)
  },
  erase: async (tx, _, found) => {
    await eraseBodies(tx, found)
  },
}
