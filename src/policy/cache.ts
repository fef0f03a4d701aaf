/**
 * Answers by key, bounded by the characters of the keys. Two generations: when the young one is half of all there may be it
 * becomes the old one, and the old one is forgotten but for what was asked for since. A hit costs one look-up.
 */
export class DecisionCache<V> {
  readonly #halfChars: number
  #young = new Map<string, V>()
  #old = new Map<string, V>()
  #chars = 0

  constructor(maxChars = 4 << 20) {
    this.#halfChars = maxChars / 2
  }

  get size(): number {
    let size = this.#young.size
    for (const key of this.#old.keys()) if (!this.#young.has(key)) size++
    return size
  }

  get(key: string): V | undefined {
    const young = this.#young.get(key)
    if (young !== undefined) return young
    const old = this.#old.get(key)
    if (old !== undefined) this.set(key, old)
    return old
  }

  set(key: string, value: V): void {
    if (this.#young.has(key) || key.length > this.#halfChars) return
    if (this.#chars + key.length > this.#halfChars) {
      this.#old = this.#young
      this.#young = new Map()
      this.#chars = 0
    }
    this.#young.set(key, value)
    this.#chars += key.length
  }

  clear(): void {
    this.#young = new Map()
    this.#old = new Map()
    this.#chars = 0
  }
}
