import { createHash } from 'node:crypto'

/** One direction of one open file: its bytes in the order of their offsets, hashed as they pass. */
export class Transfer {
  readonly #hash = createHash('sha256')
  /** Pieces beyond the next offset, in case what lies before them is still on its way. */
  readonly #early = new Map<number, Buffer>()
  #earlyBytes = 0
  #first: number | undefined
  #next = 0
  size = 0
  /** The bytes did not follow each other: the hash is of no file. */
  gaps = false
  /** The target refused some of them. */
  failed = false

  take(offset: bigint, bytes: Buffer): void {
    if (bytes.length === 0) return
    this.size += bytes.length
    const at = Number(offset)
    if (this.#first === undefined) this.#first = this.#next = at
    if (at === this.#next) this.#append(bytes)
    else if (at < this.#next || this.#early.has(at) || this.#earlyBytes + bytes.length > maxEarlyBytes) this.gaps = true
    else {
      // A view would keep the whole chunk of the socket alive.
      this.#early.set(at, Buffer.from(bytes))
      this.#earlyBytes += bytes.length
    }
  }

  #append(bytes: Buffer): void {
    this.#hash.update(bytes)
    this.#next += bytes.length
    for (let early = this.#early.get(this.#next); early !== undefined; early = this.#early.get(this.#next)) {
      this.#early.delete(this.#next)
      this.#earlyBytes -= early.length
      this.#hash.update(early)
      this.#next += early.length
    }
  }

  /** Call it once. */
  end(): { size: number; offset: number; sha256: string; gaps: boolean; failed: boolean } {
    const gaps = this.gaps || this.#early.size > 0
    this.#early.clear()
    return { size: this.size, offset: this.#first ?? 0, sha256: this.#hash.digest('hex'), gaps, failed: this.failed }
  }
}

const maxEarlyBytes = 4 * 1024 * 1024
