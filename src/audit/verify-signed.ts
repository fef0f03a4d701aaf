import { FlawList } from './flaws.ts'
import { openCheckpoint, type Trust } from './note.ts'
import type { Sql } from './store.ts'

const page = 2000

interface Row {
  size: string
  root: Buffer
  note: string
}

/** Follows the signed checkpoints of the database along the entries. */
export class SignedChecks {
  readonly flaws = new FlawList()
  readonly #sql: Sql
  readonly #trust: Trust
  readonly #size: number
  #rows: Row[] = []
  #read = -1
  #waiting: { size: number; root: Buffer } | null = null
  #good = 0
  #last = -1
  #wrong = false

  constructor(sql: Sql, trust: Trust, size: number) {
    this.#sql = sql
    this.#trust = trust
    this.#size = size
  }

  /** Size of the checkpoint that comes next. */
  get next(): number {
    return this.#waiting?.size ?? Number.POSITIVE_INFINITY
  }

  /** The log as it is, is so long, with this root. Call with 0 first. */
  async reached(size: number, root: () => Buffer): Promise<void> {
    if (this.#waiting?.size === size && !this.#wrong) {
      if (root().equals(this.#waiting.root)) this.#good = size
      else this.#bad(size)
    }
    do this.#waiting = await this.#take()
    while (this.#waiting !== null && this.#waiting.size <= size)
  }

  async finish(): Promise<void> {
    while (this.#waiting !== null) this.#waiting = await this.#take()
    if (this.#last > this.#size) {
      if (!this.#wrong)
        this.flaws.add(
          'log_truncated',
          this.#last,
          `a checkpoint signs ${this.#last} entries, but the log has ${this.#size}: the last ${this.#last - this.#size} are gone`,
        )
    } else if (this.#size > 0 && this.#last !== this.#size)
      this.flaws.add('checkpoint_wrong', this.#size, `no signed checkpoint covers the log of ${this.#size} entries`)
  }

  #bad(size: number): void {
    this.#wrong = true
    this.flaws.add(
      'checkpoint_wrong',
      size,
      `the entries from ${this.#good} to ${size - 1} are not those that the checkpoint for ${size} entries signs`,
    )
  }

  /** The next one that is signed. */
  async #take(): Promise<{ size: number; root: Buffer } | null> {
    for (;;) {
      if (this.#rows.length === 0) {
        this.#rows = await this.#sql<Row[]>`
          select size::text, root, note from audit_checkpoints c where c.size > ${this.#read} order by c.size limit ${page}`
        if (this.#rows.length === 0) return null
        this.#read = Number(this.#rows.at(-1)!.size)
        this.#rows.reverse()
      }
      const row = this.#rows.pop()!
      const size = Number(row.size)
      const checkpoint = openCheckpoint(row.note, this.#trust)
      if (!checkpoint) {
        const by = this.#trust.name
        this.flaws.add('checkpoint_unsigned', size, `the checkpoint for ${size} entries is not signed by ${by}`)
        continue
      }
      if (checkpoint.size !== size || !checkpoint.root.equals(row.root)) {
        this.flaws.add(
          'checkpoint_wrong',
          size,
          `the row of the checkpoint for ${size} entries says something else than its signed note`,
        )
      }
      this.#last = Math.max(this.#last, checkpoint.size)
      return checkpoint
    }
  }
}
