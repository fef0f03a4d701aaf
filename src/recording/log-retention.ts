import { type SQL, sql } from 'drizzle-orm'
import { eraseBodies } from '../audit/erase.ts'
import type { AuditWriter } from '../audit/events.ts'
import { digest } from '../canonical.ts'
import type { Database, Tx } from '../db/database.ts'
import { logger } from '../log.ts'
import type { Decision } from '../policy/decision.ts'
import type { Engine } from '../policy/engine.ts'
import type { DecisionLog } from '../policy/log/decision-log.ts'
import type { LogClass, Needed } from '../policy/log/log-class.ts'
import { readFloors } from './floors.ts'

const log = logger('recording')
const batch = 500
/** Of one class in one sweep; what is left over goes the next time. */
const maxBatches = 100
const previewRows = 10_000

/** A recording that still plays, or that a legal hold keeps: its session and the decisions in its journal stay with it. */
export const sessionOfRecordings: Needed = (id: SQL) => sql`exists (
  select from recordings r where r.session_id = ${id} and (r.state <> 'deleted'
    or exists (select from legal_holds h where h.recording_id = r.id and h.lifted_at is null)))`

/** Decisions that a recording or the receipt of its deletion names: a receipt can be computed again for ever. */
export const decisionOfRecordings: Needed = (id: SQL) => sql`
  ${id} in (select r.decision_id from recordings r where r.state <> 'deleted'
    union select r.receipt ->> 'decision_id' from recordings r where r.receipt is not null)`

export interface LogRetentionOptions {
  readonly database: Database
  readonly audit: AuditWriter
  readonly engine: Pick<Engine, 'decide'>
  readonly decisions: Pick<DecisionLog, 'insert'>
  /** In the order in which they are swept: what refers to others comes first. */
  readonly classes: readonly LogClass[]
}

/** What would go of a class: at least so many. */
export interface PreviewedLog {
  readonly keep_s: number | null
  readonly floor_s: number
  readonly count: number
  /** There are more than were counted. */
  readonly more: boolean
  readonly first: string | null
  readonly last: string | null
}

export interface SweptLog {
  /** Null where policy gave no usable answer: then everything stays. */
  readonly keep_s: number | null
  readonly deleted: number
}

/**
 * Deletes rows of the log classes on the day that policy names, a bounded number a transaction.
 * INVARIANT: expiry by the database's clock, holds and whatever else needs a row are part of the query that locks it, in the
 * transaction that deletes it and writes the receipt. The leaves of the audit log stay; what they said goes with the rows.
 */
export async function sweepLogs(options: LogRetentionOptions): Promise<Record<string, SweptLog>> {
  const swept: Record<string, SweptLog> = {}
  for (const kind of options.classes) {
    const floors = await readFloors(options.database.db)
    const { decision, keep_s, kept } = asked(options, kind, floors[kind.name])
    const goes = !kept && keep_s !== null
    swept[kind.name] = { keep_s, deleted: goes ? await sweepClass(options, kind, decision, keep_s) : 0 }
  }
  return swept
}

function asked({ engine }: LogRetentionOptions, kind: LogClass, floor_s: number) {
  const { decision } = engine.decide('retention', { class: kind.name, recording: null })
  const asked_s = decision.effect === 'data' ? (decision.result?.keep_s ?? null) : null
  const keep_s = asked_s === null ? null : Math.max(asked_s, floor_s)
  return { decision, keep_s, kept: keep_s === null || decision.result?.legal_hold === true }
}

/** What a sweep at that time would delete, by the very query that it would lock with; the transaction is rolled back. */
export async function previewLogs(options: LogRetentionOptions, at_ms: number): Promise<Record<string, PreviewedLog>> {
  const floors = await readFloors(options.database.db)
  const previews: Record<string, PreviewedLog> = {}
  for (const kind of options.classes) {
    const floor_s = floors[kind.name]
    const { keep_s, kept } = asked(options, kind, floor_s)
    const ids = kept || keep_s === null ? [] : await expiredAt(options.database, kind, at_ms - keep_s * 1000)
    previews[kind.name] = {
      keep_s,
      floor_s,
      count: ids.length,
      more: ids.length === previewRows,
      first: ids[0] ?? null,
      last: ids.at(-1) ?? null,
    }
  }
  return previews
}

async function expiredAt(database: Database, kind: LogClass, before_ms: number): Promise<readonly string[]> {
  let ids: readonly string[] = []
  const undo = new Error('looked only')
  try {
    await database.db.transaction(async tx => {
      ids = await kind.expired(tx, before_ms, previewRows)
      throw undo
    })
  } catch (error) {
    if (error !== undo) throw error
  }
  return ids
}

async function sweepClass(
  options: LogRetentionOptions,
  kind: LogClass,
  decision: Decision<'retention'>,
  keep_s: number,
): Promise<number> {
  let deleted = await sweepWhole(options, kind, decision, keep_s)
  try {
    for (let n = 0; n < maxBatches; n++) {
      const gone = await deleteBatch(options, kind, decision, keep_s, deleted === 0)
      deleted += gone
      if (gone === 0) break
    }
  } catch (error) {
    log.error({ err: error, class: kind.name }, 'rows of this class could not be deleted; the next run tries again')
  }
  return deleted
}

/** Parts of which nothing is needed any more; what cannot be dropped now goes row by row, or the next time. */
async function sweepWhole(
  options: LogRetentionOptions,
  kind: LogClass,
  decision: Decision<'retention'>,
  keep_s: number,
): Promise<number> {
  let deleted = 0
  try {
    for (let after = ''; ; ) {
      const gone = await options.database.db.transaction(async tx => {
        const before_ms = await expiredBefore(tx, kind, keep_s)
        const part = await kind.whole?.(tx, before_ms, after)
        if (part === undefined) return undefined
        if (deleted === 0) await options.decisions.insert(tx, decision)
        const { name, drop, ...what } = part
        await receipt(options, tx, { kind, decision, keep_s, before_ms, bodies_erased: 0, ...what })
        await drop()
        return { name, count: part.count }
      })
      if (gone === undefined) return deleted
      deleted += gone.count
      after = gone.name
    }
  } catch (error) {
    log.warn({ err: error, class: kind.name }, 'no part of this class could be dropped whole; its rows go one by one')
    return deleted
  }
}

/** A floor that was raised meanwhile counts. */
async function expiredBefore(tx: Tx, kind: LogClass, keep_s: number): Promise<number> {
  const floors = await readFloors(tx, true)
  const [clock] = await tx.execute<{ ms: string }>(
    sql`select (extract(epoch from clock_timestamp()) * 1000)::bigint::text as ms`,
  )
  return Number(clock!.ms) - Math.max(keep_s, floors[kind.name]) * 1000
}

interface Gone {
  readonly kind: LogClass
  readonly decision: Decision<'retention'>
  readonly keep_s: number
  readonly before_ms: number
  readonly count: number
  readonly first: string
  readonly last: string
  /** Whoever kept one of these ids can show that it went here, and not otherwise. */
  readonly ids_digest: string
  readonly bodies_erased: number
}

async function receipt(
  { audit }: LogRetentionOptions,
  tx: Tx,
  { kind, decision, before_ms, ...gone }: Gone,
): Promise<void> {
  const { generation, commit, id } = decision
  const body = { class: kind.name, before_at_ms: before_ms, generation, commit, decision: id, ...gone }
  await audit.record(tx, { type: 'log.erased', body })
}

function deleteBatch(
  options: LogRetentionOptions,
  kind: LogClass,
  decision: Decision<'retention'>,
  keep_s: number,
  first: boolean,
): Promise<number> {
  return options.database.db.transaction(async tx => {
    const before_ms = await expiredBefore(tx, kind, keep_s)
    const ids = await kind.expired(tx, before_ms, batch)
    if (ids.length === 0) return 0
    if (first) await options.decisions.insert(tx, decision)
    const bodies_erased = await eraseBodies(tx, await kind.remove(tx, ids, before_ms))
    const [one, last, ids_digest] = [ids[0]!, ids.at(-1)!, digest(ids.join('\n'))]
    await receipt(options, tx, {
      kind,
      decision,
      keep_s,
      before_ms,
      count: ids.length,
      first: one,
      last,
      ids_digest,
      bodies_erased,
    })
    return ids.length
  })
}
