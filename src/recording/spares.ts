/**
 * Memory that is used again: new memory for each use would make the collector look at the whole heap again and again, for
 * it counts what lies outside of the heap. What a piece holds is not cleared.
 */
export class Spares {
  readonly #bytes: number
  readonly #most: number
  readonly #kept: Buffer[] = []

  /** Pieces of so many bytes; `most` of them are kept while nobody uses them. */
  constructor(bytes: number, most: number) {
    this.#bytes = bytes
    this.#most = most
  }

  /** A piece of at least so many bytes; a larger one than usual is made for this use alone. */
  take(least: number): Buffer {
    if (least > this.#bytes) return Buffer.allocUnsafeSlow(least)
    return this.#kept.pop() ?? Buffer.allocUnsafeSlow(this.#bytes)
  }

  /** INVARIANT: nobody reads or writes the piece any more. */
  give(piece: Buffer): void {
    if (piece.length === this.#bytes && this.#kept.length < this.#most) this.#kept.push(piece)
  }
}
