import { setImmediate as turn } from 'node:timers/promises'

interface Waiting<Q, A> {
  readonly question: Q
  readonly resolve: (answer: A) => void
  readonly reject: (why: unknown) => void
}

export interface Bounds {
  /** Questions of one go. */
  readonly most: number
  /**
   * How those of a go that failed are asked again. `halves`: one half after the other, where a go is dear and one of them is at
   * fault (a run of a program). `each`: by themselves and all at once, where it may as well be the other side that is away, and
   * nobody may wait for the time-outs of all others (a transaction).
   */
  readonly again: 'halves' | 'each'
  /** Nobody waits any more: nothing is asked again. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Questions of many callers, answered in one go. It is asked at the end of this turn of the event loop, and those that come
 * meanwhile go into the next: alone nobody waits, and hundreds at once cost a few. Who fails takes no other with it.
 */
export class Together<Q, A> {
  readonly #answer: (questions: readonly Q[]) => Promise<readonly A[]>
  readonly #bounds: Bounds
  readonly #waiting: Waiting<Q, A>[] = []
  #runs = false

  /** `answer`: in the order of the questions. */
  constructor(answer: (questions: readonly Q[]) => Promise<readonly A[]>, bounds: Bounds) {
    this.#answer = answer
    this.#bounds = bounds
  }

  ask(question: Q): Promise<A> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ question, resolve, reject })
      if (!this.#runs) void this.#run()
    })
  }

  async #run(): Promise<void> {
    this.#runs = true
    while (this.#waiting.length > 0) {
      await turn() // others are about to ask, and sockets are closed first
      await this.#go(this.#waiting.splice(0, this.#bounds.most))
    }
    this.#runs = false
  }

  async #go(all: readonly Waiting<Q, A>[]): Promise<void> {
    try {
      const answers = await this.#answer(all.map(each => each.question))
      for (const [i, { resolve }] of all.entries()) resolve(answers[i] as A)
    } catch (error) {
      const { again, signal } = this.#bounds
      if (all.length === 1 || signal?.aborted === true) for (const { reject } of all) reject(error)
      else if (again === 'each') await Promise.all(all.map(each => this.#go([each])))
      else for (const half of [all.slice(0, all.length >> 1), all.slice(all.length >> 1)]) await this.#go(half)
    }
  }
}
