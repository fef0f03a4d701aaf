import type { Moderation } from '../protocol.ts'

/** What policy demands: who may moderate, and for how long a session waits for one. */
export interface ModerationTerms {
  /** Groups and ids of subjects; empty: nobody is demanded. */
  readonly moderators: readonly string[]
  readonly idle_s: number
}

/** What was read from the database holds for so long where nothing newer could be read. */
const trustedMs = 4_000

/**
 * Whether a session of this process may go on, as far as moderators decide it.
 * INVARIANT: a session that needs a moderator begins waiting, and waits again when nothing is known for some seconds.
 */
export class SessionModeration implements Moderation {
  readonly #session: string
  readonly #listeners = new Set<(state: 'watched' | 'waiting') => void>()
  #terms: ModerationTerms
  #watchedUntil = Number.NEGATIVE_INFINITY
  #waitingSince: number
  #state: 'watched' | 'waiting'

  constructor(session: string, terms: ModerationTerms) {
    this.#session = session
    this.#terms = terms
    this.#state = this.required ? 'waiting' : 'watched'
    this.#waitingSince = performance.now()
  }

  get required(): boolean {
    return this.#terms.moderators.length > 0
  }

  get terms(): ModerationTerms {
    return this.#terms
  }

  get message(): string {
    return `waiting for a moderator (${this.#terms.moderators.join(', ')}): one of them runs \`sallyport tail ${this.#session}\``
  }

  state(): 'watched' | 'waiting' {
    return this.required && performance.now() > this.#watchedUntil ? 'waiting' : 'watched'
  }

  onChange(run: (state: 'watched' | 'waiting') => void): Disposable {
    this.#listeners.add(run)
    return { [Symbol.dispose]: () => this.#listeners.delete(run) }
  }

  /** Whether nobody watched for longer than policy lets a session be idle. */
  get waitedTooLong(): boolean {
    return this.state() === 'waiting' && performance.now() - this.#waitingSince > this.#terms.idle_s * 1000
  }

  /** Terms of a new decision. */
  renew(terms: ModerationTerms): void {
    this.#terms = terms
    this.check()
  }

  /** Whether a moderator watches, as the database was asked at that moment: an answer that was long under way is old. */
  seen(watched: boolean, asked_at: number): void {
    this.#watchedUntil = watched ? asked_at + trustedMs : Number.NEGATIVE_INFINITY
    this.check()
  }

  /** Tells whoever listens when the state is another than it was. */
  check(): void {
    const state = this.state()
    if (state === this.#state) return
    this.#state = state
    if (state === 'waiting') this.#waitingSince = performance.now()
    for (const run of [...this.#listeners]) run(state)
  }
}
