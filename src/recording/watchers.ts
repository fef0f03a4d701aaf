/** NOTIFY channel on which the replay process says every few seconds which session somebody follows. */
export const watchChannel = 'watch'

const keptMs = 15_000
const maxWatched = 10_000

/** Remembers, in a gateway process, which sessions are followed: `notices.listen(watchChannel, p => watchers.seen(p))`. */
export class Watchers {
  readonly #until = new Map<string, number>()

  seen(sessionId: string | null): void {
    if (sessionId === null) return
    const now = performance.now()
    for (const [id, until] of this.#until) if (until < now) this.#until.delete(id)
    if (this.#until.size < maxWatched) this.#until.set(sessionId, now + keptMs)
  }

  /** The `watched` port of the journal. */
  readonly watched = (sessionId: string): boolean => (this.#until.get(sessionId) ?? 0) >= performance.now()
}
