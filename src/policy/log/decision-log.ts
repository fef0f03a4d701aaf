import { sql } from 'drizzle-orm'
import type { Database, Queryable } from '../../db/database.ts'
import { logger } from '../../log.ts'
import type { Decision } from '../decision.ts'
import type { Engine } from '../engine.ts'
import { type DecisionRow, decisionRow, wordSeparator } from './decision-row.ts'

const log = logger('policy')
const flushMs = 200
const batchRows = 500

interface Waiting {
  readonly decision: Decision
  count: number
  /** The database takes the others, and not this one. It keeps its place, so that it is never forgotten in silence. */
  stuck: boolean
  /** A write failed, and may have been done all the same: what is there already is no repeat then. */
  tried: boolean
}

export interface DecisionLogOptions {
  readonly database: Database
  /** Asked the `decision_log` point for what must not be stored. */
  readonly engine: Engine
  /** Distinct decisions that may wait; beyond that `append` refuses, and the caller denies. */
  readonly capacity?: number
}

/**
 * Writes decisions down. `insert` does so in the caller's transaction; `append` queues the action decisions of sessions.
 * INVARIANT: nothing queued is ever dropped while the process lives. A full queue is refused, and the caller denies.
 */
export class DecisionLog {
  readonly #options: DecisionLogOptions
  readonly #capacity: number
  readonly #waiting = new Map<string, Waiting>()
  #timer: NodeJS.Timeout | undefined
  #flushing: Promise<void> | undefined
  #closed = false

  constructor(options: DecisionLogOptions) {
    this.#options = options
    this.#capacity = options.capacity ?? 10_000
  }

  /** Distinct decisions not yet in the database. */
  get waiting(): number {
    return this.#waiting.size
  }

  /** Stores a decision in the caller's transaction; whoever refers to it (a session, a request) inserts it first. */
  async insert(tx: Queryable, decision: Decision): Promise<void> {
    await insertRows(tx, [decisionRow(decision, 1, this.#options.engine)])
  }

  /** Queues a decision; within 250 ms it is in the database. @returns false when the log is full or closed: deny then. */
  append(decision: Decision): boolean {
    if (this.#closed) return false
    const same = this.#waiting.get(decision.id)
    if (same !== undefined) {
      same.count++
      return true
    }
    if (this.#waiting.size >= this.#capacity) return false
    this.#waiting.set(decision.id, { decision, count: 1, stuck: false, tried: false })
    if (this.#waiting.size >= batchRows) void this.flush()
    else this.#timer ??= setTimeout(() => void this.flush(), flushMs)
    return true
  }

  /** Writes what waits. It does not throw: what could not be written waits for the next try. */
  flush(): Promise<void> {
    this.#flushing ??= this.#drain().finally(() => {
      this.#flushing = undefined
      if (this.#next().length > 0 && !this.#closed) this.#timer ??= setTimeout(() => void this.flush(), flushMs)
    })
    return this.#flushing
  }

  /** Takes no more, and tries for `graceMs` to write what waits. @returns how many decisions could not be written. */
  async close(graceMs = 5000): Promise<number> {
    this.#closed = true
    const until = Date.now() + graceMs
    await this.flush()
    while (this.#next().length > 0 && Date.now() < until) {
      await new Promise(resolve => setTimeout(resolve, flushMs))
      await this.flush()
    }
    clearTimeout(this.#timer)
    if (this.#waiting.size > 0)
      log.error({ lost: this.#waiting.size }, 'decisions could not be written before the process ended')
    return this.#waiting.size
  }

  async #drain(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    for (;;) {
      const batch = this.#next()
      if (batch.length === 0) return
      try {
        await this.#write(batch)
      } catch (error) {
        log.error({ err: error, waiting: this.#waiting.size }, 'decisions could not be written; they wait')
        for (const entry of batch) entry.tried = true
        if (!isAboutValues(error)) return
        await this.#writeSingly(batch)
      }
    }
  }

  #next(): Waiting[] {
    const batch: Waiting[] = []
    for (const entry of this.#waiting.values()) {
      if (!entry.stuck && batch.push(entry) === batchRows) break
    }
    return batch
  }

  async #write(batch: readonly Waiting[]): Promise<void> {
    const counts = batch.map(entry => entry.count)
    const rows = batch.map((entry, i) => decisionRow(entry.decision, counts[i]!, this.#options.engine))
    await insertRows(
      this.#options.database.db,
      rows,
      batch.some(entry => entry.tried),
    )
    for (const [i, entry] of batch.entries()) {
      entry.count -= counts[i]! // repeats that came during the write stay queued
      if (entry.count === 0) this.#waiting.delete(entry.decision.id)
    }
  }

  /** One row that the database cannot take does not keep the others out. */
  async #writeSingly(batch: readonly Waiting[]): Promise<void> {
    for (const entry of batch) {
      try {
        await this.#write([entry])
      } catch (error) {
        if (!isAboutValues(error)) return
        entry.stuck = true
        log.error({ err: error, decision: entry.decision.id }, 'this decision cannot be written')
      }
    }
  }
}

/** SQLSTATE classes 22 and 23: the values are at fault, not the database; or a row could not even be made. */
function isAboutValues(error: unknown): boolean {
  const { code } = ((error as { cause?: unknown }).cause ?? error) as { code?: unknown }
  return error instanceof TypeError || (typeof code === 'string' && /^2[23][0-9A-Z]{3}$/.test(code))
}

/**
 * @param again the same rows may be there from a write whose answer was lost. Those of `decisions` stay as they are then:
 *   a gateway may not change them, and would be refused for ever.
 */
async function insertRows(on: Queryable, rows: readonly DecisionRow[], again = false): Promise<void> {
  const actions = rows.filter(row => row.point === 'action')
  const others = rows.filter(row => row.point !== 'action')
  if (actions.length > 0) await insertInto(on, 'action_decisions', actions)
  if (others.length > 0) await insertInto(on, 'decisions', others, again)
}

/** One statement for all rows of a table. A row that is there already is the same decision again, and is counted. */
async function insertInto(
  on: Queryable,
  table: 'decisions' | 'action_decisions',
  rows: readonly DecisionRow[],
  keep = false,
): Promise<void> {
  const column = (of: (row: DecisionRow) => string | number | null) => sql.param(rows.map(of))
  const into = sql.identifier(table)
  const [day, key] = table === 'decisions' ? [sql``, sql`id`] : [sql`, day`, sql`id, day`]
  await on.execute(sql`
    insert into ${into} (id, at_ms, point, effect, code, generation, commit, digest, input_digest, input, result, reasons,
      subject_id, resource, session_id, request_id, count, erased, masked, words${day})
    select id, at_ms, point, effect, code, generation, commit, digest, input_digest, input, result, reasons::jsonb,
      subject_id, resource, session_id, request_id, count, erased::jsonb, masked::jsonb,
      array_to_tsvector(string_to_array(words, ${wordSeparator}))${day}
    from unnest(
      ${column(r => r.id)}::text[], ${column(r => r.at_ms)}::bigint[], ${column(r => r.point)}::text[],
      ${column(r => r.effect)}::text[], ${column(r => r.code)}::text[], ${column(r => r.generation)}::bigint[],
      ${column(r => r.commit)}::text[], ${column(r => r.digest)}::text[], ${column(r => r.input_digest)}::text[],
      ${column(r => r.input)}::text[], ${column(r => r.result)}::text[], ${column(r => r.reasons)}::text[],
      ${column(r => r.subject_id)}::text[], ${column(r => r.resource)}::text[], ${column(r => r.session_id)}::text[],
      ${column(r => r.request_id)}::text[], ${column(r => r.count)}::bigint[], ${column(r => r.erased)}::text[],
      ${column(r => r.masked)}::text[], ${column(r => r.words)}::text[], ${column(r => r.day)}::text[]::date[]
    ) as d (id, at_ms, point, effect, code, generation, commit, digest, input_digest, input, result, reasons,
      subject_id, resource, session_id, request_id, count, erased, masked, words, day)
    order by id
    on conflict (${key}) do ${keep ? sql`nothing` : sql`update set count = ${into}.count + excluded.count`}`)
}
