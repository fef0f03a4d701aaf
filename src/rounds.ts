/**
 * Something done again and again in one process, such as a look at the database. INVARIANT: one round after the other, so
 * that what an older one saw never comes after what a newer one did; and who asks while one is under way gets the next one,
 * which all who ask meanwhile share, for the one under way may have looked already.
 */
export class Rounds {
  readonly #round: () => Promise<void>
  #underWay: Promise<void> | undefined
  /** Asked for, and not begun. */
  #next: Promise<void> | undefined

  constructor(round: () => Promise<void>) {
    this.#round = round
  }

  get isIdle(): boolean {
    return this.#underWay === undefined && this.#next === undefined
  }

  /** Settles as a round does that begins with this call or after it. One that fails keeps no other from being run. */
  run(): Promise<void> {
    if (this.#next !== undefined) return this.#next
    if (this.#underWay === undefined) return this.#begin()
    const begin = () => this.#begin()
    this.#next = this.#underWay.then(begin, begin)
    return this.#next
  }

  /** When nothing is under way and nothing is asked for. It does not throw: whoever asked is told. */
  async over(): Promise<void> {
    for (;;) {
      const last = this.#next ?? this.#underWay
      if (last === undefined) return
      await last.catch(() => {})
    }
  }

  #begin(): Promise<void> {
    this.#next = undefined
    this.#underWay = this.#round().finally(() => {
      this.#underWay = undefined
    })
    return this.#underWay
  }
}
