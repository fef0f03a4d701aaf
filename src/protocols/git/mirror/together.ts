import { setImmediate as turn } from 'node:timers/promises'

interface Waiting<Q, A> {
  readonly question: Q
  readonly resolve: (answer: A) => void
  readonly reject: (why: unknown) => void
}

/**
 * Questions of many that one run of git answers: those that come while a run is under way go into the next one. A run that
 * fails is asked again in halves, so that nobody pays for the question of another.
 */
export class Together<Q, A> {
  readonly #answer: (questions: readonly Q[]) => Promise<readonly A[]>
  readonly #most: number
  readonly #signal: AbortSignal | undefined
  readonly #waiting: Waiting<Q, A>[] = []
  #runs = false

  constructor(
    answer: (questions: readonly Q[]) => Promise<readonly A[]>,
    { most, signal }: { readonly most: number; readonly signal?: AbortSignal | undefined },
  ) {
    this.#answer = answer
    this.#most = most
    this.#signal = signal
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
      await turn() // others are about to ask
      await this.#one(this.#waiting.splice(0, this.#most))
    }
    this.#runs = false
  }

  async #one(all: readonly Waiting<Q, A>[]): Promise<void> {
    try {
      const answers = await this.#answer(all.map(each => each.question))
      for (const [i, { resolve }] of all.entries()) resolve(answers[i]!)
    } catch (error) {
      if (all.length === 1 || this.#signal?.aborted === true) {
        for (const { reject } of all) reject(error)
        return
      }
      await this.#one(all.slice(0, all.length >> 1))
      await this.#one(all.slice(all.length >> 1))
    }
  }
}
