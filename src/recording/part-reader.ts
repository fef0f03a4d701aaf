import type { KeyObject } from 'node:crypto'
import { RecordingDamaged } from './errors.ts'
import { type Recorded, unpackEvents } from './events.ts'
import { frameKind, openRecord, parseFrame } from './format/frames.ts'
import type { SealedPart } from './format/seal.ts'
import { hashOf, maxSegmentBytes, openEvents, parseSegment, type Segment } from './format/segment.ts'
import type { recordingParts, recordingSegments } from './schema.ts'
import type { Store } from './store.ts'

export type PartRow = typeof recordingParts.$inferSelect
export type SegmentRow = typeof recordingSegments.$inferSelect

/** An event with its place in time over all parts. A hole in the recording is an event too: kind `gap`, `from_seq`, `to_seq`. */
export interface Played extends Recorded {
  readonly part: number
  readonly at_us: number // since the epoch, by the database's clock at the part's start
}

/**
 * Reads one part in order and believes nothing that does not verify: stored hash, chain, additional data, AEAD, seq.
 * It keeps its place, so that a live recording is read on when more of it was shipped.
 */
export class PartReader {
  readonly #row: PartRow
  readonly #key: KeyObject | null
  readonly #store: Pick<Store, 'get'>
  #n = 0
  #prev = ''
  #seq = 0
  #t = 0
  #bytes = 0
  #events = 0

  /** Without a key it checks what needs none, and gives no events. */
  constructor(row: PartRow, key: KeyObject | null, store: Pick<Store, 'get'>) {
    this.#row = row
    this.#key = key
    this.#store = store
  }

  get row(): PartRow {
    return this.#row
  }

  get opens(): boolean {
    return this.#key !== null
  }

  /** Number of the segment that comes next. */
  get next(): number {
    return this.#n
  }

  get counted(): { segments: number; events: number; last_seq: number; bytes: number } {
    return { segments: this.#n, events: this.#events, last_seq: this.#seq, bytes: this.#bytes }
  }

  /** The events of the next segment. @throws RecordingDamaged; then nothing of the segment is given. */
  async read(row: SegmentRow): Promise<Played[]> {
    if (row.n !== this.#n) throw this.#damaged(`segment ${this.#n} is missing: the next one there is ${row.n}`)
    const stored = await this.#store.get(row.key, maxSegmentBytes).catch((error: NodeJS.ErrnoException) => {
      throw this.#damaged(
        error.code === 'ENOENT' ? 'it is missing from the store' : `it cannot be read (${error.message})`,
      )
    })
    const hash = hashOf(stored)
    if (hash !== row.hash) throw this.#damaged('its SHA-256 is not the one that was noted when it was shipped')
    const segment = this.#parsed(stored)
    const played: Played[] = []
    if (segment.first_seq > this.#seq + 1) played.push(this.#gap(segment.first_seq - 1))
    const opened = this.#key === null ? null : await this.#open(segment, this.#key)
    for (const event of opened ?? []) {
      const expected: number = played.length === 0 ? this.#seq + 1 : played.at(-1)!.seq + 1
      if (event.seq > expected && segment.kind === 'records')
        throw this.#damaged(`seq ${expected} is missing inside the segment`)
      if (event.seq !== expected) throw this.#damaged(`seq ${event.seq} comes where ${expected} is due`)
      played.push({ ...event, part: this.#row.part, at_us: this.#row.started_at_ms * 1000 + event.t })
    }
    const last = opened === null ? segment.last_seq : played.at(-1)?.seq
    if (last !== segment.last_seq)
      throw this.#damaged(`it ends at seq ${last}, but its header says ${segment.last_seq}`)
    this.#events += played.filter(event => event.kind !== 'gap').length
    this.#t = played.at(-1)?.t ?? this.#t
    this.#seq = segment.last_seq
    this.#prev = hash
    this.#bytes += stored.length
    this.#n++
    return played
  }

  /** The hole at the end of a part whose owner has not come back: `to_seq` is null, because nobody knows. */
  missingTail(from_seq: number): Played {
    const at_us = this.#row.started_at_ms * 1000 + this.#t
    return { part: this.#row.part, at_us, t: this.#t, conn: '', kind: 'gap', seq: from_seq, from_seq, to_seq: null }
  }

  /** Holds what was read against the seal. @throws RecordingDamaged when it is more or less than what was sealed. */
  finish(sealed: SealedPart): void {
    const facts: [string, unknown, unknown][] = [
      ['id', this.#row.part_id, sealed.part_id],
      ['layer', this.#row.layer, sealed.layer ?? 'masked'],
      ['start', this.#row.started_at_ms, sealed.started_at_ms],
      ['number of segments', this.#n, sealed.segments],
      ['last seq', this.#seq, sealed.last_seq],
      ['hash of the last segment', this.#prev, sealed.head],
      ['number of bytes', this.#bytes, sealed.bytes],
      ['list of gaps', gapsText(this.#row.gaps), gapsText(sealed.gaps)],
    ]
    for (const [name, found, said] of facts) {
      if (found !== said)
        throw new RecordingDamaged(this.#row.part, -1, `the ${name} is ${found}, but the seal says ${said}`)
    }
  }

  #parsed(stored: Buffer): Segment {
    try {
      const segment = parseSegment(stored)
      if (segment.part_id.toString('hex') !== this.#row.part_id) throw new Error('it belongs to another part')
      if (segment.layer !== this.#row.layer) throw new Error(`it belongs to the layer ${segment.layer}`)
      if (segment.n !== this.#n) throw new Error(`it is segment ${segment.n} of its part`)
      if (segment.prev !== this.#prev) throw new Error('its chain does not lead to the segment before')
      if (segment.first_seq <= this.#seq) throw new Error(`it repeats seq ${segment.first_seq}`)
      if (
        segment.first_seq > this.#seq + 1 &&
        !this.#row.gaps.some(gap => gap.from_seq === this.#seq + 1 && gap.to_seq === segment.first_seq - 1)
      ) {
        throw new Error(`seq ${this.#seq + 1} to ${segment.first_seq - 1} are missing, and no gap was noted`)
      }
      return segment
    } catch (error) {
      throw this.#damaged((error as Error).message)
    }
  }

  async #open(segment: Segment, key: KeyObject): Promise<Recorded[]> {
    try {
      if (segment.kind === 'events') return unpackEvents(await openEvents(key, segment))
      return this.#records(segment, key)
    } catch (error) {
      throw this.#damaged(`it does not open with the key of its part (${(error as Error).message})`)
    }
  }

  #records(segment: Segment, key: KeyObject): Recorded[] {
    const events: Recorded[] = []
    for (let at = 0; at < segment.payload.length; ) {
      const parsed = parseFrame(segment.payload, at)
      if (!('frame' in parsed)) throw new Error('bad' in parsed ? parsed.bad : 'a record is cut')
      const { frame } = parsed
      if (frame.kind !== frameKind.record || !frame.part_id.equals(segment.part_id))
        throw new Error('it holds a frame that is not its own')
      const record = unpackEvents(openRecord(key, frame))
      if (record.length !== frame.count || record[0]?.seq !== frame.first_seq)
        throw new Error('a record is not what its header says')
      events.push(...record)
      at += frame.bytes.length
    }
    return events
  }

  #gap(to_seq: number): Played {
    const at_us = this.#row.started_at_ms * 1000 + this.#t
    return {
      part: this.#row.part,
      at_us,
      t: this.#t,
      conn: '',
      kind: 'gap',
      seq: to_seq,
      from_seq: this.#seq + 1,
      to_seq,
    }
  }

  #damaged(reason: string): RecordingDamaged {
    return new RecordingDamaged(this.#row.part, this.#n, reason)
  }
}

const gapsText = (gaps: readonly { readonly from_seq: number; readonly to_seq: number }[]): string =>
  gaps.map(gap => `${gap.from_seq}–${gap.to_seq}`).join(', ') || 'empty'
