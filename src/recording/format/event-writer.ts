import { Packr } from 'msgpackr'
import type { NewRecorded, PackedMember } from '../events.ts'

export const maxEventBytes = 32 * 1024 * 1024
const startBytes = 4 * 1024
const mostKeptBytes = 1024 * 1024
const mostMembers = 0xffff
/** Shorter ASCII text is written faster byte by byte than by a call out of JavaScript. */
const writtenByHand = 64
const exactFrom = 1024

/** For the few values that are no plain data; the rest is written here, in the very bytes that it would give. */
const packr = new Packr({ useRecords: false, encodeUndefinedAsNil: true })

/**
 * Events side by side, each four bytes of length and one MessagePack map (`map 16`; the members of the body, then `t`,
 * `conn`, `seq`, `kind`, then a member that was packed before).
 */
export class EventWriter {
  #bytes = Buffer.allocUnsafeSlow(startBytes)
  #at = 0

  get length(): number {
    return this.#at
  }

  /** What was written. INVARIANT: the next write or reset uses the same memory again. */
  get written(): Buffer {
    return this.#bytes.subarray(0, this.#at)
  }

  /** Forgets the first so many bytes. */
  drop(count: number): void {
    this.#bytes.copyWithin(0, count, this.#at)
    this.#at -= count
  }

  /** Forgets what was written; memory that only a huge event needed goes back. */
  reset(): void {
    this.#at = 0
    if (this.#bytes.length > mostKeptBytes) this.#bytes = Buffer.allocUnsafeSlow(startBytes)
  }

  /** @throws RangeError for an event that is too long or cannot hold its packed member; then nothing of it stays. */
  write(event: NewRecorded, seq: number, t: number): void {
    const start = this.#at
    try {
      this.#reserve(7)
      this.#at += 4
      this.#envelope(event, seq, t)
      const length = this.#at - start - 4
      if (length > maxEventBytes) throw new RangeError(`an event of ${length} bytes is longer than ${maxEventBytes}`)
      this.#bytes.writeUInt32BE(length, start)
    } catch (error) {
      this.#at = start
      throw error
    }
  }

  #envelope({ body, conn, kind, packed }: NewRecorded, seq: number, t: number): void {
    const head = this.#at
    this.#bytes[head] = 0xde
    this.#at += 3
    let members = 4
    for (const key of Object.keys(body)) {
      if (key === 't' || key === 'conn' || key === 'seq' || key === 'kind') continue
      members++
      this.#text(key)
      this.#value((body as Record<string, unknown>)[key])
    }
    this.#text('t')
    this.#number(t)
    this.#text('conn')
    this.#text(conn)
    this.#text('seq')
    this.#number(seq)
    this.#text('kind')
    this.#text(kind)
    if (packed !== undefined) {
      members++
      this.#member(packed, body)
    }
    if (members > mostMembers) throw new RangeError('an event has too many members')
    this.#bytes[head + 1] = members >>> 8
    this.#bytes[head + 2] = members
  }

  #member({ name, bytes }: PackedMember, body: object): void {
    if (Object.hasOwn(body, name) || name === 't' || name === 'conn' || name === 'seq' || name === 'kind')
      throw new RangeError(`an event cannot hold ${name} beside its other members`)
    this.#text(name)
    this.#raw(bytes)
  }

  #value(value: unknown): void {
    if (typeof value === 'string') this.#text(value)
    else if (typeof value === 'number') this.#number(value)
    else if (value === null || value === undefined) this.#byte(0xc0)
    else if (typeof value === 'boolean') this.#byte(value ? 0xc3 : 0xc2)
    else if (Array.isArray(value)) this.#array(value)
    else if (isPlain(value)) this.#map(value)
    else this.#raw(packr.pack(value))
  }

  #array(items: readonly unknown[]): void {
    const { length } = items
    if (length < 16) this.#byte(0x90 | length)
    else this.#head(length < 0x10000 ? 0xdc : 0xdd, length, length < 0x10000 ? 2 : 4)
    for (let i = 0; i < length; i++) this.#value(items[i])
  }

  #map(object: object): void {
    const keys = Object.keys(object)
    if (keys.length > mostMembers) throw new RangeError('an object of an event has too many members')
    this.#head(0xde, keys.length, 2)
    for (const key of keys) {
      this.#text(key)
      this.#value((object as Record<string, unknown>)[key])
    }
  }

  #text(text: string): void {
    const { length } = text
    const most = length > exactFrom ? Buffer.byteLength(text) : 3 * length
    this.#reserve(most + 5)
    if (length <= writtenByHand && this.#ascii(text, length)) return
    // How long the head is depends on the number of bytes: where the guess was short, the text is moved.
    const guess = headOf(length)
    const at = this.#at
    const size = this.#bytes.write(text, at + guess)
    const head = headOf(size)
    if (head !== guess) this.#bytes.copyWithin(at + head, at + guess, at + guess + size)
    if (head === 1) this.#bytes[this.#at++] = 0xa0 | size
    else this.#head(head === 2 ? 0xd9 : head === 3 ? 0xda : 0xdb, size, head - 1)
    this.#at += size
  }

  /** @returns false where it is no ASCII. Room must have been reserved. */
  #ascii(text: string, length: number): boolean {
    const bytes = this.#bytes
    let at = this.#at + (length < 32 ? 1 : 2)
    for (let i = 0; i < length; i++) {
      const c = text.charCodeAt(i)
      if (c > 0x7f) return false
      bytes[at++] = c
    }
    if (length < 32) bytes[this.#at] = 0xa0 | length
    else {
      bytes[this.#at] = 0xd9
      bytes[this.#at + 1] = length
    }
    this.#at = at
    return true
  }

  #number(value: number): void {
    if (value >>> 0 === value) {
      if (value < 0x80) this.#byte(value)
      else if (value < 0x100) this.#head(0xcc, value, 1)
      else if (value < 0x10000) this.#head(0xcd, value, 2)
      else this.#head(0xce, value, 4)
    } else if (value >> 0 === value) {
      if (value >= -0x20) this.#byte(0x100 + value)
      else if (value >= -0x80) this.#head(0xd0, value, 1)
      else if (value >= -0x8000) this.#head(0xd1, value, 2)
      else this.#head(0xd2, value, 4)
    } else {
      this.#reserve(9)
      this.#bytes[this.#at] = 0xcb
      this.#bytes.writeDoubleBE(value, this.#at + 1)
      this.#at += 9
    }
  }

  /** A type byte and a number of so many bytes behind it. */
  #head(type: number, value: number, size: number): void {
    this.#reserve(1 + size)
    this.#bytes[this.#at++] = type
    for (let shift = (size - 1) * 8; shift >= 0; shift -= 8) this.#bytes[this.#at++] = value >>> shift
  }

  #byte(value: number): void {
    this.#reserve(1)
    this.#bytes[this.#at++] = value
  }

  #raw(source: Uint8Array): void {
    this.#reserve(source.length)
    this.#bytes.set(source, this.#at)
    this.#at += source.length
  }

  #reserve(count: number): void {
    if (this.#bytes.length - this.#at >= count) return
    const grown = Buffer.allocUnsafeSlow(Math.max(this.#bytes.length * 2, this.#at + count))
    this.#bytes.copy(grown, 0, 0, this.#at)
    this.#bytes = grown
  }
}

/** Bytes of the head of a text (`fixstr`, `str 8`, `str 16`, `str 32`). */
const headOf = (size: number): number => (size < 32 ? 1 : size < 0x100 ? 2 : size < 0x10000 ? 3 : 5)

function isPlain(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false
  const prototype = Object.getPrototypeOf(value)
  return (prototype === Object.prototype || prototype === null) && !('toJSON' in value)
}
