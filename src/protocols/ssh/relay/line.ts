const mostGone = 1024

/** First in, first out. `Array.shift` may move everything behind at each step: 64 Ki that wait would hold the gateway up for seconds. */
export class Line<X extends {}> {
  #items: (X | undefined)[] = []
  #first = 0

  get length(): number {
    return this.#items.length - this.#first
  }

  get first(): X | undefined {
    return this.#items[this.#first]
  }

  /** What is left of the first, in its place. */
  set first(item: X) {
    this.#items[this.#first] = item
  }

  push(item: X): void {
    this.#items.push(item)
  }

  shift(): void {
    if (this.length === 0) return
    this.#items[this.#first++] = undefined
    if (this.#first < mostGone && this.length > 0) return
    this.#items = this.#items.slice(this.#first)
    this.#first = 0
  }

  takeAll(): X[] {
    const all = this.#items.slice(this.#first) as X[]
    this.#items = []
    this.#first = 0
    return all
  }
}
