import type { Database, Queryable } from '../../db/database.ts'
import { faultMessage, logger } from '../../log.ts'
import { Rounds } from '../../rounds.ts'
import type { Decision } from '../decision.ts'
import type { Engine } from '../engine.ts'
import { insertRows, isAboutValues } from './decision-insert.ts'
import { decisionRow } from './decision-row.ts'
import type { Spool } from './spool/spool.ts'
import { type Waiting, WaitingRows } from './waiting.ts'

const log = logger('policy')
const flushMs = 200
const batchRows = 500
const maxChars = 64 << 20
const keepMs = 2_000
const takeOverMs = 5_000
/** What waits longer than this, and what was refused as lately as this, is an alarm. */
const alarmMs = 10_000

export interface DecisionLogOptions {
  readonly database: Database
  /** Asked the `decision_log` point for what must not be stored. */
  readonly engine: Engine
  /** Distinct decisions that may wait; beyond that `append` refuses, and the caller denies. */
  readonly capacity?: number
  /** Where what waits outlives this process. Without one (tests) it does not. */
  readonly spool?: Spool | undefined
}

/** How the log of one process is. */
export interface DecisionLogState {
  readonly waiting: number
  readonly oldest_s: number
  readonly refused: number
  /** Why somebody must look; null: nobody must. */
  readonly alarm: string | null
}

/**
 * Writes decisions down. `insert` does so in the caller's transaction; `append` queues the action decisions of sessions, in
 * memory and in a spool on the disk. INVARIANT: nothing queued is ever dropped, whatever dies: what waits is written by this
 * process, or by the next of its role. What cannot be queued is refused, and the caller denies.
 */
export class DecisionLog {
  readonly #options: DecisionLogOptions
  readonly #capacity: number
  readonly #rows: WaitingRows
  #timer: NodeJS.Timeout | undefined
  readonly #flushes = new Rounds(() => this.#flush())
  #takingOver: NodeJS.Timeout | undefined
  #closed = false
  #failing = false
  #kept_ms = 0
  #refused = { count: 0, at_ms: Number.NEGATIVE_INFINITY, why: '' }

  constructor(options: DecisionLogOptions) {
    this.#options = options
    this.#capacity = options.capacity ?? 10_000
    this.#rows = new WaitingRows(options.spool)
    if (options.spool === undefined) return
    this.#takingOver = setInterval(() => void this.takeOver(), takeOverMs)
    this.#takingOver.unref()
  }

  /** Distinct decisions not yet in the database. */
  get waiting(): number {
    return this.#rows.size
  }

  get state(): DecisionLogState {
    const now_ms = Date.now()
    const { size: waiting, stuck, oldest_ms = now_ms } = this.#rows
    const old_ms = now_ms - oldest_ms
    const alarms: string[] = []
    const broken = this.#options.spool?.broken ?? []
    if (now_ms - this.#refused.at_ms < alarmMs) alarms.push(`decisions are refused, and denied: ${this.#refused.why}`)
    if (stuck > 0) alarms.push(`${stuck} decisions cannot be written to the database`)
    if (waiting > stuck && old_ms > alarmMs) alarms.push('decisions wait for the database')
    if (broken.length > 0) alarms.push(`decisions on the disk cannot be read: ${broken[0]}`)
    const alarm = alarms.length === 0 ? null : alarms.join('; ')
    return { waiting, oldest_s: Math.max(0, Math.round(old_ms / 1000)), refused: this.#refused.count, alarm }
  }

  /** Stores a decision in the caller's transaction; whoever refers to it (a session, a request) inserts it first. */
  async insert(tx: Queryable, decision: Decision): Promise<void> {
    await insertRows(tx, [decisionRow(decision, 1, this.#options.engine)])
  }

  /** Queues a decision; within 250 ms it is in the database. @returns false when the log cannot take it: deny then. */
  append(decision: Decision): boolean {
    if (this.#closed) return this.#refuse('this process is stopping')
    const known = this.#rows.repeat(decision.id)
    if (known === true) return true
    if (this.#rows.own >= this.#capacity || this.#rows.chars >= maxChars)
      return this.#refuse('as many as may wait for the database wait already')
    try {
      const row = known === false ? decisionRow(decision, 1, this.#options.engine) : { ...known, count: 1 }
      this.#rows.add(row, Date.now())
    } catch (error) {
      return this.#refuse(faultMessage(error))
    }
    if (this.#rows.fresh >= batchRows && !this.#failing) void this.flush()
    else this.#soon()
    return true
  }

  #soon(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined // also where a write is under way, or nothing would be written after it
      void this.flush()
    }, flushMs)
  }

  /** Writes what waits when it is called. It does not throw: what could not be written waits for the next try. */
  flush(): Promise<void> {
    return this.#flushes.run()
  }

  async #flush(): Promise<void> {
    await this.#drain().finally(() => {
      if (this.#rows.due && !this.#closed) this.#soon()
    })
  }

  /** Takes over what processes that are gone left on the disk. It does not throw: it is called again. */
  async takeOver(): Promise<void> {
    const { spool } = this.#options
    try {
      for (;;) {
        if (spool === undefined || this.#closed || this.#failing || this.#rows.takenOver) return
        const claimed = await spool.claim()
        if (claimed === undefined) return
        this.#rows.takeOver(claimed)
        log.info({ decisions: claimed.rows.length }, 'decisions that another process left behind are written down')
        await this.flush()
      }
    } catch (error) {
      log.warn({ err: error }, 'the decisions of a process that is gone could not be taken over yet')
    }
  }

  /**
   * Takes no more, and tries for `graceMs` to write what waits. @returns how many decisions are not in the database: with
   * a spool the next process writes them.
   */
  async close(graceMs = 5000): Promise<number> {
    this.#closed = true
    clearInterval(this.#takingOver)
    const until = Date.now() + graceMs
    await this.flush()
    while (this.#rows.due && Date.now() < until) {
      await new Promise(resolve => setTimeout(resolve, flushMs))
      await this.flush()
    }
    clearTimeout(this.#timer)
    const left = this.#rows.size
    const kept = await this.#rows.close()
    if (left > 0 && kept) log.warn({ left }, 'decisions wait on the disk for the next process')
    else if (left > 0) log.error({ lost: left }, 'decisions could not be written before the process ended')
    return left
  }

  /** What comes meanwhile waits its 200 ms: written at once, each statement that is asked again and again would be a write. */
  async #drain(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    for (let turned = false; ; ) {
      const batch = this.#rows.next(batchRows)
      if (batch.length === 0) {
        if ((turned && this.#rows.fresh < batchRows) || !this.#rows.turn()) return
        turned = true
        continue
      }
      try {
        await this.#write(batch)
        this.#failing = false
      } catch (error) {
        if (!isAboutValues(error)) return this.#wait(error)
        log.error(
          { err: error, decisions: batch.length },
          'decisions could not be written at once; they are one by one',
        )
        await this.#writeSingly(batch)
      }
    }
  }

  async #write(batch: readonly Waiting[]): Promise<void> {
    this.#rows.writing(batch)
    const keeping = setInterval(() => void this.#keep(), keepMs) // a database may keep us waiting as well as fail
    try {
      await insertRows(
        this.#options.database.db,
        batch.map(({ row, count }) => ({ ...row, count })),
        batch.some(entry => entry.tried),
      )
    } catch (error) {
      this.#rows.failed(batch)
      throw error
    } finally {
      clearInterval(keeping)
    }
    this.#rows.written(batch)
  }

  /** One row that the database cannot take does not keep the others out. */
  async #writeSingly(batch: readonly Waiting[]): Promise<void> {
    for (const entry of batch) {
      try {
        await this.#write([entry])
      } catch (error) {
        if (!isAboutValues(error)) return
        this.#rows.keepStuck(entry)
        log.error({ err: error, decision: entry.row.id }, 'this decision cannot be written')
      }
    }
  }

  /** The database is away. */
  async #wait(error: unknown): Promise<void> {
    if (!this.#failing)
      log.error(
        { err: error, waiting: this.#rows.size },
        'decisions could not be written; they wait, and are tried again',
      )
    this.#failing = true
    if (Date.now() - this.#kept_ms >= keepMs) await this.#keep()
  }

  async #keep(): Promise<void> {
    this.#kept_ms = Date.now()
    await this.#rows
      .keep()
      .catch(error => log.error({ err: error }, 'decisions that wait could not be kept on the disk'))
  }

  #refuse(why: string): false {
    if (this.#refused.why !== why || Date.now() - this.#refused.at_ms > alarmMs)
      log.error({ why, waiting: this.#rows.size }, 'the decision log takes no more, and what is asked is denied')
    this.#refused = { count: this.#refused.count + 1, at_ms: Date.now(), why }
    return false
  }
}
