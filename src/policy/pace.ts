import { setImmediate as nextTurn } from 'node:timers/promises'

const slice_ms = 10

/**
 * Many questions for one answer, in the process that decides everybody's calls: after each slice of time everybody else has
 * a turn, and when its own time is used up it ends. A policy may make each question cost milliseconds.
 */
export class Pace {
  readonly #longest_ms: number
  #spent_ms = 0
  #since = performance.now()

  constructor(longest_ms: number) {
    this.#longest_ms = longest_ms
  }

  get over(): boolean {
    return this.#spent_ms >= this.#longest_ms
  }

  /** Asked before each question. @returns false where the time is used up. */
  async goOn(): Promise<boolean> {
    const took_ms = performance.now() - this.#since
    if (took_ms < slice_ms || this.over) return !this.over
    this.#spent_ms += took_ms
    await nextTurn()
    this.#since = performance.now()
    return !this.over
  }
}
