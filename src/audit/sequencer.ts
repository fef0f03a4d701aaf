import type { KeyObject } from 'node:crypto'
import type { Database } from '../db/database.ts'
import type { Logger } from '../log.ts'
import type { Secret } from '../secret.ts'
import type { CheckpointCopy } from './copy.ts'
import { appendTo, checkCopy, checkOwnTree, type LogProblem, LogRefusal } from './guard.ts'
import { Head } from './head.ts'
import { chainStart, parseLeaf } from './leaf.ts'
import { SessionLock } from './lock.ts'
import { leafHash } from './merkle.ts'
import { checkpointText, parseVkey, signNote, type Verifier, vkey } from './note.ts'
import type { Sql } from './store.ts'

const lockId = [0x5a11, 9] as const
const pollMs = 500
const standbyMs = 1000 // another one leads, or a problem stands
const paceMs = 100 // between checkpoints while little happens: one for many events

export interface SequencerOptions {
  readonly database: Database
  /** Of the same database: the lock has a connection of its own. */
  readonly url: Secret
  /** Ed25519 private key of the checkpoints. */
  readonly key: KeyObject
  /** Name of the log, first line of each checkpoint: see `originOf`. */
  readonly origin: string
  readonly copy: CheckpointCopy
  readonly logger: Logger
  readonly batch?: number
}

/** The name of a deployment's log. */
export function originOf(deployment: string): string {
  return `sallyport/${deployment.replace(/[^A-Za-z0-9._-]+/g, '-')}`
}

interface Waiting {
  id: string
  seq: string
  writer: string
  wseq: string
  leaf: string
}

/** An event whose turn has come, with the hash of its leaf. */
interface Ready {
  readonly seq: string
  readonly hash: Buffer
}

/**
 * Gives indices to the events in the inbox, appends them to the tree and signs it. Many processes may run one; the
 * holder of an advisory lock works, and the epoch in `audit_state` fences off one that lost the lock without noticing.
 */
export class Sequencer {
  readonly vkey: string
  readonly #options: SequencerOptions
  readonly #verifier: Verifier
  readonly #lock: SessionLock
  #epoch = -1
  #head: Head | null = null
  readonly #brokenWriters = new Set<string>()
  #problem: LogProblem | null = null
  #wake: () => void = () => {}
  #woken = false

  constructor(options: SequencerOptions) {
    this.#options = options
    this.#lock = new SessionLock(options.url, lockId)
    this.vkey = vkey(options.origin, options.key)
    this.#verifier = parseVkey(this.vkey)
  }

  /** Why nothing is signed at present, or null. */
  get problem(): LogProblem | null {
    return this.#problem
  }

  /** Whether this process is the one that sequences. */
  get leads(): boolean {
    return this.#head !== null && this.#lock.held
  }

  /** Something may be waiting in the inbox (NOTIFY `audit`). */
  wake(): void {
    this.#woken = true
    this.#wake()
  }

  /** Sequences until `signal` aborts; faults are logged, shown in `problem` and tried again. */
  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#wake())
    while (!signal.aborted) {
      this.#woken = false
      const done = await this.step()
      if (signal.aborted) break
      if (done === (this.#options.batch ?? 5000)) continue
      const idle = done === 0 && this.leads
      await this.#sleep(done > 0 ? paceMs : idle ? (this.#woken ? 0 : pollMs) : standbyMs, idle, signal)
    }
    await this.release()
  }

  /** One batch. @returns how many events got an index; 0 also where another process leads or a problem stands. */
  async step(): Promise<number> {
    try {
      if (!this.leads && !(await this.#lead())) return 0
      return await this.#sequence()
    } catch (error) {
      // What is in memory may be ahead of what committed: read it again. The lock is kept: where one process refuses to
      // sign, another with an emptier copy must not.
      this.#head = null
      this.#report(error instanceof LogRefusal ? error.problem : databaseProblem(error as Error), error)
      return 0
    }
  }

  /** Gives the lead away. */
  async release(): Promise<void> {
    this.#head = null
    await this.#lock.release()
  }

  async #lead(): Promise<boolean> {
    const { database, copy, logger } = this.#options
    this.#head = null
    if (!(await this.#lock.take())) {
      this.#problem = null // another process leads: what stood in our way is its affair now
      return false
    }
    const { epoch, size } = await database.sql.begin(async sql => {
      await sql`insert into audit_state (id) values (1) on conflict do nothing`
      const [state] = await sql<{ epoch: string; size: string }[]>`
        update audit_state set epoch = epoch + 1 where id = 1 returning epoch::text, size::text`
      return { epoch: Number(state!.epoch), size: Number(state!.size) }
    })
    await checkOwnTree(database.sql, size, this.#verifier)
    const caughtUp = await checkCopy(database.sql, size, copy, this.#verifier)
    if (caughtUp > 0)
      logger.warn(
        { checkpoints: caughtUp, copy: copy.path },
        'the copy of the checkpoints was behind and was brought up to date',
      )
    this.#epoch = epoch
    this.#head = await Head.load(database.sql, size)
    this.#brokenWriters.clear()
    this.#report(null)
    return true
  }

  async #sequence(): Promise<number> {
    const { database, copy, key, origin } = this.#options
    const head = this.#head!
    const [some] =
      await database.sql`select from audit_inbox where idx is null and writer <> all(${[...this.#brokenWriters]}::text[]) limit 1`
    if (!some) return 0
    const result = await database.sql.begin(async sql => {
      const [state] = await sql<
        { epoch: string; size: string }[]
      >`select epoch::text, size::text from audit_state where id = 1 for update`
      if (Number(state?.epoch) !== this.#epoch || Number(state?.size) !== head.tree.size) return 'fenced'
      const { ready, broken } = await this.#waiting(sql)
      if (ready.length === 0) return { count: 0, note: null, broken }
      const first = head.tree.size
      for (const { hash } of ready) head.tree.append(hash)
      const updated = await sql`
        update audit_inbox i set idx = ${first - 1} + u.n from unnest(${`{${ready.map(({ seq }) => seq).join()}}`}::bigint[]) with ordinality as u (seq, n)
        where i.seq = u.seq and i.idx is null`
      if (updated.count !== ready.length)
        throw new Error(`${ready.length} events were to get an index, ${updated.count} did`)
      await head.flush(sql)
      const size = head.tree.size
      const root = head.tree.root()
      const note = signNote(checkpointText({ origin, size, root }), origin, key)
      await sql`
        insert into audit_checkpoints (size, root, note, at_ms)
        values (${size}, ${root}, ${note}, (extract(epoch from clock_timestamp()) * 1000)::bigint)`
      await sql`update audit_state set size = ${size} where id = 1`
      return { count: ready.length, note, broken }
    })
    if (result === 'fenced') {
      this.#options.logger.warn('another process has taken over the sequencing of the audit log')
      await this.release()
      return 0
    }
    if (result.note) await appendTo(copy, [result.note])
    if (result.broken) this.#report(result.broken)
    return result.count
  }

  /** The next events, of each writer only what continues its chain: an event whose forerunner is gone stays and is named. */
  async #waiting(sql: Sql): Promise<{ ready: Ready[]; broken: LogProblem | null }> {
    const limit = this.#options.batch ?? 5000
    const rows = await sql<Waiting[]>`select id, seq::text, writer, wseq::text, leaf from audit_inbox 
      where idx is null and writer <> all(${[...this.#brokenWriters]}::text[]) order by audit_inbox.seq limit ${limit}`
    const firsts = new Map<string, Waiting>()
    for (const row of rows) if (!firsts.has(row.writer)) firsts.set(row.writer, row)
    const before = await sql<{ writer: string; wseq: string; leaf: string }[]>`
      select i.writer, i.wseq::text, i.leaf from audit_inbox i
      join unnest(${[...firsts.keys()]}::text[], ${[...firsts.values()].map(f => Number(f.wseq) - 1)}::bigint[]) as f (writer, wseq)
      on i.writer = f.writer and i.wseq = f.wseq where i.idx is not null`
    const chain = new Map(
      before.map(row => [row.writer, { wseq: Number(row.wseq), hash: leafHash(row.leaf).toString('hex') }]),
    )
    const ready: Ready[] = []
    let broken: LogProblem | null = null
    for (const row of rows) {
      const last = chain.get(row.writer) ?? chainStart
      const leaf = parseLeaf(row.leaf)
      const follows =
        leaf?.writer === row.writer &&
        leaf.wseq === Number(row.wseq) &&
        leaf.wseq === last.wseq + 1 &&
        leaf.prev === last.hash
      if (!follows || this.#brokenWriters.has(row.writer)) {
        this.#brokenWriters.add(row.writer)
        broken ??= chainProblem(row, last.wseq)
        continue
      }
      const hash = leafHash(row.leaf)
      chain.set(row.writer, { wseq: leaf.wseq, hash: hash.toString('hex') })
      ready.push({ seq: row.seq, hash })
    }
    return { ready, broken }
  }

  #report(problem: LogProblem | null, error?: unknown): void {
    if (problem?.message === this.#problem?.message) return
    if (problem) this.#options.logger.error({ code: problem.code, remedy: problem.remedy, err: error }, problem.message)
    else this.#options.logger.info('the audit log is being signed')
    this.#problem = problem
  }

  async #sleep(ms: number, wakeable: boolean, signal: AbortSignal): Promise<void> {
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, ms)
      this.#wake = () => {
        if (!wakeable && !signal.aborted) return
        clearTimeout(timer)
        resolve()
      }
    })
    this.#wake = () => {}
  }
}

function databaseProblem(error: Error): LogProblem {
  return {
    code: 'database',
    message: `the audit log cannot be sequenced: ${error.message}`,
    remedy: 'look at the database; events wait in the inbox meanwhile',
  }
}

function chainProblem(row: Waiting, wseq: number): LogProblem {
  return {
    code: 'chain_broken',
    message: `event ${row.id} of writer ${row.writer} does not follow the writer's event ${wseq}: an event before it was deleted or changed`,
    remedy: 'run `sallyport audit verify`; events of other writers go on',
  }
}
