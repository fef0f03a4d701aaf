import { SessionLock } from '../../audit/lock.ts'
import type { Database } from '../../db/database.ts'
import { notify } from '../../db/notices.ts'
import type { Secret } from '../../secret.ts'
import type { PollOutcome, Repository } from './repository.ts'

const lockId = [0x5a11, 5] as const
/** Whoever hears it and follows the repository looks at once. */
export const lookChannel = 'policy_look'

/** One control of a deployment follows the tracked ref: whoever holds the lock. When it goes, another one takes over. */
export class Tracker implements AsyncDisposable {
  readonly #repository: Pick<Repository, 'poll' | 'look'>
  readonly #lock: SessionLock

  /** `url`: of the same database; the lock has a connection of its own. */
  constructor(options: { readonly repository: Pick<Repository, 'poll' | 'look'>; readonly url: Secret }) {
    this.#repository = options.repository
    this.#lock = new SessionLock(options.url, lockId)
  }

  /** Whether this process is the one that follows. */
  get follows(): boolean {
    return this.#lock.held
  }

  /** Looks at the repository, where this process is the one that does. @returns null where another one is. */
  async tick(): Promise<PollOutcome | null> {
    return (await this.#lock.take()) ? this.#repository.poll() : null
  }

  /** Something was pushed: a look that is under way may have missed it. Who lost the lock without noticing finds out here. */
  async pushed(): Promise<void> {
    if (await this.#lock.take()) await this.#repository.look()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lock.release()
  }
}

/** Wakes whoever follows the repository, in whichever process it is. */
export async function askForLook({ db }: Database): Promise<void> {
  await notify(db, lookChannel, 'look')
}
