/**
 * Values by key, bounded by their number and by the characters of the keys. Two generations: when the young one is half of
 * all there may be it becomes the old one, and the old one is forgotten but for what was asked for since. A hit costs one look-up.
 */
export class Generations<V> {
  readonly #halfEntries: number
  readonly #halfCharacters: number
  #young = new Map<string, V>()
  #old = new Map<string, V>()
  #characters = 0

  constructor(bounds: { readonly entries?: number; readonly characters: number }) {
    this.#halfEntries = (bounds.entries ?? Infinity) / 2
    this.#halfCharacters = bounds.characters / 2
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

  /** A key that is longer than a whole generation is not kept: it would push out all the others. */
  set(key: string, value: V): void {
    if (key.length > this.#halfCharacters) return
    if (!this.#young.has(key)) {
      if (this.#young.size + 1 > this.#halfEntries || this.#characters + key.length > this.#halfCharacters) {
        this.#old = this.#young
        this.#young = new Map()
        this.#characters = 0
      }
      this.#characters += key.length
    }
    this.#young.set(key, value)
  }

  clear(): void {
    this.#young = new Map()
    this.#old = new Map()
    this.#characters = 0
  }
}
