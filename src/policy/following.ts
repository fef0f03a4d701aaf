import type { KeyObject } from 'node:crypto'
import type { AuditWriter } from '../audit/events.ts'
import type { Database } from '../db/database.ts'
import type { Notices } from '../db/notices.ts'
import { logger } from '../log.ts'
import type { Secret } from '../secret.ts'
import type { Engine } from './engine.ts'
import type { GateOptions } from './gate.ts'
import { countActivation, countLook, countRefusal, countSwitch } from './metrics.ts'
import type { GitOptions } from './repository/git.ts'
import { deliverNotices, pruneNotices } from './repository/notices.ts'
import { Repository } from './repository/repository.ts'
import { lookChannel, Tracker } from './repository/tracker.ts'
import { ShadowSource } from './shadow/source.ts'
import { endShadows } from './shadow/store.ts'

const log = logger('policy')

export interface FollowingOptions {
  readonly database: Database
  readonly notices: Pick<Notices, 'listen'>
  readonly url: Secret
  readonly audit: AuditWriter
  readonly engine: Engine
  readonly process_id: string
  /** Control's private key for revisions and shadows. */
  readonly key: KeyObject
  readonly git: GitOptions
  /** The ref of a candidate that is weighed beside the active policy, where there is one. */
  readonly shadow: GitOptions | undefined
  readonly gate: GateOptions
  readonly first_admins: string
  readonly poll_s: number
}

/** Something to do again and again. */
interface Turn {
  readonly name: string
  readonly every_ms: number
  run(): Promise<unknown>
}

/**
 * Control's side of the policy, put together: who follows the ref and its shadow, steers, ends recoveries and tells the
 * news. `start` looks once; `ticks` are each process's own, `jobs` anybody's.
 */
export class Following implements AsyncDisposable {
  readonly repository: Repository
  readonly #options: FollowingOptions
  readonly #tracker: Tracker

  constructor(options: FollowingOptions) {
    this.#options = options
    this.repository = new Repository({
      ...options,
      onActivated: ({ generation, commit }) => {
        countActivation()
        log.info({ generation, commit }, 'a revision is active')
      },
      onRefused: (commit, problems) => {
        countRefusal(problems)
        log.error({ commit, problems }, 'a commit was refused; the last good revision stays')
      },
    })
    this.#tracker = new Tracker({ repository: this.repository, url: options.url })
  }

  /** Without the repository the revision in force stays: a control plane that cannot start can revoke nothing either. */
  async start(): Promise<void> {
    const { engine, notices } = this.#options
    const switched = () => engine.revision !== null && countSwitch(engine.revision.generation)
    engine.onSwitched(switched)
    switched()
    try {
      await this.#tracker.tick()
    } catch (error) {
      if (engine.revision === null) throw error
      log.error(
        { err: error, generation: engine.revision.generation },
        'no look at the policy repository; it is tried again',
      )
    }
    notices.listen(lookChannel, payload => (payload === null ? undefined : this.#tracker.pushed()))
  }

  /** @param tell how people hear of the news. */
  async ticks(tell: (message: string) => Promise<void>): Promise<Turn[]> {
    const { database, poll_s } = this.#options
    return [
      { name: 'policy', every_ms: poll_s * 1000, run: () => this.#look() },
      { name: 'recovery', every_ms: 1_000, run: () => this.repository.endDueRecovery() },
      { name: 'policy notices', every_ms: 1_000, run: () => deliverNotices(database, tell) },
      ...(await this.#shadowTicks()),
    ]
  }

  jobs(): Turn[] {
    return [{ name: 'policy-notices', every_ms: 86_400_000, run: () => pruneNotices(this.#options.database) }]
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tracker[Symbol.asyncDispose]()
  }

  async #look(): Promise<void> {
    if ((await this.#tracker.tick()) !== null) countLook()
  }

  async #shadowTicks(): Promise<Turn[]> {
    const { database, shadow, gate, key, engine, poll_s } = this.#options
    if (shadow === undefined) {
      await endShadows(database)
      return []
    }
    const source = new ShadowSource({ database, git: shadow, gate, key, engine })
    const leading = (run: () => Promise<void>) => async () => (this.#tracker.follows ? run() : undefined)
    return [
      { name: 'shadow', every_ms: poll_s * 1000, run: leading(() => source.poll()) },
      { name: 'shadow report', every_ms: 10_000, run: leading(() => source.report()) },
    ]
  }
}
