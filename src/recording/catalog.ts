import { and, desc, eq, inArray, isNull, ne, sql } from 'drizzle-orm'
import type { AuditWriter } from '../audit/events.ts'
import type { Database, Tx } from '../db/database.ts'
import { SallyportError } from '../errors.ts'
import { newId } from '../ids.ts'
import type { Layer } from './format/segment.ts'
import type { SessionFacts } from './recorder.ts'
import { recordingKeys, recordingParts, recordingSegments, recordings } from './schema.ts'

/** Where the chain of a part's shipped segments ends. */
export interface Head {
  readonly n: number // of the next segment
  readonly hash: string
  readonly last_seq: number
}

export interface OpenedPart {
  readonly recording_id: string
  readonly part: number
  readonly started_at_ms: number
}

export interface NewPart {
  readonly part_id: string
  readonly layer: Layer
  readonly process_id: string
  readonly spool: string
  readonly wrapped: Buffer
}

export interface ShippedSegment {
  readonly recording_id: string
  readonly part: number
  readonly n: number
  readonly first_seq: number
  readonly last_seq: number
  readonly bytes: number
  readonly hash: string
  readonly prev: string
  readonly key: string
}

export interface PartEnd {
  readonly recording_id: string
  readonly part: number
  readonly last_seq: number
  readonly ending: 'clean' | 'lost' | 'recovered'
  readonly reason: string
  readonly gaps: readonly { from_seq: number; to_seq: number }[]
  /** What came after `last_seq`, if anything did, is lost, and nobody knows how much it was. */
  readonly tail_missing_from?: number | null
}

/** The rows that the writing side keeps: parts, keys, segments. Each call is one transaction. */
export class Catalog {
  readonly #database: Database
  readonly #audit: AuditWriter

  constructor(database: Database, audit: AuditWriter) {
    this.#database = database
    this.#audit = audit
  }

  /** Which of these sessions have a recording that still plays: what is kept beside one goes with it. */
  async recorded(sessions: readonly string[]): Promise<Set<string>> {
    if (sessions.length === 0) return new Set()
    const rows = await this.#database.db
      .select({ session_id: recordings.session_id })
      .from(recordings)
      .where(and(inArray(recordings.session_id, [...sessions]), ne(recordings.state, 'deleted')))
    return new Set(rows.map(row => row.session_id))
  }

  /** Begins a part a layer; the first of a session begins its recording. A sealed recording that goes on is open again. */
  openParts(facts: SessionFacts, parts: readonly NewPart[]): Promise<OpenedPart[]> {
    return this.#database.db.transaction(async tx => {
      const { settings, labels, ...named } = facts
      await tx
        .insert(recordings)
        .values({ id: newId('rec'), ...named, labels: { ...labels }, settings: { ...settings } })
        .onConflictDoNothing({ target: recordings.session_id })
      const [recording] = await tx
        .select({ id: recordings.id, state: recordings.state, now: nowMs })
        .from(recordings)
        .where(eq(recordings.session_id, facts.session_id))
        .for('update')
      if (recording === undefined || recording.state === 'deleted') {
        throw new SallyportError('gone', `the recording of session ${facts.session_id} was deleted: it cannot go on`)
      }
      const [last] = await tx
        .select({ part: sql<number>`coalesce(max(${recordingParts.part}), 0)::int` })
        .from(recordingParts)
        .where(eq(recordingParts.recording_id, recording.id))
      const begun: OpenedPart[] = []
      for (const [i, { wrapped, ...owner }] of parts.entries()) {
        const part = (last?.part ?? 0) + 1 + i
        const opened = { recording_id: recording.id, part, started_at_ms: Number(recording.now) }
        await tx.insert(recordingParts).values({ ...opened, ...owner })
        await tx.insert(recordingKeys).values({ recording_id: recording.id, part, wrapped })
        await this.#audit.record(tx, {
          type: 'recording.started',
          body: {
            recording: recording.id,
            part,
            part_id: owner.part_id,
            layer: owner.layer === 'masked' ? undefined : owner.layer,
            process: owner.process_id,
            decision: facts.decision_id,
          },
          subject_id: facts.subject_id,
          session_id: facts.session_id,
          resource: facts.resource,
        })
        begun.push(opened)
      }
      await reopen(tx, recording)
      return begun
    })
  }

  /** @returns false when the recording was deleted meanwhile: then nothing of it is shipped any more. */
  insertSegment(segment: ShippedSegment): Promise<boolean> {
    return this.#change(segment, async (tx, recording) => {
      await tx.insert(recordingSegments).values(segment)
      await tx
        .update(recordings)
        .set({ bytes: sql`${recordings.bytes} + ${segment.bytes}` })
        .where(eq(recordings.id, recording.id))
    })
  }

  endPart(end: PartEnd): Promise<boolean> {
    return this.#change(end, async tx => {
      await tx
        .update(recordingParts)
        .set({
          ended_at: sql`clock_timestamp()`,
          ending: end.ending,
          end_reason: end.reason,
          last_seq: end.last_seq,
          gaps: end.gaps.map(gap => ({ ...gap })),
          tail_missing_from: end.tail_missing_from ?? null,
        })
        .where(isPart(end))
    })
  }

  async head(part: { recording_id: string; part: number }): Promise<Head> {
    const [last] = await this.#database.db
      .select({ n: recordingSegments.n, hash: recordingSegments.hash, last_seq: recordingSegments.last_seq })
      .from(recordingSegments)
      .where(and(eq(recordingSegments.recording_id, part.recording_id), eq(recordingSegments.part, part.part)))
      .orderBy(desc(recordingSegments.n))
      .limit(1)
    return last === undefined ? { n: 0, hash: '', last_seq: 0 } : { ...last, n: last.n + 1 }
  }

  async partById(partId: string): Promise<
    | {
        recording_id: string
        part: number
        layer: Layer
        gaps: { from_seq: number; to_seq: number }[]
        ended_at_seq: number | null
      }
    | undefined
  > {
    const { recording_id, part, layer, gaps, last_seq } = recordingParts
    const [row] = await this.#database.db
      .select({ recording_id, part, layer, gaps, ended_at_seq: last_seq })
      .from(recordingParts)
      .where(eq(recordingParts.part_id, partId))
    return row
  }

  /** Ids of the parts of a spool that have not ended. */
  async openPartsOf(spool: string): Promise<string[]> {
    const rows = await this.#database.db
      .select({ part_id: recordingParts.part_id })
      .from(recordingParts)
      .where(and(eq(recordingParts.process_id, spool), isNull(recordingParts.ended_at)))
    return rows.map(row => row.part_id)
  }

  /** Ends parts in which nothing was ever recorded; one that was never begun is no error. */
  async endUnused(partIds: readonly string[], reason: string): Promise<void> {
    for (const id of partIds) {
      const row = await this.partById(id)
      if (row !== undefined) await this.endPart({ ...row, last_seq: 0, ending: 'lost', reason, gaps: [] })
    }
  }

  /** Whether this process is one of ours that has not been heard of for a while. */
  async isDead(processId: string, deadAfterS: number): Promise<boolean> {
    const [row] = await this.#database.sql<{ alive: boolean }[]>`
      select heartbeat_at > clock_timestamp() - make_interval(secs => ${deadAfterS}) as alive from processes where id = ${processId}`
    return row?.alive !== true
  }

  /** Locks the recording, so that shipping, sealing and deleting follow one another, and opens what was sealed. */
  #change(
    part: { recording_id: string },
    run: (tx: Tx, recording: { id: string; state: RecordingState }) => Promise<void>,
  ): Promise<boolean> {
    return this.#database.db.transaction(async tx => {
      const [recording] = await tx
        .select({ id: recordings.id, state: recordings.state })
        .from(recordings)
        .where(eq(recordings.id, part.recording_id))
        .for('update')
      if (recording === undefined || recording.state === 'deleted') return false
      await reopen(tx, recording) // first: what a gateway writes of a recording is written of an open one
      await run(tx, recording)
      return true
    })
  }
}

export type RecordingState = typeof recordings.$inferSelect.state

/** The database's clock in milliseconds. */
export const nowMs = sql<string>`(extract(epoch from clock_timestamp()) * 1000)::bigint::text`

export const isPart = (part: { recording_id: string; part: number }) =>
  and(eq(recordingParts.recording_id, part.recording_id), eq(recordingParts.part, part.part))

/** A seal speaks of what there was: with more, it must be renewed. The seal stays until then, as `former` of the next. */
async function reopen(tx: Tx, recording: { id: string; state: RecordingState }): Promise<void> {
  if (recording.state !== 'sealed' && recording.state !== 'interrupted') return
  await tx
    .update(recordings)
    .set({ state: 'open', sealed_at: null })
    .where(and(eq(recordings.id, recording.id), inArray(recordings.state, ['sealed', 'interrupted'])))
}
