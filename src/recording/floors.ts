import { sql } from 'drizzle-orm'
import type { AuditWriter } from '../audit/events.ts'
import type { Database, Queryable, Tx } from '../db/database.ts'
import { logFloor_s } from '../db/grants.ts'
import { SallyportError } from '../errors.ts'
import { retentionFloors } from './schema.ts'

/** What the `retention` point is asked of by class. */
export const floorClasses = ['recording', 'sessions', 'requests', 'decisions'] as const
export type FloorClass = (typeof floorClasses)[number]
export type Floors = Readonly<Record<FloorClass, number>>

/** Where nobody said otherwise: a slip of a unit must not cost the evidence. */
export const firstFloor_s = 86_400
/** Nobody goes below this, not even two. */
const lowest: Floors = { recording: 0, sessions: logFloor_s, requests: logFloor_s, decisions: logFloor_s }

/** The floors in force. With `lock` they stay as they are until the transaction ends. */
export async function readFloors(db: Queryable, lock = false): Promise<Floors> {
  const rows = lock ? await db.select().from(retentionFloors).for('share') : await db.select().from(retentionFloors)
  const set = new Map(rows.map(row => [row.class, row.keep_s]))
  return Object.fromEntries(
    floorClasses.map(name => [name, Math.max(set.get(name) ?? firstFloor_s, lowest[name])]),
  ) as unknown as Floors
}

export interface FloorChange {
  readonly class: FloorClass
  readonly keep_s: number
}

/** @throws SallyportError `bad_request` for a floor that not even two people may set. */
export function checkFloor({ class: name, keep_s }: FloorChange): void {
  if (keep_s >= lowest[name]) return
  throw new SallyportError('bad_request', `${name} are kept for ${lowest[name] / 3600} h at least, whoever asks`, {
    remedy: `write --keep ${lowest[name] / 86_400}d or longer`,
  })
}

/** Sets a floor in the caller's transaction, with its event. INVARIANT: who calls this to lower one has two people. */
export async function setFloor(
  tx: Tx,
  audit: AuditWriter,
  change: FloorChange & {
    readonly by: string
    readonly confirmed_by?: string | undefined
    readonly reason: string
    readonly decision_id: string
  },
): Promise<void> {
  checkFloor(change)
  const { by, confirmed_by, reason, decision_id } = change
  const before = (await readFloors(tx, true))[change.class]
  const row = { class: change.class, keep_s: change.keep_s, set_by: by }
  await tx
    .insert(retentionFloors)
    .values(row)
    .onConflictDoUpdate({
      target: retentionFloors.class,
      set: { keep_s: row.keep_s, set_by: row.set_by, set_at: sql`clock_timestamp()` },
    })
  await audit.record(tx, {
    type: 'retention.floor_changed',
    body: {
      class: change.class,
      before_s: before,
      keep_s: change.keep_s,
      by,
      confirmed_by,
      reason,
      decision: decision_id,
    },
    subject_id: by,
  })
}

/** One person may raise a floor. @returns false where this would lower it: that takes a proposal. */
export function raiseFloor(
  options: { readonly database: Database; readonly audit: AuditWriter } & FloorChange & {
      readonly by: string
      readonly reason: string
      readonly decision_id: string
    },
): Promise<boolean> {
  const { database, audit, ...change } = options
  checkFloor(change)
  return database.db.transaction(async tx => {
    // An advisory lock, for there may be no row yet: two who change a floor at once follow one another.
    await tx.execute(sql`select pg_advisory_xact_lock(hashtext('retention floor'))`)
    if (change.keep_s < (await readFloors(tx))[change.class]) return false
    await setFloor(tx, audit, change)
    return true
  })
}
