import { and, eq, sql } from 'drizzle-orm'
import type { AuditWriter } from '../audit/events.ts'
import type { Database } from '../db/database.ts'
import { logger } from '../log.ts'
import type { Engine } from '../policy/engine.ts'
import type { DecisionLog } from '../policy/log/decision-log.ts'
import { readFloors } from './floors.ts'
import { askRetention, keptUntil } from './retention.ts'
import { recordings } from './schema.ts'
import type { KeepingStore } from './store.ts'

const log = logger('recording')
const batch = 50
const again_ms = 300_000

export interface LocksOptions {
  readonly database: Database
  readonly audit: AuditWriter
  readonly store: KeepingStore
  readonly engine: Pick<Engine, 'decide'>
  readonly decisions: Pick<DecisionLog, 'insert'>
}

/**
 * Has the store keep by itself what policy and holds keep: a lock in compliance mode from the seal to the day of deletion,
 * and the flag of a legal hold as long as one stands. The rows say what the store was told; whatever differs is told again.
 */
export class Locks {
  readonly #options: LocksOptions
  readonly #failed = new Map<string, number>()
  #reason = ''

  constructor(options: LocksOptions) {
    this.#options = options
  }

  /** What some recordings cannot be locked for; null while all are. */
  get problem(): string | null {
    return this.#failed.size === 0 ? null : `${this.#failed.size} recordings: ${this.#reason}`
  }

  /** @returns how many recordings the store was told of. */
  async applyDue(): Promise<number> {
    if (!this.#options.store.locks) return 0
    let told = 0
    for (const id of await this.#due()) {
      if ((this.#failed.get(id) ?? 0) > Date.now()) continue
      try {
        if (await this.#apply(id)) told++
        this.#failed.delete(id)
      } catch (error) {
        this.#failed.set(id, Date.now() + again_ms)
        log.error(
          { err: error, recording: id },
          'the store was not told how long to keep a recording; it is told again',
        )
        this.#reason = (error as Error).message
      }
    }
    return told
  }

  async #due(): Promise<string[]> {
    const rows = await this.#options.database.sql<{ id: string }[]>`
      (select r.id from recordings r
        where r.state in ('sealed', 'interrupted') and r.kept_seal is distinct from r.seal_hash order by r.id limit ${batch})
      union (select r.id from recordings r join legal_holds h on h.recording_id = r.id
        where h.lifted_at is null and not r.kept_hold and r.state <> 'deleted' limit ${batch})
      union (select r.id from recordings r
        where r.kept_hold and not exists (select from legal_holds h where h.recording_id = r.id and h.lifted_at is null) limit ${batch})`
    return rows.map(row => row.id)
  }

  async #apply(id: string): Promise<boolean> {
    const { database, store, engine, decisions, audit } = this.#options
    const [found] = await database.db
      .select({
        recording: recordings,
        held: sql<boolean>`exists (select from legal_holds h where h.recording_id = recordings.id and h.lifted_at is null)`,
      })
      .from(recordings)
      .where(eq(recordings.id, id))
    if (found === undefined) return false
    const { recording, held } = found
    const sealed = recording.state === 'sealed' || recording.state === 'interrupted'
    const decision = sealed ? askRetention(engine, recording) : undefined
    const floor_s = (await readFloors(database.db)).recording
    const wanted_ms = decision === undefined ? null : keptUntil(recording, decision, floor_s)
    const until_ms = await store.keep(id, { until_ms: wanted_ms, hold: held })
    return database.db.transaction(async tx => {
      const told = {
        kept_hold: held,
        ...(sealed ? { kept_seal: recording.seal_hash } : {}),
        ...(until_ms === null ? {} : { kept_until_ms: until_ms }),
      }
      const [row] = await tx
        .update(recordings)
        .set(told)
        .where(and(eq(recordings.id, id), sql`${recordings.seal_hash} is not distinct from ${recording.seal_hash}`))
        .returning({ id: recordings.id })
      if (row === undefined) return false
      if (decision !== undefined && decision.effect === 'data') await decisions.insert(tx, decision)
      await audit.record(tx, {
        type: 'recording.locked',
        body: {
          recording: id,
          until_ms,
          ...longer(until_ms, wanted_ms),
          hold: held,
          was_held: recording.kept_hold,
          seal_hash: recording.seal_hash,
          decision: decision?.id,
          floor_s,
        },
        subject_id: recording.subject_id,
        session_id: recording.session_id,
        resource: recording.resource,
      })
      return true
    })
  }
}

/** A lock in compliance mode cannot be shortened: where policy now keeps for less, the log says so. */
function longer(until_ms: number | null, wanted_ms: number | null): { policy_until_ms?: number } {
  return until_ms !== null && wanted_ms !== null && until_ms > wanted_ms + 1000 ? { policy_until_ms: wanted_ms } : {}
}
