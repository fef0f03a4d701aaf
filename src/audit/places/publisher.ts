import type { Database, Tx } from '../../db/database.ts'
import { faultMessage, logger } from '../../log.ts'
import type { AuditWriter } from '../events.ts'
import { rootOf } from '../guard.ts'
import { chainOf, lastKey } from '../handover.ts'
import { consistencyProof } from '../merkle.ts'
import { openCheckpoint, parseVkey } from '../note.ts'
import { handoversOf, statements } from '../statements.ts'
import { latestCheckpoint, nodeReader, type StoredCheckpoint } from '../store.ts'
import { givenUp, type OutsidePoint, openBreaks } from '../verify-outside.ts'
import { countPlaces } from './metrics.ts'
import type { Place, Publication } from './place.ts'
import { publishedCheckpoint } from './published.ts'
import { placeStates } from './state.ts'
import { PlaceTable } from './table.ts'

const log = logger('audit')
const alarmAfter_s = 60
const firstPause_ms = 1_000
const longestPause_ms = 300_000
const firstLook_ms = 10_000

export interface PublisherOptions {
  readonly database: Database
  readonly audit: AuditWriter
  readonly places: readonly Place[]
  /** A key of the log. */
  readonly vkey: string
  /** prc_…: who carries. */
  readonly process_id: string
  readonly now?: () => number
}

/** What we signed lies outside, and the database has less or something else. */
class Refused extends Error {}

/**
 * Carries checkpoints to the outside places. Each has its position in the database and its own pace; one that fails is
 * tried again ever later, does not keep the others, and after a minute is an alarm.
 *
 * INVARIANT: before a place that can be read gets a newer checkpoint, what lies there is compared; something that we
 * signed and that does not fit stops the signing (guard.ts), in whichever process signs.
 */
export class Publisher {
  readonly #options: PublisherOptions
  readonly #table: PlaceTable
  readonly #now: () => number
  readonly #stopping = new AbortController()
  readonly #failures = new Map<string, { count: number; until_ms: number }>()
  readonly #taken = new Map<string, number>()
  #registered = false

  constructor(options: PublisherOptions) {
    this.#options = options
    this.#table = new PlaceTable(options.database, options.process_id)
    this.#now = options.now ?? Date.now
  }

  /** One turn of all places. Call it every second or so; any number of processes may. */
  async run(): Promise<void> {
    const { database, places } = this.#options
    await this.#register()
    if (places.length === 0) return
    await Promise.all(places.map(place => this.#turn(place)))
    countPlaces(await placeStates(database.sql))
  }

  /**
   * Compares what lies outside before anything is signed; a place that does not answer in time is compared when it does.
   * Call it before the sequencer runs.
   */
  async firstLook(): Promise<void> {
    await this.#register()
    await Promise.all(
      this.#options.places.map(async place => {
        try {
          await this.#compare(place, AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(firstLook_ms)]))
        } catch (error) {
          await this.#failed(place.name, error)
        }
      }),
    )
  }

  async close(): Promise<void> {
    this.#stopping.abort()
    await this.#table.leave()
  }

  async #register(): Promise<void> {
    if (this.#registered) return
    await this.#table.register(this.#options.places)
    this.#registered = true
  }

  async #turn(place: Place): Promise<void> {
    const { name, every_ms } = place
    if ((this.#failures.get(name)?.until_ms ?? 0) > this.#now()) return
    if ((this.#taken.get(name) ?? Number.NEGATIVE_INFINITY) + every_ms > this.#now()) return
    const position = await this.#table.lease(name)
    if (position === undefined) return // another process carries
    try {
      const publication = await this.#due(place, position)
      if (publication === null) return
      await this.#compare(place, this.#stopping.signal)
      const line = await place.publish(publication, this.#stopping.signal)
      this.#taken.set(name, this.#now())
      this.#failures.delete(name)
      const { size, statements: said } = publication
      await this.#table.taken(name, { size, statements: said.length, line }, tx => this.#tell(tx, name, null))
    } catch (error) {
      if (!this.#stopping.signal.aborted) await this.#failed(name, error)
    }
  }

  async #due(
    place: Place,
    position: { size: number; statements: number; refused: boolean },
  ): Promise<Publication | null> {
    const { sql } = this.#options.database
    const checkpoint: StoredCheckpoint | null =
      place.cosigns === true ? await latestCheckpoint(sql) : await publishedCheckpoint(sql)
    if (!checkpoint) return null
    const said = await statements(sql)
    if (checkpoint.size === position.size && said.length === position.statements && !position.refused) return null
    const { size, root, note } = checkpoint
    const prove = async (first: number) =>
      (await consistencyProof(first, size, nodeReader(sql))).map(hash => hash.toString('base64'))
    return { origin: parseVkey(this.#options.vkey).name, size, root, note, statements: said, prove }
  }

  async #compare(place: Place, signal: AbortSignal): Promise<void> {
    const there = place.latest && (await within(place.latest(signal), signal))
    const { sql } = this.#options.database
    if (there) await this.#fits(there)
    await sql`update audit_outside set refused = null where name = ${place.name} and refused is not null`
  }

  /** @throws Refused where what lies there was signed by us and is no beginning of our log. */
  async #fits({ note }: OutsidePoint): Promise<void> {
    const { sql } = this.#options.database
    const said = await statements(sql)
    const chain = chainOf(handoversOf(said), parseVkey(this.#options.vkey))
    const there = openCheckpoint(note, chain)
    if (!there)
      throw new Error(
        `what lies there is not signed by ${lastKey(chain).name}: somebody else wrote to it, or it belongs to another log`,
      )
    if (givenUp(openBreaks(said, chain), there.size)) return
    const size = (await latestCheckpoint(sql))?.size ?? 0
    if (there.size > size)
      throw new Refused(
        `${there.size} entries were signed, and the database has ${size}: it went back by ${there.size - size} (an old backup, or a deletion)`,
      )
    if (!(await rootOf(sql, there.size)).equals(there.root))
      throw new Refused(`the first ${there.size} entries are not those that were signed: the log was rewritten`)
  }

  async #failed(name: string, error: unknown): Promise<void> {
    const message = faultMessage(error)
    const count = (this.#failures.get(name)?.count ?? 0) + 1
    const pause_ms = Math.min(longestPause_ms, firstPause_ms * 2 ** Math.min(count - 1, 20)) * (0.5 + Math.random() / 2)
    this.#failures.set(name, { count, until_ms: this.#now() + pause_ms })
    log.warn(
      { place: name, err: message, tried: count, next_ms: Math.round(pause_ms) },
      'a checkpoint was not taken outside',
    )
    const refused = error instanceof Refused
    await this.#table.failed(name, { message, refused, alarm_s: refused ? 0 : alarmAfter_s }, tx => {
      log.error({ place: name, err: message }, 'checkpoints do not reach an outside place')
      return this.#tell(tx, name, message)
    })
  }

  /** An alarm, and that what was wrong is mended (`reason` null). */
  async #tell(tx: Tx, name: string, reason: string | null): Promise<void> {
    const { audit, process_id } = this.#options
    const body = { what: `outside place ${name} of the audit log`, reason, mended: reason === null, process_id }
    await audit.record(tx, { type: 'alert.raised', body })
  }
}

/** The answer, or the end of our patience. */
function within<X>(answer: Promise<X>, signal: AbortSignal): Promise<X> {
  return new Promise((resolve, reject) => {
    const give = () => reject(new Error('it did not answer in time'))
    if (signal.aborted) give()
    signal.addEventListener('abort', give, { once: true })
    answer.then(resolve, reject).finally(() => signal.removeEventListener('abort', give))
  })
}
