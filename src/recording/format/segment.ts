import { createCipheriv, createDecipheriv, createHash, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'
import { brotliCompress, brotliDecompress, constants } from 'node:zlib'
import { maxEventBytes } from './event-writer.ts'
import { nonce, tagBytes } from './frames.ts'

/**
 * A segment as it lies in the store: a clear header of 92 bytes, then the payload.
 *
 *   0 `SALLYSEG` · 8 version 1 · 9 kind (1 events, 2 records) · 10 codec (0 none, 1 brotli) · 11 layer (0 masked, 1 originals) · 12 part id (16) ·
 *   28 n (4) · 32 first_seq (8) · 40 last_seq (8) · 48 nonce counter (8) · 56 prev (32) · 88 length of the payload (4)
 *
 * `events`: AES-256-GCM over brotli over length-prefixed events; the header is the additional data. `records`: record frames
 * of the journal, copied as they are. `prev` is the SHA-256 of the part's stored segment before, zeros for the first.
 * INVARIANT: each sealing takes a fresh nonce counter, also when the same events are sealed again after a failure.
 */
export const segmentHeaderBytes = 92
export const segmentTarget = 256 * 1024
export const maxSegmentBytes = maxEventBytes + segmentTarget + 65_536
const magic = Buffer.from('SALLYSEG', 'latin1')
const kinds = { events: 1, records: 2 } as const
const layers = { masked: 0, originals: 1 } as const

/** What the person saw, or what must not be seen: literals that masks hide, what was typed. A layer has its own keys. */
export type Layer = keyof typeof layers

export interface SegmentHeader {
  readonly kind: 'events' | 'records'
  readonly layer: Layer
  readonly part_id: Buffer
  readonly n: number
  readonly first_seq: number
  readonly last_seq: number
  readonly nonce: number
  readonly prev: string // hex, '' for the first
}

/** A segment to be made; of the masked layer where nothing is said. */
export type NewSegment = Omit<SegmentHeader, 'kind' | 'layer'> & { readonly layer?: Layer }

export interface Segment extends SegmentHeader {
  readonly header: Buffer
  readonly payload: Buffer
}

/** Brotli's output comes in pieces of this size: few for a long segment. */
const leastOutput = 16 * 1024
/** 64 KiB: nearly as small as with the largest window, for two thirds of the work (tables and terminals, 2026-11-26). */
const window = 16
const compress = promisify(brotliCompress)
const decompress = promisify(brotliDecompress)

export const hashOf = (stored: Buffer): string => createHash('sha256').update(stored).digest('hex')

/** Compresses and seals events. The event loop is not held: brotli runs on the thread pool. */
export async function sealEvents(key: KeyObject, header: NewSegment, events: Buffer): Promise<Buffer> {
  const params = {
    [constants.BROTLI_PARAM_QUALITY]: 1,
    [constants.BROTLI_PARAM_LGWIN]: window,
    [constants.BROTLI_PARAM_SIZE_HINT]: events.length,
  }
  const packed = await compress(events, { params, chunkSize: Math.max(leastOutput, events.length >> 2) })
  const clear = encodeHeader({ layer: 'masked', ...header, kind: 'events' }, 1, packed.length + tagBytes)
  const cipher = createCipheriv('aes-256-gcm', key, nonce('seg', header.nonce), { authTagLength: tagBytes })
  cipher.setAAD(clear)
  return Buffer.concat([clear, cipher.update(packed), cipher.final(), cipher.getAuthTag()])
}

/** Opens an `events` segment. @throws when it was not sealed with this key for exactly this header. */
export async function openEvents(key: KeyObject, segment: Segment): Promise<Buffer> {
  const end = segment.payload.length - tagBytes
  if (end < 0) throw new RangeError('the payload is shorter than its tag')
  const decipher = createDecipheriv('aes-256-gcm', key, nonce('seg', segment.nonce), { authTagLength: tagBytes })
  decipher.setAAD(segment.header)
  decipher.setAuthTag(segment.payload.subarray(end))
  const packed = Buffer.concat([decipher.update(segment.payload.subarray(0, end)), decipher.final()])
  return decompress(packed, { maxOutputLength: maxSegmentBytes })
}

/** Journal records as they are: whoever copies them needs no key. */
export function copyRecords(header: Omit<NewSegment, 'nonce'>, frames: readonly Buffer[]): Buffer {
  const payload = Buffer.concat(frames)
  return Buffer.concat([
    encodeHeader({ layer: 'masked', ...header, kind: 'records', nonce: 0 }, 0, payload.length),
    payload,
  ])
}

/** @throws RangeError or TypeError, saying what is wrong, for anything that is not exactly one segment. */
export function parseSegment(stored: Buffer): Segment {
  if (stored.length < segmentHeaderBytes) throw new RangeError('it is shorter than a header')
  if (!stored.subarray(0, 8).equals(magic) || stored.readUInt8(8) !== 1)
    throw new TypeError('it is no segment of version 1')
  const kind =
    stored.readUInt8(9) === kinds.events ? 'events' : stored.readUInt8(9) === kinds.records ? 'records' : undefined
  if (kind === undefined) throw new TypeError(`unknown segment kind ${stored.readUInt8(9)}`)
  if (stored.readUInt8(10) !== (kind === 'events' ? 1 : 0)) throw new TypeError('unknown codec')
  if (stored.readUInt8(11) > layers.originals) throw new TypeError('unknown layer')
  for (const at of [32, 40, 48]) if (stored.readUInt16BE(at) !== 0) throw new RangeError('a number is out of range')
  if (stored.readUInt32BE(88) !== stored.length - segmentHeaderBytes)
    throw new RangeError('its length is not what its header says')
  if (kind === 'records' && stored.readUIntBE(50, 6) !== 0)
    throw new RangeError('a copy of records has no nonce of its own')
  const prev = stored.subarray(56, 88)
  return {
    kind,
    layer: stored.readUInt8(11) === layers.originals ? 'originals' : 'masked',
    part_id: stored.subarray(12, 28),
    n: stored.readUInt32BE(28),
    first_seq: stored.readUIntBE(34, 6),
    last_seq: stored.readUIntBE(42, 6),
    nonce: stored.readUIntBE(50, 6),
    prev: prev.every(byte => byte === 0) ? '' : prev.toString('hex'),
    header: stored.subarray(0, segmentHeaderBytes),
    payload: stored.subarray(segmentHeaderBytes),
  }
}

function encodeHeader(header: SegmentHeader, codec: number, length: number): Buffer {
  const bytes = Buffer.alloc(segmentHeaderBytes)
  bytes.set(magic, 0)
  bytes.writeUInt8(1, 8)
  bytes.writeUInt8(kinds[header.kind], 9)
  bytes.writeUInt8(codec, 10)
  bytes.writeUInt8(layers[header.layer], 11)
  bytes.set(header.part_id, 12)
  bytes.writeUInt32BE(header.n, 28)
  bytes.writeUIntBE(header.first_seq, 34, 6)
  bytes.writeUIntBE(header.last_seq, 42, 6)
  bytes.writeUIntBE(header.nonce, 50, 6)
  if (header.prev !== '') bytes.set(Buffer.from(header.prev, 'hex'), 56)
  bytes.writeUInt32BE(length, 88)
  return bytes
}
