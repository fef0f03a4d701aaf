/** Counts tries of a key in a window of time, in this process. It holds at most `keys` keys, and forgets the oldest. */
export class Throttle {
  readonly #limit: number
  readonly #window_ms: number
  readonly #keys: number
  readonly #tries = new Map<string, { count: number; until: number }>()

  constructor(options: { limit: number; window_ms: number; keys?: number }) {
    this.#limit = options.limit
    this.#window_ms = options.window_ms
    this.#keys = options.keys ?? 10_000
  }

  /** Counts one try. @returns false when the key has used up its tries. */
  take(key: string): boolean {
    const now = performance.now()
    let entry = this.#tries.get(key)
    if (entry === undefined || entry.until <= now) {
      this.#tries.delete(key)
      if (this.#tries.size >= this.#keys) this.#tries.delete(this.#tries.keys().next().value!)
      entry = { count: 0, until: now + this.#window_ms }
      this.#tries.set(key, entry)
    }
    entry.count++
    return entry.count <= this.#limit
  }
}
