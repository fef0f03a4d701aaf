import { type CipherGCM, createCipheriv, createDecipheriv, type KeyObject } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { maxEventBytes } from './event-writer.ts'

/**
 * The journal file: `SALLYJNL`, version, four zero bytes; then frames. A frame is a clear header of 41 bytes, a payload, and
 * CRC-32 over both, by which recovery finds a torn write without any key.
 *
 *   0 kind · 1 part id (16) · 17 counter (8) · 25 first_seq (8) · 33 count (4) · 37 length of the payload (4)
 *
 * INVARIANT: a record's header is its AEAD's additional data and its counter is the nonce; under one part key a counter is
 * used once. Segments (segment.ts) are sealed under the same key in the nonce domain `seg`.
 */
export const journalMagic = Buffer.concat([Buffer.from('SALLYJNL', 'latin1'), Buffer.from([0, 0, 0, 1, 0, 0, 0, 0])])
export const headerBytes = 41
export const tagBytes = 16
const crcBytes = 4
export const maxPayloadBytes = maxEventBytes + 1024

export const frameKind = { part: 1, record: 2, end: 3 } as const
export type FrameKind = (typeof frameKind)[keyof typeof frameKind]

export interface FrameHeader {
  readonly kind: FrameKind
  readonly part_id: Buffer // 16 random bytes
  readonly counter: number
  readonly first_seq: number
  readonly count: number // events in a record, so that recovery knows the last seq without the key
  readonly length: number
}

export interface Frame extends FrameHeader {
  readonly bytes: Buffer // header, payload and CRC as they lie in the journal
}

export type NonceDomain = 'rec' | 'seg'

/** 12 bytes: the domain, a zero byte, the counter. */
export function nonce(domain: NonceDomain, counter: number): Buffer {
  const bytes = Buffer.alloc(12)
  bytes.set(domains[domain])
  bytes.writeUIntBE(counter, 6, 6)
  return bytes
}

const domains = { rec: Buffer.from('rec', 'latin1'), seg: Buffer.from('seg', 'latin1') } as const

/** The cipher of the record with this counter. INVARIANT: it seals one record. It can be made before there is anything to seal. */
export function recordCipher(key: KeyObject, counter: number): CipherGCM {
  return createCipheriv('aes-256-gcm', key, nonce('rec', counter), { authTagLength: tagBytes })
}

export const recordBytes = (plain: number): number => headerBytes + plain + tagBytes + crcBytes

/** Seals the events of one write into a record frame, which takes the beginning of `space`. */
export function sealRecord(
  cipher: CipherGCM,
  header: Omit<FrameHeader, 'kind' | 'length'>,
  plain: Buffer,
  space: Buffer = Buffer.allocUnsafe(recordBytes(plain.length)),
): Buffer {
  const length = plain.length + tagBytes
  const frame = space.subarray(0, recordBytes(plain.length))
  writeHeader(frame, frameKind.record, header, length)
  cipher.setAAD(frame.subarray(0, headerBytes))
  frame.set(cipher.update(plain), headerBytes)
  cipher.final()
  frame.set(cipher.getAuthTag(), headerBytes + plain.length)
  return closeFrame(frame)
}

/** Opens a record frame. @throws when it was not sealed with this key for exactly this header. */
export function openRecord(key: KeyObject, frame: Frame): Buffer {
  if (frame.kind !== frameKind.record || frame.length < tagBytes) throw new TypeError('not a record')
  const end = headerBytes + frame.length
  const decipher = createDecipheriv('aes-256-gcm', key, nonce('rec', frame.counter), { authTagLength: tagBytes })
  decipher.setAAD(frame.bytes.subarray(0, headerBytes))
  decipher.setAuthTag(frame.bytes.subarray(end - tagBytes, end))
  return Buffer.concat([decipher.update(frame.bytes.subarray(headerBytes, end - tagBytes)), decipher.final()])
}

/** A frame whose payload is clear: what a part is (`part`), or how it ended (`end`). */
export function clearFrame(kind: FrameKind, partId: Buffer, firstSeq: number, payload: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(headerBytes + payload.length + crcBytes)
  writeHeader(frame, kind, { part_id: partId, counter: 0, first_seq: firstSeq, count: 0 }, payload.length)
  frame.set(payload, headerBytes)
  return closeFrame(frame)
}

export const payloadOf = (frame: Frame): Buffer => frame.bytes.subarray(headerBytes, headerBytes + frame.length)

/** A whole frame, how many bytes are needed before one can be told, or why there is none here. */
export type Parsed = { readonly frame: Frame } | { readonly need: number } | { readonly bad: string }

/** Reads the frame that starts at `at`. Bytes are judged whole: nothing is believed before the CRC fits. */
export function parseFrame(bytes: Buffer, at: number): Parsed {
  if (bytes.length - at < headerBytes) return { need: headerBytes }
  const kind = bytes.readUInt8(at)
  if (kind !== frameKind.part && kind !== frameKind.record && kind !== frameKind.end)
    return { bad: `unknown frame kind ${kind}` }
  const length = bytes.readUInt32BE(at + 37)
  if (length > maxPayloadBytes) return { bad: `a frame of ${length} bytes is longer than ${maxPayloadBytes}` }
  const total = headerBytes + length + crcBytes
  if (bytes.length - at < total) return { need: total }
  const whole = bytes.subarray(at, at + total)
  if (crc32(whole.subarray(0, total - crcBytes)) !== whole.readUInt32BE(total - crcBytes))
    return { bad: 'the CRC does not fit' }
  if (whole.readUInt16BE(17) !== 0 || whole.readUInt16BE(25) !== 0) return { bad: 'a counter is out of range' }
  return {
    frame: {
      kind,
      part_id: whole.subarray(1, 17),
      counter: whole.readUIntBE(19, 6),
      first_seq: whole.readUIntBE(27, 6),
      count: whole.readUInt32BE(33),
      length,
      bytes: whole,
    },
  }
}

function writeHeader(
  frame: Buffer,
  kind: FrameKind,
  header: Omit<FrameHeader, 'kind' | 'length'>,
  length: number,
): void {
  frame[0] = kind
  frame.set(header.part_id, 1)
  writeUInt64(frame, 17, header.counter)
  writeUInt64(frame, 25, header.first_seq)
  frame.writeUInt32BE(header.count, 33)
  frame.writeUInt32BE(length, 37)
}

/** A whole number below 2^48. */
function writeUInt64(frame: Buffer, at: number, value: number): void {
  frame.writeUInt32BE(Math.floor(value / 2 ** 32), at)
  frame.writeUInt32BE(value % 2 ** 32, at + 4)
}

function closeFrame(frame: Buffer): Buffer {
  const end = frame.length - crcBytes
  frame.writeUInt32BE(crc32(frame.subarray(0, end)), end)
  return frame
}
