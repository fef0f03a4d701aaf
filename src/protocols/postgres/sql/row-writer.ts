const joinedByHand = 48

/** Bytes that gather side by side. What is written stands in `bytes` up to `at`. */
export class RowWriter {
  bytes: Buffer
  at = 0

  constructor(size: number, memory: Buffer = Buffer.allocUnsafe(size)) {
    this.bytes = memory
  }

  /** Makes room for so many bytes more. */
  reserve(count: number): void {
    if (this.bytes.length - this.at >= count) return
    const grown = Buffer.allocUnsafe(Math.max(this.bytes.length * 2, this.at + count))
    this.bytes.copy(grown, 0, 0, this.at)
    this.bytes = grown
  }

  /** Room must have been reserved. */
  int32(value: number): void {
    const { bytes, at } = this
    bytes[at] = value >>> 24
    bytes[at + 1] = value >>> 16
    bytes[at + 2] = value >>> 8
    bytes[at + 3] = value
    this.at = at + 4
  }

  /** Room must have been reserved. A few bytes are moved faster one by one than by a call out of JavaScript. */
  copy(source: Uint8Array, from: number, end: number): void {
    const { bytes } = this
    let { at } = this
    if (end - from <= joinedByHand) for (let i = from; i < end; i++) bytes[at++] = source[i]!
    else {
      bytes.set(source.subarray(from, end), at)
      at += end - from
    }
    this.at = at
  }

  /** What was written, without a copy: write no more afterwards. */
  taken(): Buffer {
    return this.bytes.subarray(0, this.at)
  }
}
