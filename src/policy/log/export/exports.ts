import { and, eq, notInArray, sql } from 'drizzle-orm'
import type { AuditWriter } from '../../../audit/events.ts'
import type { Database, Tx } from '../../../db/database.ts'
import { faultMessage, logger } from '../../../log.ts'
import { decisionExports } from '../../schema.ts'
import { RecentDays } from '../decision-days.ts'
import { decisionEvent, type EventLabels } from '../decision-event.ts'
import { countExport } from './metrics.ts'
import { behind, firstPlace, lastPlace, placeDecisions, placedAfter } from './places.ts'
import type { Placed, Sink } from './sink.ts'

const log = logger('policy')
const readAtOnce = 500
/** Deliveries of one turn: then the others have theirs, and the numbers are brought up to date. */
const maxDeliveries = 40
const lease_s = 60
const alarmAfter_s = 60
/** An export that takes what it is given, and has not taken what was decided so long ago. */
export const lateAfter_s = 300
const firstPause_ms = 1_000
const longestPause_ms = 300_000

export interface ExportOptions {
  readonly database: Database
  readonly audit: AuditWriter
  readonly sinks: readonly Sink[]
  readonly labels: EventLabels
  /** prc_…: who sends. */
  readonly process_id: string
  readonly now?: () => number
  readonly random?: () => number
}

/**
 * Carries the decision log to other systems. Each export has its place in the database, which moves when a delivery was
 * taken: in order, nothing left out, and after a crash at most the last delivery twice, under the same ids. What is not
 * exported yet is not deleted either (decision-retention.ts). One that fails is tried again ever later, and does not keep the others.
 */
export class DecisionExports {
  readonly #options: ExportOptions
  readonly #now: () => number
  readonly #random: () => number
  readonly #failures = new Map<string, { count: number; until_ms: number }>()
  readonly #stopping = new AbortController()
  readonly #days = new RecentDays(60)
  #registered = false

  constructor(options: ExportOptions) {
    this.#options = options
    this.#now = options.now ?? Date.now
    this.#random = options.random ?? Math.random
  }

  /** One turn of all exports. Call it every second or so; any number of processes may. */
  async run(): Promise<void> {
    const { database, sinks } = this.#options
    if (!this.#registered) await this.#register()
    if (sinks.length === 0) return
    const from = this.#days.next()
    while ((await placeDecisions(database, from)) > 0);
    await Promise.all(sinks.map(sink => this.#turn(sink)))
  }

  /** Ends what is under way: it was not taken then, and is sent again by whoever comes next. */
  async close(): Promise<void> {
    this.#stopping.abort()
    for (const sink of this.#options.sinks) await sink.close?.().catch(() => {})
    await this.#options.database.db
      .update(decisionExports)
      .set({ leased_until: null })
      .where(eq(decisionExports.leased_by, this.#options.process_id))
      .catch(() => {})
  }

  /** Rows for what is configured. One that is not any more keeps nothing from being deleted. */
  async #register(): Promise<void> {
    const { database, sinks } = this.#options
    const names = sinks.map(sink => sink.name)
    await database.db.transaction(async tx => {
      const seq = await firstPlace(tx)
      if (names.length > 0)
        await tx
          .insert(decisionExports)
          .values(names.map(name => ({ name, seq })))
          .onConflictDoNothing()
      const gone = await tx
        .delete(decisionExports)
        .where(names.length === 0 ? undefined : notInArray(decisionExports.name, names))
        .returning({ name: decisionExports.name, seq: decisionExports.seq })
      for (const { name, seq } of gone)
        log.warn({ export: name, seq }, 'an export is no longer configured; it ends here')
    })
    this.#registered = true
  }

  async #turn(sink: Sink): Promise<void> {
    const { database } = this.#options
    const pause = this.#failures.get(sink.name)
    if (pause === undefined || pause.until_ms <= this.#now()) await this.#deliver(sink)
    const [row] = await database.db.select().from(decisionExports).where(eq(decisionExports.name, sink.name))
    if (row === undefined) return
    const { count, lag_s } = await behind(database.db, row.seq)
    countExport(sink.name, { behind: count, lag_s, failing_since: row.failing_since, now_ms: this.#now() })
    if (row.failing_since === null) await this.#watch(sink.name, lag_s)
  }

  /** An export that works and does not come along is an alarm too; one that has caught up is mended. */
  async #watch(name: string, lag_s: number): Promise<void> {
    const late = lag_s > lateAfter_s
    await this.#options.database.db.transaction(async tx => {
      const [changed] = await tx
        .update(decisionExports)
        .set({ alarmed_at: late ? sql`clock_timestamp()` : null })
        .where(and(eq(decisionExports.name, name), sql`(${decisionExports.alarmed_at} is null) = ${late}`))
        .returning({ name: decisionExports.name })
      if (changed === undefined) return
      if (late) log.error({ export: name, lag_s }, 'decisions are exported too slowly')
      else log.info({ export: name }, 'decisions are exported again')
      await this.#tell(tx, name, late ? `it is ${lag_s} seconds behind` : null)
    })
  }

  async #deliver(sink: Sink): Promise<void> {
    try {
      for (let n = 0; n < maxDeliveries && !this.#stopping.signal.aborted; n++) {
        const from = await this.#lease(sink.name)
        if (from === undefined) return // another process sends
        const due = await this.#due(from)
        if (due.length === 0) break
        const taken = await sink.send(due, this.#stopping.signal)
        await this.#taken(sink.name, from, due[taken - 1]!.seq)
        this.#failures.delete(sink.name)
      }
    } catch (error) {
      if (!this.#stopping.signal.aborted) await this.#failed(sink.name, faultMessage(error))
    }
  }

  /** @returns the place up to which it is exported, or undefined where another process has it. */
  async #lease(name: string): Promise<number | undefined> {
    const { database, process_id } = this.#options
    const [row] = await database.db
      .update(decisionExports)
      .set({ leased_by: process_id, leased_until: sql`clock_timestamp() + make_interval(secs => ${lease_s})` })
      .where(
        and(
          eq(decisionExports.name, name),
          sql`(${decisionExports.leased_by} is not distinct from ${process_id} or ${decisionExports.leased_until} is null or ${decisionExports.leased_until} < clock_timestamp())`,
        ),
      )
      .returning({ seq: decisionExports.seq })
    return row?.seq
  }

  async #due(from: number): Promise<Placed[]> {
    const { database, labels } = this.#options
    if ((await lastPlace(database.db)) <= from) return []
    const rows = await placedAfter(database.db, from, readAtOnce)
    return rows.map(row => ({ seq: row.seq, line: decisionEvent(row, labels) }))
  }

  /** INVARIANT: a place moves only from where it was read, by the process that has the lease. */
  async #taken(name: string, from: number, to: number): Promise<void> {
    const { database, process_id } = this.#options
    await database.db.transaction(async tx => {
      const [before] = await tx.select().from(decisionExports).where(eq(decisionExports.name, name)).for('update')
      if (before === undefined || before.seq !== from || before.leased_by !== process_id)
        throw new Error('another process took this export over')
      await tx
        .update(decisionExports)
        .set({ seq: to, exported_at: sql`clock_timestamp()`, failing_since: null, last_error: null })
        .where(eq(decisionExports.name, name))
    })
  }

  async #failed(name: string, message: string): Promise<void> {
    const { database } = this.#options
    const count = (this.#failures.get(name)?.count ?? 0) + 1
    const pause_ms =
      Math.min(longestPause_ms, firstPause_ms * 2 ** Math.min(count - 1, 20)) * (0.5 + this.#random() / 2)
    this.#failures.set(name, { count, until_ms: this.#now() + pause_ms })
    log.warn(
      { export: name, err: message, tried: count, next_ms: Math.round(pause_ms) },
      'decisions were not taken; they wait',
    )
    await database.db.transaction(async tx => {
      const last_error = message.slice(0, 500)
      await tx
        .update(decisionExports)
        .set({ failing_since: sql`coalesce(${decisionExports.failing_since}, clock_timestamp())`, last_error })
        .where(eq(decisionExports.name, name))
      const [alarm] = await tx
        .update(decisionExports)
        .set({ alarmed_at: sql`clock_timestamp()` })
        .where(
          and(
            eq(decisionExports.name, name),
            sql`${decisionExports.alarmed_at} is null`,
            sql`${decisionExports.failing_since} <= clock_timestamp() - make_interval(secs => ${alarmAfter_s})`,
          ),
        )
        .returning({ name: decisionExports.name })
      if (alarm === undefined) return
      log.error({ export: name, err: message }, 'decisions are not exported any more')
      await this.#tell(tx, name, last_error)
    })
  }

  /** An alarm, and that what was wrong is mended (`reason` null). */
  async #tell(tx: Tx, name: string, reason: string | null): Promise<void> {
    const { audit, process_id } = this.#options
    const body = { what: `export of decisions ${name}`, reason, mended: reason === null, process_id }
    await audit.record(tx, { type: 'alert.raised', body })
  }
}
