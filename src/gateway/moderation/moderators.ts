import { loadSubjects } from '../../approvals/subjects.ts'
import { logger } from '../../log.ts'
import { watchChannel } from '../../recording/watchers.ts'
import { watchingNow } from '../../recording/watches.ts'
import { Rounds } from '../../rounds.ts'
import type { GatewayGround } from '../ground.ts'
import type { LiveSession } from '../live-session.ts'

const log = logger('gateway')
const freshS = 3

/**
 * Looks, for the sessions that need a moderator, who follows them: rows that only the replay process can write, each
 * second and on notice. A notice alone opens nothing.
 */
export class Moderators implements Disposable {
  readonly #ground: GatewayGround
  readonly #sessions: () => Iterable<LiveSession>
  readonly #listening: readonly Disposable[]
  /** What stands in the log of each session; they begin waiting. */
  readonly #said = new WeakMap<LiveSession, 'watched' | 'waiting'>()
  readonly #looks = new Rounds(() => this.#look())

  constructor(ground: GatewayGround, sessions: () => Iterable<LiveSession>) {
    this.#ground = ground
    this.#sessions = sessions
    this.#listening = [
      ground.notices.listen(watchChannel, () => this.look()),
      ground.notices.listen('subjects', payload => (payload === null ? undefined : this.look())),
    ]
  }

  [Symbol.dispose](): void {
    for (const each of this.#listening) each[Symbol.dispose]()
  }

  /** INVARIANT: one look after the other, so that an older answer never opens what a newer one shut. */
  look(): Promise<void> {
    return this.#looks.run()
  }

  async #look(): Promise<void> {
    const asked_at = performance.now()
    const needy = [...this.#sessions()].filter(session => session.moderation.required && !session.isEnded)
    if (needy.length === 0) return
    const { database } = this.#ground
    const rows = await watchingNow(
      database,
      needy.map(session => session.id),
      freshS,
    )
    const subjects = await loadSubjects(
      database.db,
      rows.map(row => row.subject_id),
    )
    for (const session of needy) {
      const { moderators } = session.moderation.terms
      const { id: own, on_behalf_of } = session.about.subject
      const by = rows
        .filter(row => row.session_id === session.id && row.on_behalf_of === null)
        .map(row => subjects.get(row.subject_id))
        .filter(subject => subject !== undefined)
        // A person other than the one who is watched, in whatever part they act.
        .filter(subject => subject.kind === 'person' && subject.id !== own && subject.id !== on_behalf_of)
        .filter(subject => moderators.includes(subject.id) || subject.groups.some(group => moderators.includes(group)))
      await this.#told(
        session,
        by.map(subject => subject.id),
        asked_at,
      )
    }
  }

  /** The event that somebody watches comes before the gate opens; the gate shuts before the event that nobody does. */
  async #told(session: LiveSession, by: readonly string[], asked_at: number): Promise<void> {
    const after = by.length > 0 ? 'watched' : 'waiting'
    if (after === 'waiting') session.moderation.seen(false, asked_at)
    if ((this.#said.get(session) ?? 'waiting') !== after) {
      try {
        await this.#ground.database.db.transaction(tx =>
          this.#ground.audit.record(tx, {
            type: 'session.moderated',
            body: { state: after, by: [...by], moderators: [...session.moderation.terms.moderators] },
            subject_id: session.about.subject.id,
            session_id: session.id,
            resource: session.resource.name,
          }),
        )
      } catch (error) {
        log.error({ err: error, session_id: session.id }, 'who moderates a session could not be written down')
        return
      }
      this.#said.set(session, after)
      session.recordModeration(after, by)
    }
    if (after === 'watched') session.moderation.seen(true, asked_at)
  }
}
