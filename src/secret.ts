import { createHash, timingSafeEqual } from 'node:crypto'
import { inspect } from 'node:util'

/** A value that must never be printed: every way to turn it into text answers `[secret]`. */
export class Secret {
  readonly #value: string

  constructor(value: string) {
    this.#value = value
  }

  /** The text itself. Call it only where the bytes leave for the place they belong to. */
  reveal(): string {
    return this.#value
  }

  /** Constant-time comparison with a candidate from outside. */
  equals(candidate: string): boolean {
    return timingSafeEqual(sha256(this.#value), sha256(candidate))
  }

  toString(): string {
    return '[secret]'
  }

  toJSON(): string {
    return '[secret]'
  }

  [Symbol.toPrimitive](): string {
    return '[secret]'
  }

  [inspect.custom](): string {
    return '[secret]'
  }
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text, 'utf8').digest()
}
