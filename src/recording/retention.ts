import { and, asc, gt, inArray, isNotNull, sql } from 'drizzle-orm'
import type { AuditWriter } from '../audit/events.ts'
import type { Database, Tx } from '../db/database.ts'
import { logger } from '../log.ts'
import type { Decision } from '../policy/decision.ts'
import type { Engine } from '../policy/engine.ts'
import type { DecisionLog } from '../policy/log/decision-log.ts'
import type { LogClass } from '../policy/log/log-class.ts'
import { nowMs } from './catalog.ts'
import { Deletion, type DeletionOptions } from './deletion.ts'
import { recordingFacts } from './facts.ts'
import { type Floors, readFloors } from './floors.ts'
import { type PreviewedLog, previewLogs, type SweptLog, sweepLogs } from './log-retention.ts'
import type { RecordingRow } from './reader.ts'
import { recordings } from './schema.ts'
import type { KeepingStore } from './store.ts'

const log = logger('recording')
const batch = 100

export interface RetentionOptions extends DeletionOptions {
  readonly database: Database
  readonly audit: AuditWriter
  readonly store: KeepingStore
  readonly engine: Pick<Engine, 'decide'>
  readonly decisions: Pick<DecisionLog, 'insert'>
  /** Logs that go by policy too. */
  readonly logs?: readonly LogClass[]
}

interface Kept {
  readonly live: number
  readonly held: number
  readonly young: number
  readonly undecided: number
}

export interface Swept {
  readonly asked: number
  readonly deleted: readonly string[]
  /** Keys destroyed, and the store does not let go of the data before its lock passes. */
  readonly waiting: readonly string[]
  /** Deletions that could not be finished; the next run goes on with them. */
  readonly failed: readonly string[]
  readonly kept: Kept
  readonly logs: Readonly<Record<string, SweptLog>>
}

/** What a run would delete: nothing of it is done. */
export interface Preview {
  readonly at_ms: number
  readonly floors: Floors
  readonly recordings: readonly Expiring[]
  /** There are more than are listed. */
  readonly more: boolean
  readonly kept: Kept
  readonly logs: Readonly<Record<string, PreviewedLog>>
}

export interface Expiring {
  readonly recording_id: string
  readonly session_id: string
  readonly subject_id: string
  readonly subject_name: string
  readonly resource: string
  readonly bytes: number
  readonly sealed_at_ms: number
  readonly expires_at_ms: number
  readonly keep_s: number
  /** Until when the store keeps the data all the same. */
  readonly locked_until_ms: number | null
}

type Verdict =
  | { readonly delete: true; readonly keep_s: number }
  | { readonly delete: false; readonly why: 'held' | 'undecided' }
  | { readonly delete: false; readonly why: 'young'; readonly until_ms: number }

/**
 * Deletes recordings on the day that policy names.
 *
 * INVARIANT: a point that gives no usable answer keeps, and no answer goes below the floor. Hold, floor and expiry are
 * looked at again under the recording's lock, in the transaction that destroys the keys.
 */
export class Retention {
  readonly #options: RetentionOptions
  readonly #deletion: Deletion

  constructor(options: RetentionOptions) {
    this.#options = options
    this.#deletion = new Deletion(options)
  }

  async sweep(): Promise<Swept> {
    const { deleted, waiting, failed } = await this.finishStarted()
    const kept = { live: await this.#live(), held: 0, young: 0, undecided: 0 }
    let asked = 0
    for await (const { recording, now, held } of this.#sealed()) {
      asked++
      const decision = this.#ask(recording)
      const floors = await readFloors(this.#options.database.db)
      const verdict = judge(recording, decision, floors.recording, now, held)
      if (!verdict.delete) {
        kept[verdict.why]++
        if (verdict.why === 'young') await this.#lockForLonger(recording, verdict.until_ms)
        continue
      }
      let outcome: 'kept' | 'gone' | 'waits' = 'kept'
      const tried = await this.#tried(recording.id, async () => {
        outcome = await this.#delete(recording.id, decision)
      })
      if (!tried) failed.push(recording.id)
      else if ((outcome as string) === 'gone') deleted.push(recording.id)
      else if ((outcome as string) === 'waits') waiting.push(recording.id)
      else kept.held++
    }
    return { asked, deleted, waiting, failed, kept, logs: await this.#logs() }
  }

  /** Goes on with deletions that were killed, failed, or waited for a lock of the store. */
  async finishStarted(): Promise<{ deleted: string[]; waiting: string[]; failed: string[] }> {
    const [deleted, waiting, failed]: [string[], string[], string[]] = [[], [], []]
    for (const id of await this.#deletion.started()) {
      let done = false
      const tried = await this.#tried(id, async () => {
        done = await this.#deletion.finish(id)
      })
      if (!tried) failed.push(id)
      else if (done) deleted.push(id)
      else waiting.push(id)
    }
    return { deleted, waiting, failed }
  }

  /** What `sweep` would delete at a time, now where none is named, as policy and holds are now. It deletes nothing. */
  async preview(options: { readonly at_ms?: number | undefined; readonly limit?: number } = {}): Promise<Preview> {
    const { database, logs = [] } = this.#options
    const { at_ms, limit = 1000 } = options
    const floors = await readFloors(database.db)
    const kept = { live: await this.#live(), held: 0, young: 0, undecided: 0 }
    const going: Expiring[] = []
    let more = false
    let then = at_ms
    for await (const { recording, now, held } of this.#sealed()) {
      then ??= now
      const verdict = judge(recording, this.#ask(recording), floors.recording, then, held)
      if (!verdict.delete) kept[verdict.why]++
      else if (going.length < limit) going.push(expiring(recording, verdict.keep_s))
      else more = true
    }
    const at = then ?? Date.now()
    return {
      at_ms: at,
      floors,
      recordings: going,
      more,
      kept,
      logs: await previewLogs({ ...this.#options, classes: logs }, at),
    }
  }

  #ask(recording: RecordingRow): Decision<'retention'> {
    return askRetention(this.#options.engine, recording)
  }

  /** Recordings that could go, oldest first, a bounded number at once. */
  async *#sealed(): AsyncGenerator<{ recording: RecordingRow; now: number; held: boolean }> {
    for (let after = ''; ; ) {
      const rows = await this.#options.database.db
        .select({ recording: recordings, now: nowMs, held: isHeld })
        .from(recordings)
        .where(
          and(
            inArray(recordings.state, ['sealed', 'interrupted']),
            isNotNull(recordings.sealed_at),
            gt(recordings.id, after),
          ),
        )
        .orderBy(asc(recordings.id))
        .limit(batch)
      for (const row of rows) yield { ...row, now: Number(row.now) }
      if (rows.length < batch) return
      after = rows.at(-1)!.recording.id
    }
  }

  async #live(): Promise<number> {
    const [live] = await this.#options.database.sql<
      { n: number }[]
    >`select count(*)::int as n from recordings where state = 'open'`
    return live?.n ?? 0
  }

  /** After the recordings, which keep what their journals refer to. */
  #logs(): Promise<Record<string, SweptLog>> {
    return sweepLogs({ ...this.#options, classes: this.#options.logs ?? [] })
  }

  /** @returns `kept` when a hold, a floor, a new seal or another process came first. */
  async #delete(id: string, decision: Decision<'retention'>): Promise<'kept' | 'gone' | 'waits'> {
    const gone = await this.#options.database.db.transaction(tx => this.#destroyKeys(tx, id, decision))
    if (!gone) return 'kept'
    return (await this.#deletion.finish(id)) ? 'gone' : 'waits'
  }

  async #destroyKeys(tx: Tx, id: string, decision: Decision<'retention'>): Promise<boolean> {
    const locked = await this.#deletion.lock(tx, id)
    if (locked === undefined) return false
    const floor_s = (await readFloors(tx, true)).recording
    const verdict = judge(locked.recording, decision, floor_s, locked.now_ms, locked.held)
    if (!verdict.delete) return false
    const receipt = await this.#deletion.destroyKeys(tx, locked, {
      generation: decision.generation,
      commit: decision.commit,
      digest: decision.digest,
      decision_id: decision.id,
      keep_s: verdict.keep_s,
      floor_s,
      rules: decision.reasons.map(reason => reason.rule),
    })
    if (receipt === undefined) return false
    await this.#options.decisions.insert(tx, decision)
    return true
  }

  /** Policy keeps it for longer than the store was told: `Locks` tells it again. */
  async #lockForLonger({ id, kept_until_ms, kept_seal, seal_hash }: RecordingRow, until_ms: number): Promise<void> {
    if (!this.#options.store.locks || kept_seal !== seal_hash || until_ms <= (kept_until_ms ?? 0) + 1000) return
    await this.#options.database.sql`update recordings set kept_seal = null where id = ${id}`
  }

  /** One recording that cannot be deleted does not keep the others. */
  async #tried(id: string, run: () => Promise<void>): Promise<boolean> {
    try {
      await run()
      return true
    } catch (error) {
      log.error({ err: error, recording: id }, 'a deletion did not finish; the next run goes on with it')
      return false
    }
  }
}

/** Asks policy how long a recording is kept. */
export function askRetention(engine: Pick<Engine, 'decide'>, recording: RecordingRow): Decision<'retention'> {
  const input = { class: 'recording', recording: recordingFacts(recording) }
  const about = { session_id: recording.session_id, subject_id: recording.subject_id, resource: recording.resource }
  return engine.decide('retention', input, about).decision
}

/** Until when a sealed recording is kept; null where policy gives no usable answer. */
export function keptUntil(recording: RecordingRow, decision: Decision<'retention'>, floor_s: number): number | null {
  if (decision.effect !== 'data' || decision.result === null || recording.sealed_at === null) return null
  return recording.sealed_at.getTime() + Math.max(decision.result.keep_s, floor_s) * 1000
}

/** In words of SQL: drizzle leaves the table's name out of columns where a query has one table. */
const isHeld = sql<boolean>`exists (select from legal_holds h where h.recording_id = recordings.id and h.lifted_at is null)`

function judge(
  recording: RecordingRow,
  decision: Decision<'retention'>,
  floor_s: number,
  now_ms: number,
  held: boolean,
): Verdict {
  const until_ms = keptUntil(recording, decision, floor_s)
  if (until_ms === null || decision.result === null) return { delete: false, why: 'undecided' }
  if (held || decision.result.legal_hold) return { delete: false, why: 'held' }
  if (!(now_ms >= until_ms)) return { delete: false, why: 'young', until_ms }
  return { delete: true, keep_s: Math.max(decision.result.keep_s, floor_s) }
}

function expiring(recording: RecordingRow, keep_s: number): Expiring {
  const { id, session_id, subject_id, subject_name, resource, bytes, kept_until_ms } = recording
  const sealed_at_ms = recording.sealed_at?.getTime() ?? 0
  return {
    recording_id: id,
    session_id,
    subject_id,
    subject_name,
    resource,
    bytes,
    sealed_at_ms,
    expires_at_ms: sealed_at_ms + keep_s * 1000,
    keep_s,
    locked_until_ms: kept_until_ms,
  }
}
