import { and, eq, inArray, sql } from 'drizzle-orm'
import type { Database } from '../db/database.ts'
import { logger } from '../log.ts'
import { recordingWatches } from './schema.ts'
import { watchChannel } from './watchers.ts'

const log = logger('recording')
const beatMs = 1_000
const tellMs = 5_000

/** One who follows a live recording, as the replay process lets them. */
export interface Follower {
  /** The decision that let them: one for each opening. */
  readonly decision_id: string
  readonly session_id: string
  readonly subject_id: string
  readonly on_behalf_of: string | null
  readonly process_id: string
}

/**
 * Says, while it lives, that somebody follows a session: a row that is beaten each second, so that gateways may rely on it
 * (moderation), and a notice, so that they ship sooner. What is not beaten any more counts for nothing after seconds.
 */
export class Watch {
  readonly #database: Database
  readonly #follower: Follower
  /** Whether the follower's client takes what it is sent. One that does not is not watching. */
  readonly #takes: () => boolean
  readonly #timer: NodeJS.Timeout
  #told = Number.NEGATIVE_INFINITY
  #beating: Promise<void> = Promise.resolve()
  #ended = false

  private constructor(database: Database, follower: Follower, takes: () => boolean) {
    this.#database = database
    this.#follower = follower
    this.#takes = takes
    this.#timer = setInterval(() => this.#beat(), beatMs)
  }

  static async begin(database: Database, follower: Follower, takes: () => boolean): Promise<Watch> {
    const watch = new Watch(database, follower, takes)
    await watch.#beat()
    return watch
  }

  /** They left: the row goes, and the gateways hear it at once. */
  async end(): Promise<void> {
    this.#ended = true
    clearInterval(this.#timer)
    await this.#beating
    try {
      await this.#database.db
        .delete(recordingWatches)
        .where(eq(recordingWatches.decision_id, this.#follower.decision_id))
      await this.#tell()
    } catch (error) {
      log.warn({ err: error }, 'the end of a watch could not be written; it runs out by itself')
    }
  }

  #beat(): Promise<void> {
    this.#beating = this.#beating.then(async () => {
      if (this.#ended || !this.#takes()) return
      try {
        await this.#database.db
          .insert(recordingWatches)
          .values(this.#follower)
          .onConflictDoUpdate({ target: recordingWatches.decision_id, set: { seen_at: sql`clock_timestamp()` } })
        if (performance.now() - this.#told < tellMs) return
        this.#told = performance.now()
        await this.#tell()
        await this.#database.db.delete(recordingWatches).where(sql`seen_at < clock_timestamp() - interval '1 minute'`)
      } catch (error) {
        log.warn({ err: error }, 'the gateways could not be told that somebody follows')
      }
    })
    return this.#beating
  }

  async #tell(): Promise<void> {
    await this.#database.sql`select pg_notify(${watchChannel}, ${this.#follower.session_id})`
  }
}

/** Who follows these sessions now: beaten within `fresh_s` by the database's clock. */
export function watchingNow(
  database: Database,
  sessionIds: readonly string[],
  fresh_s: number,
): Promise<{ session_id: string; subject_id: string; on_behalf_of: string | null }[]> {
  const { session_id, subject_id, on_behalf_of, seen_at } = recordingWatches
  return database.db
    .selectDistinct({ session_id, subject_id, on_behalf_of })
    .from(recordingWatches)
    .where(
      and(
        inArray(session_id, [...sessionIds]),
        sql`${seen_at} > clock_timestamp() - make_interval(secs => ${fresh_s})`,
      ),
    )
}
