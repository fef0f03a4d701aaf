import { WireError } from './pkt-line.ts'

/** Steps over lines without looking into them, to the next flush: what a fetch brings is much. */
export class PktSkipper {
  #left = 0
  #digits = ''

  /** @returns how many bytes belong to this answer, when its flush is among them; else undefined. @throws WireError */
  skip(bytes: Buffer): number | undefined {
    let at = 0
    while (at < bytes.length) {
      if (this.#left > 0) {
        const step = Math.min(this.#left, bytes.length - at)
        this.#left -= step
        at += step
        continue
      }
      const step = Math.min(4 - this.#digits.length, bytes.length - at)
      this.#digits += bytes.toString('latin1', at, at + step)
      at += step
      if (this.#digits.length < 4) return undefined
      if (!/^[0-9a-f]{4}$/i.test(this.#digits)) throw new WireError('a line whose length is no number')
      const length = Number.parseInt(this.#digits, 16)
      this.#digits = ''
      if (length === 0) return at
      if (length === 3) throw new WireError('a line of length 3')
      if (length > 3) this.#left = length - 4
    }
    return undefined
  }
}
