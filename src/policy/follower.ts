import type { Database } from '../db/database.ts'
import { logger } from '../log.ts'
import { Rounds } from '../rounds.ts'
import type { Engine } from './engine.ts'
import { behindFor } from './repository/policy-state.ts'
import { newestBundle } from './revision-store.ts'

const log = logger('policy')
const switchWithinMs = 5000
const deafAfterMs = 30_000

/**
 * Keeps a process on the newest revision: woken by NOTIFY `revisions` (main.ts calls `poll`), and looking by itself at
 * least every second. INVARIANT: a process that has not switched 5 s after an activation decides nothing any more, and one
 * that has had no answer for 30 s, also where a look just hangs, does not know: it decides nothing until it does.
 */
export class RevisionFollower {
  readonly #database: Database
  readonly #engine: Engine
  readonly #everyMs: number
  readonly #deafAfterMs: number
  readonly #now: () => number
  readonly #maxAge_s: number | undefined
  #heardAt = performance.now()
  #deaf = false
  #timer: NodeJS.Timeout | undefined
  readonly #looks = new Rounds(() => this.#look())
  #complained: number | undefined

  /** `now`: the database's clock, for the end of a recovery. `maxAge_s`: how long a revision may be behind the tracked ref. */
  constructor(options: {
    database: Database
    engine: Engine
    everyMs?: number
    deafAfterMs?: number
    now?: () => number
    maxAge_s?: number | undefined
  }) {
    this.#database = options.database
    this.#engine = options.engine
    this.#everyMs = options.everyMs ?? 1000
    this.#deafAfterMs = options.deafAfterMs ?? deafAfterMs
    this.#now = options.now ?? Date.now
    this.#maxAge_s = options.maxAge_s
  }

  /** Why this process is not ready to decide, or null. */
  get notReady(): string | null {
    if (this.#engine.revision === null) return 'no policy revision is active'
    return this.#engine.stale
  }

  /** Loads what is there, then looks again every second until `stop`. */
  async start(): Promise<void> {
    await this.poll()
    this.#timer ??= setInterval(() => {
      void this.poll()
      this.#listen()
      this.#endRecovery()
    }, this.#everyMs)
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    this.#timer = undefined
    await this.#looks.over()
  }

  /** Looks now. A call during a look gets one more. It does not throw. */
  poll(): Promise<void> {
    return this.#looks.run()
  }

  async #look(): Promise<void> {
    try {
      await this.#load()
    } catch (error) {
      log.error({ err: error }, 'the newest policy revision could not be read')
    }
  }

  #listen(): void {
    if (this.#deaf || performance.now() - this.#heardAt < this.#deafAfterMs) return
    this.#deaf = true
    this.#engine.markStale('whether a newer revision is active could not be learned from the database for a while')
  }

  /** INVARIANT: nothing is decided by a recovery after its time, also where no control is there to end it. */
  #endRecovery(): void {
    const ends_at_ms = this.#engine.revision?.ends_at_ms
    if (ends_at_ms === undefined || this.#now() < ends_at_ms) return
    this.#engine.markStale('the recovery is over, and what was in force before is not back yet')
  }

  /** Where a deployment says how long the last good revision may stand in for a newer one: then nobody new is let in. */
  async #judgeAge(): Promise<void> {
    if (this.#maxAge_s === undefined) return
    const behind_ms = await behindFor(this.#database.db)
    const aged = behind_ms === null || behind_ms > this.#maxAge_s * 1000
    const since = behind_ms === null ? 'ever' : `for ${Math.floor(behind_ms / 1000)} s`
    this.#engine.markAged(
      aged
        ? `the policy in force has not been what its repository names ${since}, and policy.max_age_s is ${this.#maxAge_s}`
        : null,
    )
  }

  async #load(): Promise<void> {
    const found = await newestBundle(this.#database.db, this.#engine.revision?.generation ?? 0)
    await this.#judgeAge()
    this.#heardAt = performance.now()
    if (this.#deaf) this.#engine.markStale(null)
    this.#deaf = false
    if (found === undefined) return this.#endRecovery()
    try {
      this.#engine.load(found)
      this.#endRecovery() // one that is over is not begun with either
      log.info({ generation: found.generation, commit: found.commit, digest: found.digest }, 'policy revision loaded')
    } catch (error) {
      if (this.#complained !== found.generation)
        log.error({ err: error, generation: found.generation }, 'a policy revision was refused by this process')
      this.#complained = found.generation
      if (found.age_ms > switchWithinMs)
        this.#engine.markStale(`revision ${found.generation} is active, and this process could not load it`)
    }
  }
}
