import { FieldError, type Pieces } from '../wire/fields.ts'
import { maxPacketBytes } from './packets.ts'

/** Cuts a stream into whole packets, each with its length in front, in the pieces in which it came. Copies nothing but a length in pieces. */
export class PacketReader {
  #parts: Buffer[] = []
  #held = 0

  get held(): number {
    return this.#held
  }

  /** @throws FieldError for a length that no packet has; the stream is over then. */
  push(chunk: Buffer): Pieces[] {
    const packets: Pieces[] = []
    let at = 0
    if (this.#held > 0) {
      const missing = this.#missing(chunk)
      at = Math.min(missing, chunk.length)
      this.#parts.push(chunk.subarray(0, at))
      this.#held += at
      if (at < missing) return packets
      packets.push(this.#parts)
      this.#parts = []
      this.#held = 0
    }
    while (chunk.length - at >= 4) {
      const end = at + 4 + lengthAt(chunk, at)
      if (end > chunk.length) break
      packets.push([chunk.subarray(at, end)])
      at = end
    }
    if (at < chunk.length) this.#parts = [chunk.subarray(at)]
    this.#held = chunk.length - at
    return packets
  }

  /** How many bytes of `chunk` and what follows it belong to the packet that has begun; its length alone is put together. */
  #missing(chunk: Buffer): number {
    if (this.#parts[0]!.length >= 4) return 4 + lengthAt(this.#parts[0]!, 0) - this.#held
    const begun = Buffer.concat([...this.#parts, chunk.subarray(0, 4 - this.#held)])
    return begun.length < 4 ? chunk.length + 1 : 4 + lengthAt(begun, 0) - this.#held
  }
}

function lengthAt(bytes: Buffer, at: number): number {
  const length = bytes.readUInt32BE(at)
  if (length < 1 || length > maxPacketBytes) throw new FieldError(`a packet of ${length} bytes`)
  return length
}
