import { and, asc, eq, gte } from 'drizzle-orm'
import type { Database } from '../db/database.ts'
import { SallyportError } from '../errors.ts'
import type { Secret } from '../secret.ts'
import { RecordingDamaged } from './errors.ts'
import { sealHash } from './format/seal.ts'
import type { Layer } from './format/segment.ts'
import { unwrapPartKey } from './part-key.ts'
import { PartReader, type PartRow, type Played, type SegmentRow } from './part-reader.ts'
import { recordingKeys, recordingParts, recordingSegments, recordings } from './schema.ts'
import type { Store } from './store.ts'

export type RecordingRow = typeof recordings.$inferSelect

export interface PartReport {
  readonly part: number
  readonly layer: Layer
  /** Whether its events were read; without an identity for the layer, hashes, chain and seal are checked all the same. */
  readonly opened: boolean
  readonly process_id: string
  readonly ending: string
  readonly segments: number
  readonly events: number
  readonly last_seq: number
  readonly bytes: number
  readonly gaps: readonly { readonly from_seq: number; readonly to_seq: number }[]
  readonly tail_missing_from: number | null
  readonly problem: { readonly segment: number; readonly message: string } | null
}

export interface VerifyReport {
  readonly recording_id: string
  readonly session_id: string
  readonly state: RecordingRow['state']
  readonly seal_hash: string | null
  /** Everything there is verifies: each segment, the chains, and the seal when there is one. */
  readonly ok: boolean
  readonly problem: string | null
  readonly parts: readonly PartReport[]
}

/** A part, or one segment of the part before it. */
export type ContainerPiece =
  | { readonly piece: 'part'; readonly part: PartRow; readonly key: string | null }
  | {
      readonly piece: 'segment'
      readonly segment: SegmentRow
      readonly stored: Buffer
      readonly events: readonly Played[] | null
    }

export type View = 'masked' | 'clear'

const page = 256

/** Opens recordings. INVARIANT: it lives in the replay process only, which alone holds identities. */
export class Reader {
  readonly #database: Database
  readonly #store: Store
  readonly #identities: Readonly<Record<Layer, readonly Secret[]>>

  constructor(options: {
    database: Database
    store: Store
    identities: readonly Secret[]
    originals_identities?: readonly Secret[]
  }) {
    this.#database = options.database
    this.#store = options.store
    // INVARIANT: a layer's keys are tried with that layer's identities only, whatever a row says of its layer.
    this.#identities = { masked: options.identities, originals: options.originals_identities ?? [] }
  }

  /** Whether this process could open originals at all. */
  get opensOriginals(): boolean {
    return this.#identities.originals.length > 0
  }

  async find(sessionId: string): Promise<RecordingRow | undefined> {
    const [row] = await this.#database.db.select().from(recordings).where(eq(recordings.session_id, sessionId))
    return row
  }

  /**
   * The events of a recording in the order of time over its parts, as far as they verify; with the clear view those of the
   * originals layer among them.
   * @param options.follow goes on with what is shipped until the recording is sealed or the signal fires.
   * @throws RecordingDamaged after the verified prefix; SallyportError `gone` when it was deleted.
   */
  async *events(
    sessionId: string,
    options: { follow?: AbortSignal; pollMs?: number; view?: View } = {},
  ): AsyncGenerator<Played> {
    const readers = new Map<number, PartReader>()
    for (;;) {
      const row = await this.#present(sessionId)
      await this.#addParts(row, readers, options.view === 'clear' ? 'open' : 'leave out')
      yield* this.#pass(row, readers)
      if (options.follow?.aborted) return
      if (row.state !== 'open') {
        checkSeal(row, [...readers.values()], options.view ?? 'masked')
        return
      }
      if (options.follow === undefined) return
      await pause(options.pollMs ?? 500, options.follow)
    }
  }

  /** Reads everything and says what verifies. It tells nothing of the content. */
  async verify(sessionId: string): Promise<VerifyReport> {
    const row = await this.#present(sessionId)
    const readers = new Map<number, PartReader>()
    const base = { recording_id: row.id, session_id: row.session_id, state: row.state, seal_hash: row.seal_hash }
    try {
      await this.#addParts(row, readers, this.opensOriginals ? 'open' : 'check')
    } catch (error) {
      return { ...base, ok: false, problem: (error as Error).message, parts: [] }
    }
    const parts: PartReport[] = []
    for (const reader of readers.values()) parts.push(await this.#verifyPart(row, reader))
    const problem = sealProblem(row, [...readers.keys()], 'clear')
    return { ...base, ok: problem === null && parts.every(part => part.problem === null), problem, parts }
  }

  /**
   * The masked layer as it lies in the store, each segment checked as far as it can be: what an outsider can check again.
   * @param open whether its keys and events are given too.
   * @throws RecordingDamaged after what verifies; SallyportError `gone` when it was deleted.
   */
  async *container(sessionId: string, open: boolean): AsyncGenerator<ContainerPiece> {
    const row = await this.#present(sessionId)
    for (const { part, wrapped } of await this.#parts(row.id)) {
      if (part.layer !== 'masked') continue
      if (open && wrapped === null) throw new RecordingDamaged(part.part, -1, 'its key is not there')
      const key = open ? await unwrapPartKey(this.#identities.masked, wrapped!) : null
      yield { piece: 'part', part, key: key?.export().toString('hex') ?? null }
      let stored: Buffer = Buffer.alloc(0)
      const get = async (name: string, most: number) => (stored = await this.#store.get(name, most))
      const reader = new PartReader(part, key, { get })
      for await (const segment of this.#segments(row.id, reader)) {
        const events = await reader.read(segment)
        yield { piece: 'segment', segment, stored, events: open ? events : null }
      }
    }
  }

  async #verifyPart(row: RecordingRow, reader: PartReader): Promise<PartReport> {
    let problem: PartReport['problem'] = null
    try {
      for await (const segment of this.#segments(row.id, reader)) await reader.read(segment)
      const sealed = sealOf(row)?.parts.find(part => part.part === reader.row.part)
      if (sealed !== undefined) reader.finish(sealed)
    } catch (error) {
      if (!(error instanceof RecordingDamaged)) throw error
      problem = { segment: error.segment, message: error.message }
    }
    const { part, process_id, ending, gaps, tail_missing_from } = reader.row
    return {
      part,
      layer: reader.row.layer,
      opened: reader.opens,
      process_id,
      ending: ending ?? (tail_missing_from === null ? 'open' : 'missing'),
      ...reader.counted,
      gaps,
      tail_missing_from,
      problem,
    }
  }

  async #present(sessionId: string): Promise<RecordingRow> {
    const row = await this.find(sessionId)
    if (row === undefined) throw new SallyportError('not_found', `there is no recording of session ${sessionId}`)
    if (row.state === 'deleted') {
      throw new SallyportError(
        'gone',
        `the recording of session ${sessionId} was deleted on ${row.deleted_at?.toISOString()}`,
        {
          remedy: 'its receipt says under which rule',
        },
      )
    }
    return row
  }

  async #addParts(
    row: RecordingRow,
    readers: Map<number, PartReader>,
    originals: 'leave out' | 'check' | 'open',
  ): Promise<void> {
    for (const { part, wrapped } of await this.#parts(row.id)) {
      const { layer } = part
      if (readers.has(part.part) || (layer === 'originals' && originals === 'leave out')) continue
      if (wrapped === null) throw new RecordingDamaged(part.part, -1, 'its key is not there')
      const opens = layer === 'masked' || originals === 'open'
      const key = opens ? await unwrapPartKey(this.#identities[layer], wrapped) : null
      readers.set(part.part, new PartReader(part, key, this.#store))
    }
  }

  #parts(recordingId: string): Promise<{ part: PartRow; wrapped: Buffer | null }[]> {
    return this.#database.db
      .select({ part: recordingParts, wrapped: recordingKeys.wrapped })
      .from(recordingParts)
      .leftJoin(
        recordingKeys,
        and(eq(recordingKeys.recording_id, recordingParts.recording_id), eq(recordingKeys.part, recordingParts.part)),
      )
      .where(eq(recordingParts.recording_id, recordingId))
      .orderBy(asc(recordingParts.part))
  }

  /** One pass over what is shipped and not read yet, merged by time. A part is opened when its time has come. */
  async *#pass(row: RecordingRow, readers: ReadonlyMap<number, PartReader>): AsyncGenerator<Played> {
    const waiting = [...readers.values()].sort(
      (a, b) => a.row.started_at_ms - b.row.started_at_ms || a.row.part - b.row.part,
    )
    const open: { head: Played; rest: AsyncGenerator<Played> }[] = []
    for (;;) {
      const first = open.reduce<Played | undefined>(
        (least, { head }) => (least === undefined || head.at_us < least.at_us ? head : least),
        undefined,
      )
      const next = waiting[0]
      if (next !== undefined && (first === undefined || next.row.started_at_ms * 1000 <= first.at_us)) {
        waiting.shift()
        const rest = this.#played(row, next)
        const { value, done } = await rest.next()
        if (!done) open.push({ head: value, rest })
        continue
      }
      if (first === undefined) return
      const from = open.find(({ head }) => head === first)!
      yield first
      const { value, done } = await from.rest.next()
      if (done) open.splice(open.indexOf(from), 1)
      else from.head = value
    }
  }

  async *#played(row: RecordingRow, reader: PartReader): AsyncGenerator<Played> {
    for await (const segment of this.#segments(row.id, reader)) yield* await reader.read(segment)
    const missing = sealOf(row)?.parts.find(part => part.part === reader.row.part)?.tail_missing_from ?? null
    if (missing !== null) yield reader.missingTail(missing)
  }

  async *#segments(recordingId: string, reader: PartReader): AsyncGenerator<SegmentRow> {
    for (;;) {
      const rows = await this.#database.db
        .select()
        .from(recordingSegments)
        .where(
          and(
            eq(recordingSegments.recording_id, recordingId),
            eq(recordingSegments.part, reader.row.part),
            gte(recordingSegments.n, reader.next),
          ),
        )
        .orderBy(asc(recordingSegments.n))
        .limit(page)
      yield* rows
      if (rows.length < page) return
    }
  }
}

const sealOf = (row: RecordingRow) => (row.state === 'open' ? null : row.seal)

/** What is wrong with the seal itself; null when nothing is, or when there is none yet. */
function sealProblem(row: RecordingRow, parts: readonly number[], view: View): string | null {
  if (row.state === 'open') return null
  if (row.seal === null || row.seal_hash === null) return 'the seal is missing'
  if (sealHash(row.seal) !== row.seal_hash) return 'the seal does not have the hash that was noted'
  if (row.seal.recording_id !== row.id || row.seal.session_id !== row.session_id)
    return 'the seal is that of another recording'
  const sealed = row.seal.parts.filter(part => view === 'clear' || part.layer === undefined).map(part => part.part)
  return sealed.join() === [...parts].sort((a, b) => a - b).join()
    ? null
    : `the seal names the parts ${sealed.join(', ')}, but ${parts.join(', ')} are there`
}

function checkSeal(row: RecordingRow, readers: readonly PartReader[], view: View): void {
  const problem = sealProblem(
    row,
    readers.map(reader => reader.row.part),
    view,
  )
  if (problem !== null) throw new RecordingDamaged(0, -1, problem)
  for (const reader of readers) {
    const sealed = row.seal?.parts.find(part => part.part === reader.row.part)
    if (sealed !== undefined) reader.finish(sealed)
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const timer = setTimeout(done, ms)
    function done(): void {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    signal.addEventListener('abort', done, { once: true })
  })
}
