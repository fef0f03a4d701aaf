/** Answers by key, least recently used first out, bounded by the characters of the keys. */
export class DecisionCache<V> {
  readonly #entries = new Map<string, V>()
  readonly #maxChars: number
  #chars = 0

  constructor(maxChars = 4 << 20) {
    this.#maxChars = maxChars
  }

  get size(): number {
    return this.#entries.size
  }

  get(key: string): V | undefined {
    const found = this.#entries.get(key)
    if (found === undefined) return undefined
    this.#entries.delete(key)
    this.#entries.set(key, found)
    return found
  }

  set(key: string, value: V): void {
    if (this.#entries.has(key) || key.length > this.#maxChars) return
    this.#entries.set(key, value)
    this.#chars += key.length
    for (const oldest of this.#entries.keys()) {
      if (this.#chars <= this.#maxChars) return
      this.#entries.delete(oldest)
      this.#chars -= oldest.length
    }
  }

  clear(): void {
    this.#entries.clear()
    this.#chars = 0
  }
}
