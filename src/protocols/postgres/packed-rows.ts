import { isUtf8 } from 'node:buffer'
import { BodyError } from './messages.ts'
import { RowWriter } from './sql/row-writer.ts'

const maxValue = 4096
const header = 5
const writtenByHand = 48
const startBytes = 512
/** Rows leave in batches of this size; one that is a little longer still fits into its memory. */
export const batchBytes = 64 * 1024
const longBytes = batchBytes + 8 * 1024
/** Memory of batches that the journal has: new memory for each would make the collector look at the whole heap again and again. */
const spares: Buffer[] = []
const mostSpares = 16
const replacement = '�'

/**
 * Rows as the journal keeps them: a MessagePack array of arrays of texts (the MessagePack specification's `array` and `str`
 * families), copied from the wire without a JavaScript string between. NULL is nil, a value in binary format its hex
 * after `\x`, a long value its beginning.
 */
export class PackedRows {
  readonly #out: RowWriter
  count = 0

  /** @param long there will be a whole batch of them. */
  constructor(long = false) {
    this.#out = new RowWriter(startBytes, long ? (spares.pop() ?? Buffer.allocUnsafeSlow(longBytes)) : undefined)
    this.#out.at = header
  }

  get bytes(): number {
    return this.#out.at
  }

  /**
   * Adds a DataRow; `body` begins at its Int16 count. `isBinary` is null where no column is.
   * @throws BodyError for one that is not whole.
   */
  add(buffer: Buffer, body: number, end: number, isBinary: ((column: number) => boolean) | null): void {
    if (end - body < 2) throw new BodyError('a row without a count')
    const columns = (buffer[body]! << 8) | buffer[body + 1]!
    const out = this.#out
    // A head is no longer than the length on the wire: this is enough for all but what is shown otherwise.
    out.reserve(end - body + 1)
    if (columns < 16) out.bytes[out.at++] = 0x90 | columns
    else {
      out.bytes[out.at++] = 0xdc
      out.bytes[out.at++] = columns >>> 8
      out.bytes[out.at++] = columns
    }
    let at = body + 2
    for (let i = 0; i < columns; i++) {
      if (end - at < 4) throw new BodyError('a row ends too early')
      const length = (buffer[at]! << 24) | (buffer[at + 1]! << 16) | (buffer[at + 2]! << 8) | buffer[at + 3]!
      at += 4
      if (length === -1) {
        out.bytes[out.at++] = 0xc0
        continue
      }
      if (length < 0 || length > end - at) throw new BodyError('a value is longer than its row')
      if (length > maxValue || isBinary?.(i)) {
        this.#long(buffer, at, length, isBinary?.(i) ?? false)
        out.reserve(end - at - length + 1)
      } else if (!this.#text(buffer, at, at + length)) {
        this.#string(buffer.toString('utf8', at, at + length))
        out.reserve(end - at - length + 1)
      }
      at += length
    }
    this.count++
  }

  /** Nobody reads what was taken any more. */
  release(): void {
    const { bytes } = this.#out
    if (bytes.length === longBytes && spares.length < mostSpares) spares.push(bytes)
  }

  /** The whole array, without a copy: add no more afterwards. */
  taken(): Buffer {
    const { bytes } = this.#out
    bytes[0] = 0xdd
    bytes.writeUInt32BE(this.count, 1)
    return this.#out.taken()
  }

  /** Room must have been reserved. @returns false, and writes nothing, where it is not UTF-8. */
  #text(buffer: Buffer, from: number, end: number): boolean {
    const length = end - from
    const out = this.#out
    const head = out.at
    this.#head(length)
    if (length > writtenByHand) {
      out.copy(buffer, from, end)
      if (isUtf8(buffer.subarray(from, end))) return true
      out.at = head
      return false
    }
    const { bytes } = out
    let { at } = out
    let high = 0
    for (let i = from; i < end; i++) {
      const byte = buffer[i]!
      high |= byte
      bytes[at++] = byte
    }
    if (high >= 0x80 && !isUtf8(buffer.subarray(from, end))) {
      out.at = head
      return false
    }
    out.at = at
    return true
  }

  #long(buffer: Buffer, from: number, length: number, binary: boolean): void {
    const cut = from + Math.min(length, maxValue)
    const more = length > maxValue ? `… (${length} bytes)` : ''
    const shown = binary ? '\\x' + buffer.toString('hex', from, cut) : wholeCharacters(buffer, from, cut)
    this.#string(shown + more)
  }

  #string(text: string): void {
    const encoded = Buffer.from(text, 'utf8')
    this.#out.reserve(encoded.length + 3)
    this.#head(encoded.length)
    this.#out.copy(encoded, 0, encoded.length)
  }

  /** Of a `str` of up to 65,535 bytes. Room must have been reserved. */
  #head(length: number): void {
    const out = this.#out
    if (length < 32) out.bytes[out.at++] = 0xa0 | length
    else if (length < 256) {
      out.bytes[out.at++] = 0xd9
      out.bytes[out.at++] = length
    } else {
      out.bytes[out.at++] = 0xda
      out.bytes[out.at++] = length >>> 8
      out.bytes[out.at++] = length
    }
  }
}

/** A character that the cut went through is left out. */
function wholeCharacters(buffer: Buffer, from: number, cut: number): string {
  const text = buffer.toString('utf8', from, cut)
  return text.endsWith(replacement) ? text.slice(0, -1) : text
}
