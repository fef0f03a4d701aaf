import { faultMessage, logger } from '../../log.ts'
import type { DecisionRow } from './decision-row.ts'
import type { Claimed, Spool } from './spool/spool.ts'
import type { SpoolFile } from './spool/spool-file.ts'

const log = logger('policy')
/** A file that has grown beyond this takes no more. */
const fullFile = 4 << 20

/** A decision that is not in the database yet. */
export interface Waiting {
  readonly row: DecisionRow
  readonly since_ms: number
  count: number
  /** The database takes the others, and not this one. It keeps its place, so that it is never forgotten in silence. */
  stuck: boolean
  /** A write failed, and may have been done all the same: what is there already is no repeat then. */
  tried: boolean
}

interface Entry extends Waiting {
  /** The count that its file says. */
  noted: number
  flying: boolean
}

/** Decisions that go together, with the file that keeps them beyond the death of this process. */
interface Leaf {
  readonly entries: Map<string, Entry>
  file: SpoolFile | undefined
  readonly claimed: Claimed | undefined
}

/**
 * What waits for the database, in memory and on disk. INVARIANT: a row is in its file before `add` returns, and its file
 * goes when all of its rows are written. New rows go to a file of their own while others are written, so that files come to
 * an end however many decisions are made.
 */
export class WaitingRows {
  readonly #spool: Spool | undefined
  #leaves: Leaf[] = []
  #current: Leaf | undefined
  #stuck: Leaf | undefined
  #spare: SpoolFile | undefined
  #size = 0
  #chars = 0
  #claimed = 0

  constructor(spool: Spool | undefined) {
    this.#spool = spool
  }

  /** Rows that wait, those taken over from other processes included. */
  get size(): number {
    return this.#size
  }

  /** Rows of this process, which are what its bounds are about. */
  get own(): number {
    return this.#size - this.#claimed
  }

  /** Of their texts, in characters. */
  get chars(): number {
    return this.#chars
  }

  get stuck(): number {
    return this.#entries().filter(entry => entry.stuck).length
  }

  get oldest_ms(): number | undefined {
    const [first] = this.#entries()
    return first === undefined
      ? undefined
      : this.#entries().reduce((min, e) => Math.min(min, e.since_ms), first.since_ms)
  }

  /** Whether something waits that can be written. */
  get due(): boolean {
    return this.#leaves.some(leaf => hasDue(leaf))
  }

  get fresh(): number {
    return this.#current?.entries.size ?? 0
  }

  /** Whether rows that were taken over still wait: no more are taken then. */
  get takenOver(): boolean {
    return this.#leaves.some(leaf => leaf.claimed !== undefined && hasDue(leaf))
  }

  /** Counts a repeat of what waits. @returns its row where it is being written: then it waits anew. */
  repeat(id: string): DecisionRow | boolean {
    let row: DecisionRow | undefined
    for (let i = this.#leaves.length - 1; i >= 0; i--) {
      const entry = this.#leaves[i]!.entries.get(id)
      if (entry === undefined) continue
      if (!entry.flying) {
        entry.count++
        return true
      }
      row = entry.row
    }
    return row ?? false
  }

  /** @throws what the system says: then the row does not wait, and what was decided must not happen. */
  add(row: DecisionRow, now_ms: number): void {
    const leaf = this.#open()
    leaf.file?.append({ row })
    leaf.entries.set(row.id, entryOf(row, row.count, now_ms))
    this.#size++
    this.#chars += charsOf(row)
  }

  /** Lets what came until now be written, if nothing older must be first. @returns whether there is anything new. */
  turn(): boolean {
    const leaf = this.#current
    if (leaf === undefined || leaf.entries.size === 0) return false
    const older = this.#leaves.some(each => each !== leaf && hasDue(each))
    if (older && (leaf.file?.bytes ?? 0) < fullFile) return false
    this.#current = undefined
    return true
  }

  /** The next rows to write, oldest first, of one file. */
  next(most: number): Waiting[] {
    const batch: Waiting[] = []
    const leaf = this.#leaves.find(each => each !== this.#current && hasDue(each))
    for (const entry of leaf?.entries.values() ?? []) if (!entry.stuck && batch.push(entry) === most) break
    return batch
  }

  /** They are being written: what repeats them now waits by itself. */
  writing(batch: readonly Waiting[]): void {
    for (const entry of batch as readonly Entry[]) entry.flying = true
  }

  written(batch: readonly Waiting[]): void {
    for (const entry of batch) {
      const leaf = this.#leafOf(entry)
      if (leaf === undefined) continue
      leaf.entries.delete(entry.row.id)
      this.#size--
      this.#chars -= charsOf(entry.row)
      if (leaf.claimed !== undefined) this.#claimed--
      if (leaf.entries.size === 0) this.#retire(leaf)
    }
  }

  failed(batch: readonly Waiting[]): void {
    for (const entry of batch as readonly Entry[]) {
      entry.flying = false
      entry.tried = true
    }
  }

  /** Keeps what the database refuses apart from the rest, whose files then come to their end. */
  keepStuck(entry: Waiting): void {
    entry.stuck = true
    const from = this.#leafOf(entry)
    if (from === undefined || from === this.#stuck || from.claimed !== undefined) return
    try {
      this.#stuck ??= this.#begin()
      this.#stuck.file?.append({ row: { ...entry.row, count: entry.count } })
    } catch (error) {
      log.warn({ err: faultMessage(error) }, 'the disk takes no more decisions')
      return
    }
    this.#stuck.entries.set(entry.row.id, entry as Entry)
    from.entries.delete(entry.row.id)
    if (from.entries.size === 0) this.#retire(from)
  }

  /** While the database is away: counts on the disk too, and all of it beyond the death of the machine. */
  async keep(): Promise<void> {
    for (const leaf of this.#leaves) {
      if (leaf.file === undefined || leaf.entries.size === 0) continue
      if (!leaf.file.isThere) this.#rewrite(leaf)
      if (leaf.file.bytes < 2 * fullFile)
        for (const entry of leaf.entries.values()) {
          if (entry.count === entry.noted) continue
          leaf.file.append({ id: entry.row.id, count: entry.count })
          entry.noted = entry.count
        }
      await leaf.file.sync()
    }
  }

  /** Takes over what a process that is gone left behind. It may be in the database already. */
  takeOver(claimed: Claimed): void {
    const leaf: Leaf = { entries: new Map(), file: undefined, claimed }
    for (const { row, count } of claimed.rows) {
      const entry = entryOf(row, count, row.at_ms)
      leaf.entries.set(row.id, { ...entry, tried: true })
      this.#chars += charsOf(row)
    }
    this.#size += leaf.entries.size
    this.#claimed += leaf.entries.size
    this.#leaves.unshift(leaf)
    if (leaf.entries.size === 0) this.#retire(leaf)
  }

  /** What waits stays on the disk for the next process. @returns whether it does. */
  async close(): Promise<boolean> {
    await this.keep().catch(error => log.error({ err: error }, 'decisions could not be kept on the disk'))
    for (const { file, entries } of this.#leaves)
      if (entries.size === 0) file?.remove()
      else file?.close()
    this.#spare?.remove()
    return this.#leaves.every(leaf => leaf.entries.size === 0 || leaf.file !== undefined || leaf.claimed !== undefined)
  }

  #leafOf(entry: Waiting): Leaf | undefined {
    return this.#leaves.find(leaf => leaf.entries.get(entry.row.id) === entry)
  }

  #entries(): Entry[] {
    return this.#leaves.flatMap(leaf => [...leaf.entries.values()])
  }

  #open(): Leaf {
    if (this.#current !== undefined && (this.#current.file?.bytes ?? 0) < fullFile) return this.#current
    this.#current = this.#begin()
    return this.#current
  }

  #begin(): Leaf {
    const file = this.#spare?.isThere ? this.#spare : this.#spool?.create()
    this.#spare = undefined
    const leaf: Leaf = { entries: new Map(), file, claimed: undefined }
    this.#leaves.push(leaf)
    return leaf
  }

  #retire(leaf: Leaf): void {
    if (leaf === this.#current) return
    this.#leaves = this.#leaves.filter(each => each !== leaf)
    if (leaf === this.#stuck) this.#stuck = undefined
    try {
      if (leaf.claimed !== undefined) this.#spool?.drop(leaf.claimed)
      if (leaf.file === undefined) return
      leaf.file.clear()
      if (this.#spare === undefined) this.#spare = leaf.file
      else leaf.file.remove()
    } catch (error) {
      log.warn({ err: faultMessage(error) }, 'a spool that is done stays on the disk')
    }
  }

  /** Another process took this one for dead, and its file over: what still waits here gets a new one. */
  #rewrite(leaf: Leaf): void {
    log.warn({ waiting: leaf.entries.size }, 'another process took the decisions of this one over; they are kept anew')
    const file = this.#spool!.create()
    for (const entry of leaf.entries.values()) {
      file.append({ row: { ...entry.row, count: entry.count } })
      entry.noted = entry.count
    }
    leaf.file?.close()
    leaf.file = file
  }
}

function entryOf(row: DecisionRow, count: number, since_ms: number): Entry {
  return { row, since_ms, count, noted: count, stuck: false, tried: false, flying: false }
}

function hasDue(leaf: Leaf): boolean {
  for (const entry of leaf.entries.values()) if (!entry.stuck) return true
  return false
}

function charsOf({ input, result, reasons, words }: DecisionRow): number {
  return input.length + result.length + reasons.length + words.length
}
