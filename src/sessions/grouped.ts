import { setImmediate as turn } from 'node:timers/promises'

interface Waiting<I, R> {
  readonly item: I
  readonly resolve: (result: R) => void
  readonly reject: (error: unknown) => void
}

/**
 * Writes what comes together in one transaction. The first is written at the end of this turn of the event loop, what
 * comes meanwhile goes in the next one: alone nothing waits, and hundreds at once cost a few transactions. A group that
 * fails is tried one by one, so that none takes the others with it.
 */
export class Grouped<I, R> {
  readonly #write: (items: readonly I[]) => Promise<readonly R[]>
  readonly #most: number
  #waiting: Waiting<I, R>[] = []
  #running = false

  constructor(write: (items: readonly I[]) => Promise<readonly R[]>, most = 100) {
    this.#write = write
    this.#most = most
  }

  add(item: I): Promise<R> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject })
      void this.#run()
    })
  }

  async #run(): Promise<void> {
    if (this.#running) return
    this.#running = true
    await turn() // sockets are closed first
    while (this.#waiting.length > 0) await this.#settle(this.#waiting.splice(0, this.#most))
    this.#running = false
  }

  async #settle(group: readonly Waiting<I, R>[]): Promise<void> {
    try {
      const results = await this.#write(group.map(each => each.item))
      for (const [n, each] of group.entries()) each.resolve(results[n] as R)
    } catch (error) {
      if (group.length === 1) group[0]!.reject(error)
      else await Promise.all(group.map(each => this.#settle([each])))
    }
  }
}
