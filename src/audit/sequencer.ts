import type { KeyObject } from 'node:crypto'
import type { Database } from '../db/database.ts'
import type { Logger } from '../log.ts'
import type { Secret } from '../secret.ts'
import type { CheckpointCopy } from './copy.ts'
import { appendTo, checkCopy, checkOutside, checkOwnTree, type LogProblem, LogRefusal } from './guard.ts'
import { chainOf } from './handover.ts'
import { Head } from './head.ts'
import { SessionLock } from './lock.ts'
import { checkpointText, type KeyChain, parseVkey, signNote, vkey } from './note.ts'
import { keysOf } from './statements.ts'
import { anyWaiting, type BrokenChain, waitingPlaces } from './waiting.ts'

const lockId = [0x5a11, 9] as const
const pollMs = 500
const standbyMs = 1000 // another one leads, or a problem stands
const batchEvents = 20_000
const paceMs = 100 // between checkpoints while little happens: one for many events

export interface SequencerOptions {
  readonly database: Database
  /** Of the same database: the lock has a connection of its own. */
  readonly url: Secret
  /** Ed25519 private key of the checkpoints, the first that the log had or the one that signs now. */
  readonly key: KeyObject
  /** The private half of a key that the log was handed over to, where this host has it. */
  readonly keyFor?: (vkey: string) => KeyObject | undefined
  /** Name of the log, first line of each checkpoint: see `originOf`. */
  readonly origin: string
  readonly copy: CheckpointCopy
  readonly logger: Logger
  /** About how many events get their places at once. */
  readonly batch?: number
}

/** The name of a deployment's log. */
export function originOf(deployment: string): string {
  return `sallyport/${deployment.replace(/[^A-Za-z0-9._-]+/g, '-')}`
}

/**
 * Gives indices to the events in the inbox, appends them to the tree and signs it. Many processes may run one; the
 * holder of an advisory lock works, and the epoch in `audit_state` fences off one that lost the lock without noticing.
 */
export class Sequencer {
  /** Of the key that was configured; `keysOf` says which signs now. */
  readonly vkey: string
  readonly #options: SequencerOptions
  #signs: { readonly key: KeyObject; readonly chain: KeyChain }
  readonly #lock: SessionLock
  #epoch = -1
  #head: Head | null = null
  readonly #broken = new Set<string>()
  #problem: LogProblem | null = null
  #wake: () => void = () => {}
  #woken = false

  constructor(options: SequencerOptions) {
    this.#options = options
    this.#lock = new SessionLock(options.url, lockId)
    this.vkey = vkey(options.origin, options.key)
    this.#signs = { key: options.key, chain: chainOf([], parseVkey(this.vkey)) }
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
      if (done >= (this.#options.batch ?? batchEvents) / 2) continue // there may be more
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
    await checkOutside(database.sql)
    const { epoch, size } = await database.sql.begin(async sql => {
      await sql`insert into audit_state (id) values (1) on conflict do nothing`
      const [state] = await sql<{ epoch: string; size: string }[]>`
        update audit_state set epoch = epoch + 1 where id = 1 returning epoch::text, size::text`
      return { epoch: Number(state!.epoch), size: Number(state!.size) }
    })
    this.#signs = await this.#keys()
    await checkOwnTree(database.sql, size, this.#signs.chain)
    const caughtUp = await checkCopy(database.sql, size, copy, this.#signs.chain)
    if (caughtUp > 0)
      logger.warn(
        { checkpoints: caughtUp, copy: copy.path },
        'the copy of the checkpoints was behind and was brought up to date',
      )
    this.#epoch = epoch
    this.#head = await Head.load(database.sql, size)
    this.#broken.clear()
    this.#report(null)
    return true
  }

  /** INVARIANT: only the key at the end of the handovers signs. */
  async #keys(): Promise<{ key: KeyObject; chain: KeyChain }> {
    const { database, key, keyFor } = this.#options
    const { chain, current } = await keysOf(database.sql, this.vkey)
    const own = current === this.vkey ? key : keyFor?.(current)
    if (own !== undefined) return { key: own, chain }
    throw new LogRefusal({
      code: 'key_unknown',
      message: `the log was handed over to the key ${current}, and this host does not have it`,
      remedy:
        'give this host the root key file of the other control hosts; where the file was replaced on purpose, run `sallyport audit rotate-key --from OLD-FILE -m WHY`',
    })
  }

  async #sequence(): Promise<number> {
    const { database, copy, origin } = this.#options
    const { key } = this.#signs
    const head = this.#head!
    await checkOutside(database.sql)
    if (!(await anyWaiting(database.sql, [...this.#broken]))) return 0
    const result = await database.sql.begin(async sql => {
      const [state] = await sql<
        { epoch: string; size: string }[]
      >`select epoch::text, size::text from audit_state where id = 1 for update`
      if (Number(state?.epoch) !== this.#epoch || Number(state?.size) !== head.tree.size) return 'fenced'
      const { ready, broken } = await waitingPlaces(sql, [...this.#broken], this.#options.batch ?? batchEvents)
      for (const { writer } of broken) this.#broken.add(writer)
      const problem = broken[0] ? chainProblem(broken[0]) : null
      if (ready.length === 0) return { count: 0, note: null, problem }
      const first = head.tree.size
      const at: number[] = []
      for (const { hashes } of ready) {
        at.push(head.tree.size)
        for (const hash of hashes) head.tree.append(hash)
      }
      const updated = await sql`
        update audit_places p set idx = u.idx
        from unnest(${`{${ready.map(({ seq }) => seq).join()}}`}::bigint[], ${`{${at.join()}}`}::bigint[]) as u (seq, idx)
        where p.seq = u.seq and p.idx is null`
      if (updated.count !== ready.length)
        throw new Error(`${ready.length} batches were to get a place, ${updated.count} did`)
      await head.flush(sql)
      const size = head.tree.size
      const root = head.tree.root()
      const note = signNote(checkpointText({ origin, size, root }), origin, key)
      await sql`
        insert into audit_checkpoints (size, root, note, at_ms)
        values (${size}, ${root}, ${note}, (extract(epoch from clock_timestamp()) * 1000)::bigint)`
      await sql`update audit_state set size = ${size} where id = 1`
      return { count: size - first, note, problem }
    })
    if (result === 'fenced') {
      this.#options.logger.warn('another process has taken over the sequencing of the audit log')
      await this.release()
      return 0
    }
    if (result.note) await appendTo(copy, [result.note])
    if (result.problem) this.#report(result.problem)
    return result.count
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

function chainProblem({ writer, event, wseq }: BrokenChain): LogProblem {
  return {
    code: 'chain_broken',
    message: `${event === null ? 'a batch' : `event ${event}`} of writer ${writer} does not follow the writer's event ${wseq}: an event there was deleted or changed`,
    remedy: 'run `sallyport audit verify`; events of other writers go on',
  }
}
