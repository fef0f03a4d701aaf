import { createHash } from 'node:crypto'
import { lengthOf, type Pieces } from '../wire/fields.ts'

/** One direction of one open file: its bytes in the order of their offsets, hashed as they pass. */
export class Transfer {
  readonly #hash = createHash('sha256')
  /** Pieces beyond the next offset, in case what lies before them is still on its way. */
  readonly #early = new Map<number, Buffer>()
  #kept = 0
  #first: number | undefined
  #next = 0
  size = 0
  /** The bytes did not follow each other: the hash is of no file. */
  gaps = false
  /** The target refused some of them. */
  failed = false

  take(offset: bigint, pieces: Pieces): void {
    const bytes = lengthOf(pieces)
    if (bytes === 0) return
    this.size += bytes
    const at = Number(offset)
    if (this.#first === undefined) this.#first = this.#next = at
    if (at === this.#next) this.#append(pieces)
    else if (this.gaps) return
    else if (at < this.#next || this.#early.has(at) || !this.#keep(costOf(bytes))) this.#giveUp()
    // A view would keep the whole chunk of the socket alive.
    else this.#early.set(at, Buffer.concat(pieces))
  }

  #keep(cost: number): boolean {
    if (this.#kept + cost > mostEarly.file || keptByAll + cost > mostEarly.process) return false
    this.#kept += cost
    keptByAll += cost
    return true
  }

  #release(cost: number): void {
    this.#kept -= cost
    keptByAll -= cost
  }

  /** The hash will be of no file: nothing is kept for it any more. */
  #giveUp(): void {
    this.gaps = true
    this.#early.clear()
    this.#release(this.#kept)
  }

  #append(pieces: Pieces): void {
    for (const piece of pieces) {
      this.#hash.update(piece)
      this.#next += piece.length
    }
    for (let early = this.#early.get(this.#next); early !== undefined; early = this.#early.get(this.#next)) {
      this.#early.delete(this.#next)
      this.#release(costOf(early.length))
      this.#hash.update(early)
      this.#next += early.length
    }
  }

  /** Call it once. */
  end(): { size: number; offset: number; sha256: string; gaps: boolean; failed: boolean } {
    if (this.#early.size > 0) this.#giveUp()
    const { size, gaps, failed } = this
    return { size, offset: this.#first ?? 0, sha256: this.#hash.digest('hex'), gaps, failed }
  }
}

/** Of one file, and of all files of all sessions. */
const mostEarly = { file: 4 * 1024 * 1024, process: 64 * 1024 * 1024 }
let keptByAll = 0

/** With what a piece costs besides its bytes: many are one byte long. */
function costOf(bytes: number): number {
  return bytes + 256
}
