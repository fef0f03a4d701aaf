import { logger } from '../log.ts'
import type { EndCode } from '../sessions/ports.ts'

const log = logger('gateway')
const againAfterMs = 1000

/** Writes that a session ended. */
export type WriteEnd = (session_id: string, code: EndCode, reason: string) => Promise<unknown>

/**
 * Ends of sessions on their way into the database. INVARIANT: what ended here is written as soon as the database can be
 * reached: until then the ticket would open a session that this process has ended.
 */
export class Endings implements AsyncDisposable {
  readonly #write: WriteEnd
  readonly #running = new Map<string, Promise<void>>()
  readonly #stopped = new AbortController()

  constructor(write: WriteEnd) {
    this.#write = write
  }

  /** Idempotent for one session: the first reason is the one that is written. */
  add(session_id: string, code: EndCode, reason: string): void {
    if (this.#running.has(session_id)) return
    const running = this.#until(session_id, code, reason).finally(() => this.#running.delete(session_id))
    this.#running.set(session_id, running)
  }

  /** Those that are not written yet. */
  get size(): number {
    return this.#running.size
  }

  /** A try that runs ends; what it could not write is left to the sweeper. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped.abort()
    await Promise.all(this.#running.values())
  }

  async #until(session_id: string, code: EndCode, reason: string): Promise<void> {
    const { signal } = this.#stopped
    for (let tries = 1; ; tries++) {
      try {
        await this.#write(session_id, code, reason)
        return
      } catch (error) {
        if (tries === 1)
          log.error({ err: error, session_id }, 'the end of a session could not be written down; trying again')
        if (!signal.aborted) await pause(signal)
        if (!signal.aborted) continue
        log.error({ err: error, session_id }, 'the end of a session was not written down; the sweeper does it')
        return
      }
    }
  }
}

function pause(signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, againAfterMs)
    signal.addEventListener('abort', done)
  })
}
