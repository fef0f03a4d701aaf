import { hostname } from 'node:os'
import { eq, sql } from 'drizzle-orm'
import { newId } from '../ids.ts'
import { logger } from '../log.ts'
import type { Database, Queryable } from './database.ts'
import { processes } from './schema.ts'

const heartbeatMs = 1_000
/** A process that was silent for so long counts as dead: what it held is closed, reaped and sealed by others. */
const deadAfterS = 15
const maxSkewMs = 2_000

/** This process's row in `processes`: that it lives, which revision it enforces, whether it is ready and why not. */
export class ProcessRow implements AsyncDisposable {
  readonly id: string
  readonly #database: Database
  readonly #problems = new Map<string, string>([['starting', 'starting']])
  readonly #facts = new Map<string, () => unknown>()
  #generation: number | null = null
  #timer: NodeJS.Timeout | undefined
  #beating: Promise<void> | undefined
  #closed = false
  #skewMs = 0

  private constructor(database: Database, id: string) {
    this.#database = database
    this.id = id
  }

  /** Writes the row and keeps it alive. It is not ready until `clear('starting')`. */
  static async register(
    database: Database,
    about: { readonly role: string; readonly facts?: Record<string, unknown> },
  ): Promise<ProcessRow> {
    const row = new ProcessRow(database, newId('prc'))
    await database.db
      .insert(processes)
      .values({ id: row.id, role: about.role, host: hostname(), pid: process.pid, facts: about.facts ?? {} })
    await row.heartbeat()
    row.#timer = setInterval(() => {
      row.#beating ??= row
        .heartbeat()
        .catch(error => logger('db').warn({ err: error }, 'no heartbeat'))
        .finally(() => (row.#beating = undefined))
    }, heartbeatMs)
    row.#timer.unref()
    return row
  }

  /** Names a reason why this process must take no new work, until `clear` with the same key. */
  refuse(key: string, why: string): void {
    this.#problems.set(key, why)
  }

  clear(key: string): void {
    this.#problems.delete(key)
  }

  /** `ready`, or the first reason why not. */
  get state(): string {
    const [first] = this.#problems.values()
    return first ?? 'ready'
  }

  get ready(): boolean {
    return this.#problems.size === 0 && !this.#closed
  }

  /** How far this process's clock is ahead of the database's, which is the only one that counts. */
  get skewMs(): number {
    return this.#skewMs
  }

  /** The revision that this process enforces from now on; written with the next heartbeat, or now by `heartbeat()`. */
  set generation(generation: number | null) {
    this.#generation = generation
  }

  /** Says with each heartbeat how something of this process is: a member of the row's `facts`. */
  describe(name: string, is: () => unknown): void {
    this.#facts.set(name, is)
  }

  async heartbeat(): Promise<void> {
    const facts = JSON.stringify(Object.fromEntries([...this.#facts].map(([name, is]) => [name, is()])))
    const sent = Date.now()
    const rows = await this.#database.db
      .update(processes)
      .set({
        heartbeat_at: sql`clock_timestamp()`,
        generation: this.#generation,
        ready: this.state,
        facts: sql`${processes.facts} || ${facts}::text::jsonb`,
      })
      .where(eq(processes.id, this.id))
      .returning({ at: sql<string>`(extract(epoch from clock_timestamp()) * 1000)::bigint::text` })
    const received = Date.now()
    if (rows[0] === undefined) throw new Error(`the row of process ${this.id} is gone`)
    this.#measureSkew(sent, Number(rows[0].at), received)
  }

  /** Says goodbye, where the database can be reached: others need not wait until the row counts as dead. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    clearInterval(this.#timer)
    await this.#beating
    await this.#database.db
      .update(processes)
      .set({ ready: 'stopped' })
      .where(eq(processes.id, this.id))
      .catch(error => logger('db').warn({ err: error }, 'no goodbye'))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** The answer was made between `sent` and `received`: only what lies outside of that interval is skew for certain. */
  #measureSkew(sent: number, at: number, received: number): void {
    this.#skewMs = at < sent ? sent - at : at > received ? received - at : 0
    const was = this.#problems.has('clock')
    if (Math.abs(this.#skewMs) <= maxSkewMs) this.clear('clock')
    else this.refuse('clock', `this machine's clock is ${(this.#skewMs / 1000).toFixed(1)} s off the database's`)
    if (was !== this.#problems.has('clock')) logger('db').warn({ skew_ms: this.#skewMs }, `clock: ${this.state}`)
  }
}

/** Ids of processes that stopped or fell silent: what they held (connections, spools, leases) needs another hand. */
export async function deadProcesses(db: Queryable): Promise<string[]> {
  const rows = await db
    .select({ id: processes.id })
    .from(processes)
    .where(
      sql`${processes.ready} = 'stopped' or ${processes.heartbeat_at} < clock_timestamp() - make_interval(secs => ${deadAfterS})`,
    )
  return rows.map(row => row.id)
}

/** Whether a process is gone for certain: it said goodbye, is not known, or has been silent for so long. */
export async function isGone(db: Queryable, id: string, silent_s: number): Promise<boolean> {
  const [row] = await db
    .select({ id: processes.id })
    .from(processes)
    .where(
      sql`${processes.id} = ${id} and ${processes.ready} <> 'stopped'
        and ${processes.heartbeat_at} > clock_timestamp() - make_interval(secs => ${silent_s})`,
    )
  return row === undefined
}

/** Forgets processes that have been gone for 30 days. */
export async function pruneProcesses(db: Queryable): Promise<void> {
  await db.delete(processes).where(sql`${processes.heartbeat_at} < clock_timestamp() - interval '30 days'`)
}
