import type { Conversation } from './conversation.ts'
import { S } from './messages.ts'
import type { ResultRecord } from './results.ts'
import type { RowMask } from './sql/contract.ts'
import { RowWriter } from './sql/row-writer.ts'

const packBytes = 64 * 1024

/**
 * What goes on to the client, in order: what needs no change as slices of the chunk it came in, masked rows side by side,
 * and messages in the place of others.
 */
export class Onward {
  readonly #c: Conversation
  #chunk: Buffer | null = null
  #from = 0
  #to = 0
  /** Masked rows on their way. */
  #packed: RowWriter | null = null
  #rowAt = 0

  constructor(conversation: Conversation) {
    this.#c = conversation
  }

  /** Passes bytes on as they are; what lies side by side goes as one slice. */
  pass(buffer: Buffer, start: number, end: number): undefined {
    if (this.#chunk === buffer && this.#to === start) this.#to = end
    else {
      this.flush()
      this.#chunk = buffer
      this.#from = start
      this.#to = end
    }
  }

  replace(bytes: Buffer): undefined {
    this.flush()
    this.#c.down.push(bytes)
  }

  /** Writes one masked DataRow behind the others. INVARIANT: nothing stays of a row that cannot be masked. */
  maskRow(mask: RowMask, buffer: Buffer, start: number, end: number): void {
    if (this.#packed === null || this.#packed.at + end - start > packBytes) {
      this.flush()
      this.#packed = new RowWriter(Math.max(end - start, Math.min(packBytes, buffer.length - start)) + 64)
    }
    const out = this.#packed
    const at = out.at
    try {
      out.reserve(5)
      out.bytes[at] = S.dataRow
      out.at = at + 5
      mask.write(buffer, start + 5, end, out)
      out.bytes.writeInt32BE(out.at - at - 1, at + 1)
    } catch (error) {
      out.at = at
      throw error
    }
    this.#rowAt = at
  }

  /** Records the row that was masked last. */
  collectRow(result: ResultRecord): void {
    const { bytes, at } = this.#packed!
    result.collect(bytes, this.#rowAt + 5, at)
  }

  flush(): undefined {
    if (this.#packed !== null) {
      if (this.#packed.at > 0) this.#c.down.push(this.#packed.taken())
      this.#packed = null
    }
    if (this.#chunk === null) return
    const isWhole = this.#from === 0 && this.#to === this.#chunk.length
    this.#c.down.push(isWhole ? this.#chunk : this.#chunk.subarray(this.#from, this.#to))
    this.#chunk = null
  }
}
