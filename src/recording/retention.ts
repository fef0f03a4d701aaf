import { and, asc, eq, gt, inArray, isNotNull, isNull, sql } from 'drizzle-orm'
import type { AuditWriter } from '../audit/events.ts'
import type { Database, Tx } from '../db/database.ts'
import { logger } from '../log.ts'
import type { Decision } from '../policy/decision.ts'
import type { Engine } from '../policy/engine.ts'
import type { DecisionLog } from '../policy/log/decision-log.ts'
import type { LogClass } from '../policy/log/log-class.ts'
import { nowMs } from './catalog.ts'
import { recordingFacts } from './facts.ts'
import { type SweptLog, sweepLogs } from './log-retention.ts'
import type { RecordingRow } from './reader.ts'
import type { Receipt } from './receipt.ts'
import { legalHolds, recordingKeys, recordingSegments, recordings } from './schema.ts'
import type { Store } from './store.ts'
import { forgetTexts } from './text-index.ts'

const log = logger('recording')
const batch = 100

export interface RetentionOptions {
  readonly database: Database
  readonly audit: AuditWriter
  readonly store: Store
  readonly engine: Pick<Engine, 'decide'>
  readonly decisions: Pick<DecisionLog, 'insert'>
  /** Logs that go by policy too. */
  readonly logs?: readonly LogClass[]
  /** Called between the steps of a deletion: a test kills the process here. */
  readonly onStep?: (step: Receipt['step'], recordingId: string) => void
}

export interface Swept {
  readonly asked: number
  readonly deleted: readonly string[]
  /** Deletions that could not be finished; the next run goes on with them. */
  readonly failed: readonly string[]
  readonly kept: { readonly live: number; readonly held: number; readonly young: number; readonly undecided: number }
  readonly logs: Readonly<Record<string, SweptLog>>
}

type Verdict =
  | { readonly delete: true; readonly keep_s: number }
  | { readonly delete: false; readonly why: 'held' | 'young' | 'undecided' }

/**
 * Deletes recordings on the day that policy names. A deletion goes key, data, rows; each step is safe to repeat, and
 * `recordings.receipt.step` says how far it came, so that one that was killed ends at the next run.
 *
 * INVARIANT: a point that gives no usable answer keeps. Hold and expiry are looked at again under the recording's lock, in
 * the transaction that destroys the keys.
 */
export class Retention {
  readonly #options: RetentionOptions

  constructor(options: RetentionOptions) {
    this.#options = options
  }

  async sweep(): Promise<Swept> {
    const deleted: string[] = []
    const failed: string[] = []
    for (const id of await this.#started())
      ((await this.#tried(id, () => this.#finish(id))) ? deleted : failed).push(id)
    const kept = { live: 0, held: 0, young: 0, undecided: 0 }
    let asked = 0
    let after = ''
    for (;;) {
      const rows = await this.#options.database.db
        .select({ recording: recordings, now: nowMs })
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
      for (const { recording, now } of rows) {
        asked++
        after = recording.id
        const decision = this.#ask(recording)
        const verdict = judge(recording, decision, Number(now), false)
        if (!verdict.delete) {
          kept[verdict.why]++
          continue
        }
        let gone = false
        const tried = await this.#tried(recording.id, async () => {
          gone = await this.#delete(recording.id, decision)
        })
        if (!tried) failed.push(recording.id)
        else if (gone) deleted.push(recording.id)
        else kept.held++
      }
      if (rows.length < batch) break
    }
    const [live] = await this.#options.database.sql<
      { n: number }[]
    >`select count(*)::int as n from recordings where state = 'open'`
    return { asked, deleted, failed, kept: { ...kept, live: live?.n ?? 0 }, logs: await this.#logs() }
  }

  #ask(recording: RecordingRow): Decision<'retention'> {
    const input = { class: 'recording', recording: recordingFacts(recording) }
    const about = { session_id: recording.session_id, subject_id: recording.subject_id, resource: recording.resource }
    return this.#options.engine.decide('retention', input, about).decision
  }

  /** After the recordings, which keep what their journals refer to. */
  #logs(): Promise<Record<string, SweptLog>> {
    return sweepLogs({ ...this.#options, classes: this.#options.logs ?? [] })
  }

  /** @returns false when a hold, a new seal or another process came first. */
  async #delete(id: string, decision: Decision<'retention'>): Promise<boolean> {
    const receipt = await this.#options.database.db.transaction(tx => this.#destroyKeys(tx, id, decision))
    if (receipt === undefined) return false
    this.#options.onStep?.('keys', id)
    await this.#finish(id)
    return true
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

  /** The point of no return. After its commit nobody can open the recording, wherever copies of its segments lie. */
  async #destroyKeys(tx: Tx, id: string, decision: Decision<'retention'>): Promise<Receipt | undefined> {
    const [found] = await tx
      .select({ recording: recordings, now: nowMs })
      .from(recordings)
      .where(eq(recordings.id, id))
      .for('update')
    if (found === undefined || (found.recording.state !== 'sealed' && found.recording.state !== 'interrupted'))
      return undefined
    const { recording } = found
    const now = Number(found.now)
    const [hold] = await tx
      .select({ id: legalHolds.id })
      .from(legalHolds)
      .where(and(eq(legalHolds.recording_id, id), isNull(legalHolds.lifted_at)))
      .limit(1)
    const verdict = judge(recording, decision, now, hold !== undefined)
    if (!verdict.delete || recording.seal_hash === null || recording.sealed_at === null) return undefined
    const destroyed = await tx
      .update(recordingKeys)
      .set({ wrapped: null, destroyed_at: sql`to_timestamp(${now}::double precision / 1000)` })
      .where(and(eq(recordingKeys.recording_id, id), isNull(recordingKeys.destroyed_at)))
      .returning({ part: recordingKeys.part })
    const [held] = await tx
      .select({
        segments: sql<number>`count(*)::int`,
        bytes: sql<string>`coalesce(sum(${recordingSegments.bytes}), 0)`,
      })
      .from(recordingSegments)
      .where(eq(recordingSegments.recording_id, id))
    const sealedAt = recording.sealed_at.getTime()
    const receipt: Receipt = {
      recording_id: id,
      session_id: recording.session_id,
      generation: decision.generation,
      commit: decision.commit,
      digest: decision.digest,
      decision_id: decision.id,
      keep_s: verdict.keep_s,
      sealed_at_ms: sealedAt,
      expired_at_ms: sealedAt + verdict.keep_s * 1000,
      hold_checked_at_ms: now,
      keys_destroyed: destroyed.length,
      keys_destroyed_at_ms: now,
      segments: held?.segments ?? 0,
      bytes: Number(held?.bytes ?? 0),
      seal_hash: recording.seal_hash,
      step: 'keys',
      data_removed_at_ms: null,
    }
    await forgetTexts(tx, id)
    await this.#options.decisions.insert(tx, decision)
    await tx
      .update(recordings)
      .set({ state: 'deleted', deleted_at: sql`to_timestamp(${now}::double precision / 1000)`, receipt })
      .where(eq(recordings.id, id))
    const { step: _, data_removed_at_ms: __, session_id: ___, recording_id, ...body } = receipt
    await this.#options.audit.record(tx, {
      type: 'recording.deleted',
      body: { recording: recording_id, ...body, rules: decision.reasons.map(reason => reason.rule) },
      subject_id: recording.subject_id,
      session_id: recording.session_id,
      resource: recording.resource,
    })
    return receipt
  }

  /** Removes data, then rows. Both may have happened before. */
  async #finish(id: string): Promise<void> {
    const { database, store, onStep } = this.#options
    await store.removeRecording(id)
    await this.#note(id, 'data')
    onStep?.('data', id)
    await database.db.transaction(async tx => {
      await tx.delete(recordingSegments).where(eq(recordingSegments.recording_id, id))
      await tx
        .update(recordings)
        .set({ receipt: sql`${recordings.receipt} || '{"step": "done"}'::jsonb` })
        .where(eq(recordings.id, id))
    })
    onStep?.('done', id)
  }

  async #note(id: string, step: Receipt['step']): Promise<void> {
    await this.#options.database.db
      .update(recordings)
      .set({
        receipt: sql`${recordings.receipt} || jsonb_build_object('step', ${step}::text, 'data_removed_at_ms', ${nowMs}::bigint)`,
      })
      .where(and(eq(recordings.id, id), eq(recordings.state, 'deleted')))
  }

  async #started(): Promise<string[]> {
    const rows = await this.#options.database.db
      .select({ id: recordings.id })
      .from(recordings)
      .where(and(eq(recordings.state, 'deleted'), sql`${recordings.receipt} ->> 'step' <> 'done'`))
      .orderBy(asc(recordings.id))
    return rows.map(row => row.id)
  }
}

function judge(recording: RecordingRow, decision: Decision<'retention'>, now_ms: number, held: boolean): Verdict {
  if (decision.effect !== 'data' || decision.result === null) return { delete: false, why: 'undecided' }
  if (held || decision.result.legal_hold) return { delete: false, why: 'held' }
  const { keep_s } = decision.result
  const sealedAt = recording.sealed_at?.getTime()
  if (sealedAt === undefined || !(now_ms - sealedAt >= keep_s * 1000)) return { delete: false, why: 'young' }
  return { delete: true, keep_s }
}
