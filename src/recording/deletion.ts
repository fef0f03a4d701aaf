import { and, asc, eq, isNull, sql } from 'drizzle-orm'
import type { AuditWriter } from '../audit/events.ts'
import type { Database, Tx } from '../db/database.ts'
import { logger } from '../log.ts'
import { nowMs } from './catalog.ts'
import type { RecordingRow } from './reader.ts'
import type { Receipt } from './receipt.ts'
import { legalHolds, recordingKeys, recordingSegments, recordings } from './schema.ts'
import { type Store, StoreLocked } from './store.ts'
import { forgetTexts } from './text-index.ts'

const log = logger('recording')

export interface DeletionOptions {
  readonly database: Database
  readonly audit: AuditWriter
  readonly store: Store
  /** Called between the steps of a deletion: a test kills the process here. */
  readonly onStep?: ((step: Receipt['step'], recordingId: string) => void) | undefined
}

/** Why a recording goes: by policy on its day, or before it because two people said so. */
export type Cause = Pick<
  Receipt,
  'generation' | 'commit' | 'digest' | 'decision_id' | 'keep_s' | 'floor_s' | 'erasure'
> & {
  readonly rules: readonly string[]
}

/** A recording under its lock, and whether it may go at all. */
export interface Locked {
  readonly recording: RecordingRow
  readonly now_ms: number
  readonly held: boolean
}

/**
 * The steps of a deletion: keys, data, rows. Each is safe to repeat, and `recordings.receipt.step` says how far it came, so
 * that one that was killed ends at the next run.
 */
export class Deletion {
  readonly #options: DeletionOptions

  constructor(options: DeletionOptions) {
    this.#options = options
  }

  /** The same lock that shipping, sealing and holds take. @returns undefined when it is not sealed, or gone. */
  async lock(tx: Tx, id: string): Promise<Locked | undefined> {
    const [found] = await tx
      .select({ recording: recordings, now: nowMs })
      .from(recordings)
      .where(eq(recordings.id, id))
      .for('update')
    if (found === undefined || (found.recording.state !== 'sealed' && found.recording.state !== 'interrupted'))
      return undefined
    const [hold] = await tx
      .select({ id: legalHolds.id })
      .from(legalHolds)
      .where(and(eq(legalHolds.recording_id, id), isNull(legalHolds.lifted_at)))
      .limit(1)
    return { recording: found.recording, now_ms: Number(found.now), held: hold !== undefined }
  }

  /** The point of no return. After its commit nobody can open the recording, wherever copies of its segments lie. */
  async destroyKeys(tx: Tx, { recording, now_ms }: Locked, { rules, ...cause }: Cause): Promise<Receipt | undefined> {
    const { id, seal_hash, sealed_at } = recording
    if (seal_hash === null || sealed_at === null) return undefined
    const at = sql`to_timestamp(${now_ms}::double precision / 1000)`
    const destroyed = await tx
      .update(recordingKeys)
      .set({ wrapped: null, destroyed_at: at })
      .where(and(eq(recordingKeys.recording_id, id), isNull(recordingKeys.destroyed_at)))
      .returning({ part: recordingKeys.part })
    const [segments] = await tx
      .select({
        n: sql<number>`count(*)::int`,
        bytes: sql<string>`coalesce(sum(${recordingSegments.bytes}), 0)`,
      })
      .from(recordingSegments)
      .where(eq(recordingSegments.recording_id, id))
    const receipt: Receipt = {
      recording_id: id,
      session_id: recording.session_id,
      ...cause,
      sealed_at_ms: sealed_at.getTime(),
      expired_at_ms: cause.erasure === undefined ? sealed_at.getTime() + cause.keep_s * 1000 : now_ms,
      hold_checked_at_ms: now_ms,
      keys_destroyed: destroyed.length,
      keys_destroyed_at_ms: now_ms,
      segments: segments?.n ?? 0,
      bytes: Number(segments?.bytes ?? 0),
      seal_hash,
      step: 'keys',
      data_removed_at_ms: null,
    }
    await forgetTexts(tx, id)
    await tx.update(recordings).set({ state: 'deleted', deleted_at: at, receipt }).where(eq(recordings.id, id))
    const { step: _, data_removed_at_ms: __, session_id: ___, recording_id, ...body } = receipt
    await this.#options.audit.record(tx, {
      type: 'recording.deleted',
      body: { recording: recording_id, ...body, rules: [...rules] },
      subject_id: recording.subject_id,
      session_id: recording.session_id,
      resource: recording.resource,
    })
    return receipt
  }

  /**
   * Removes data, then rows. Both may have happened before.
   * @returns false where the store itself keeps the data for longer: the receipt says until when, and a later run goes on.
   */
  async finish(id: string): Promise<boolean> {
    const { database, store, onStep } = this.#options
    onStep?.('keys', id)
    try {
      await store.removeRecording(id)
    } catch (error) {
      if (!(error instanceof StoreLocked)) throw error
      await this.#waits(id, error)
      return false
    }
    await this.#note(id, 'data')
    onStep?.('data', id)
    await database.db.transaction(async tx => {
      await tx.delete(recordingSegments).where(eq(recordingSegments.recording_id, id))
      await tx
        .update(recordings)
        .set({ receipt: sql`(${recordings.receipt} - 'locked_until_ms') || '{"step": "done"}'::jsonb` })
        .where(eq(recordings.id, id))
    })
    onStep?.('done', id)
    return true
  }

  /** Deletions that began and did not end. */
  async started(): Promise<string[]> {
    const rows = await this.#options.database.db
      .select({ id: recordings.id })
      .from(recordings)
      .where(and(eq(recordings.state, 'deleted'), sql`${recordings.receipt} ->> 'step' <> 'done'`))
      .orderBy(asc(recordings.id))
    return rows.map(row => row.id)
  }

  async #note(id: string, step: Receipt['step']): Promise<void> {
    await this.#options.database.db
      .update(recordings)
      .set({
        receipt: sql`${recordings.receipt} || jsonb_build_object('step', ${step}::text, 'data_removed_at_ms', ${nowMs}::bigint)`,
      })
      .where(and(eq(recordings.id, id), eq(recordings.state, 'deleted')))
  }

  /** Said once for each lock: its keys are gone, and its sealed bytes lie there until the store lets go of them. */
  async #waits(id: string, { until_ms, message }: StoreLocked): Promise<void> {
    const { database, audit } = this.#options
    await database.db.transaction(async tx => {
      const [row] = await tx.select().from(recordings).where(eq(recordings.id, id)).for('update')
      if (row === undefined || row.receipt === null || row.receipt.step !== 'keys') return
      if (row.receipt.locked_until_ms !== undefined && row.receipt.locked_until_ms === until_ms) return
      await tx
        .update(recordings)
        .set({ receipt: { ...row.receipt, locked_until_ms: until_ms } })
        .where(eq(recordings.id, id))
      await audit.record(tx, {
        type: 'recording.delete_waits',
        body: { recording: id, locked_until_ms: until_ms, expired_at_ms: row.receipt.expired_at_ms, reason: message },
        subject_id: row.subject_id,
        session_id: row.session_id,
        resource: row.resource,
      })
      log.warn(
        { recording: id, locked_until_ms: until_ms },
        'keys are destroyed; the store keeps the sealed data until its lock passes',
      )
    })
  }
}
