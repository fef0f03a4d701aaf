import { createSecretKey } from 'node:crypto'
import { packEvent } from '../../src/recording/events.ts'
import { recordCipher, sealRecord } from '../../src/recording/format/frames.ts'
import type { SealedPart } from '../../src/recording/format/seal.ts'
import { copyRecords, hashOf, sealEvents } from '../../src/recording/format/segment.ts'
import { PartReader, type PartRow, type Played, type SegmentRow } from '../../src/recording/part-reader.ts'
import { type Store, segmentName } from '../../src/recording/store.ts'

/** Fixed values: the vectors and the fuzz tests are the same in every run. */
export const fixedKey = createSecretKey(Buffer.alloc(32, 7))
export const fixedPart = Buffer.from('000102030405060708090a0b0c0d0e0f', 'hex')
export const fixedRecording = 'rec_00000000000000000000000001'

export const fixedEvent = (seq: number) =>
  packEvent({ conn: 'con_1', kind: 'statement', body: { text: `select ${seq}`, n: null } }, seq, seq * 1000)

export const fixedRecord = (counter: number, first: number, count: number): Buffer =>
  sealRecord(
    recordCipher(fixedKey, counter),
    { part_id: fixedPart, counter, first_seq: first, count },
    Buffer.concat(Array.from({ length: count }, (_, i) => fixedEvent(first + i))),
  )

export interface BuiltPart {
  readonly row: PartRow
  readonly segments: { row: SegmentRow; stored: Buffer }[]
  readonly sealed: SealedPart
}

/** A part of three sealed segments and two of copied records, two events each. */
export async function buildPart(): Promise<BuiltPart> {
  const segments: BuiltPart['segments'] = []
  let prev = ''
  for (let n = 0; n < 5; n++) {
    const first_seq = n * 2 + 1
    const header = { part_id: fixedPart, n, first_seq, last_seq: first_seq + 1, nonce: n, prev }
    const stored =
      n < 3
        ? await sealEvents(fixedKey, header, Buffer.concat([fixedEvent(first_seq), fixedEvent(first_seq + 1)]))
        : copyRecords(header, [fixedRecord(n * 2, first_seq, 1), fixedRecord(n * 2 + 1, first_seq + 1, 1)])
    segments.push({ row: rowOf(n, first_seq, stored, prev), stored })
    prev = hashOf(stored)
  }
  const started_at_ms = 1_763_694_000_000
  const bytes = segments.reduce((sum, segment) => sum + segment.stored.length, 0)
  const part_id = fixedPart.toString('hex')
  const shared = {
    part: 1,
    part_id,
    process_id: 'prc_1',
    started_at_ms,
    last_seq: 10,
    gaps: [],
    tail_missing_from: null,
  }
  return {
    row: {
      ...shared,
      recording_id: fixedRecording,
      layer: 'masked',
      spool: 'prc_1',
      ended_at: new Date(0),
      ending: 'clean',
      end_reason: '',
    },
    segments,
    sealed: { ...shared, ending: 'clean', segments: 5, head: prev, bytes },
  }
}

export function rowOf(n: number, first_seq: number, stored: Buffer, prev: string): SegmentRow {
  const hash = hashOf(stored)
  const key = segmentName(fixedRecording, 1, n, hash)
  const shipped_at = new Date(0)
  return {
    recording_id: fixedRecording,
    part: 1,
    n,
    first_seq,
    last_seq: first_seq + 1,
    bytes: stored.length,
    hash,
    prev,
    key,
    shipped_at,
  }
}

/** Reads a part to its end as the reader does; what it gives before it throws is the verified prefix. */
export async function readAll(built: BuiltPart): Promise<{ played: Played[]; error: unknown }> {
  const bytes = new Map(built.segments.map(segment => [segment.row.key, segment.stored]))
  const store: Pick<Store, 'get'> = {
    get: async key => {
      const found = bytes.get(key)
      if (found === undefined) throw Object.assign(new Error('no such object'), { code: 'ENOENT' })
      return found
    },
  }
  const reader = new PartReader(built.row, fixedKey, store)
  const played: Played[] = []
  try {
    for (const segment of built.segments) played.push(...(await reader.read(segment.row)))
    reader.finish(built.sealed)
    return { played, error: undefined }
  } catch (error) {
    return { played, error }
  }
}
