import type { FlawList } from './flaws.ts'
import { bodyHash, type ChainEnd, chainStart, type Leaf, parseLeaf, searchColumns } from './leaf.ts'
import { leafHash } from './merkle.ts'

export interface EntryRow {
  readonly id: string
  readonly idx: string
  readonly writer: string
  readonly wseq: string
  readonly at_ms: string
  readonly type: string
  readonly body: string | null
  readonly salt: Buffer | null
  readonly leaf: string
  readonly subject_id: string | null
  readonly session_id: string | null
  readonly resource: string | null
}

interface Mismatch {
  readonly at: number
  readonly id: string
  readonly found: string
  readonly expected: string
}

const maxMismatches = 10_000

/** Checks entries in the order of the log, then those that wait, and explains at the end what belongs together. */
export class EntryChecks {
  erased = 0
  readonly #flaws: FlawList
  readonly #chains = new Map<string, ChainEnd>()
  readonly #mismatches: Mismatch[] = []
  /** Hashes that entries found missing or changed had: what follows them in their writer's chain is no flaw of its own. */
  readonly #lost = new Set<string>()
  readonly #breaks: { prev: string; report: () => void }[] = []

  constructor(flaws: FlawList) {
    this.#flaws = flaws
  }

  /** @param at index in the log, null for an event that waits. @param tile the leaf's hash in the tree. */
  check(at: number | null, row: EntryRow | undefined, tile: Buffer | null): void {
    if (!row) {
      this.#flaws.add('entry_missing', at, `entry ${at} is missing: its row was deleted or moved away`)
      if (tile) this.#lost.add(tile.toString('hex'))
      return
    }
    const name = at === null ? `waiting event ${row.id}` : `entry ${at} (${row.id})`
    const hash = leafHash(row.leaf).toString('hex')
    const expected = tile?.toString('hex') ?? hash
    if (hash !== expected) {
      this.#lost.add(expected)
      if (at !== null && this.#mismatches.length < maxMismatches)
        this.#mismatches.push({ at, id: row.id, found: hash, expected })
      else this.#flaws.add('entry_changed', at, `${name} was changed`, row.id)
      return
    }
    const leaf = parseLeaf(row.leaf)
    if (!leaf) {
      this.#flaws.add('entry_malformed', at, `${name} holds no canonical leaf of version 1`, row.id)
      return
    }
    this.#checkRow(name, at, row, leaf)
    this.#checkChain(name, at, row.id, leaf, hash)
  }

  /** What the writer's own row says must be what its chain ends with. */
  checkEnd(writer: string, wseq: number, prev: string): void {
    const end = this.#chains.get(writer) ?? chainStart
    if (end.wseq === wseq && end.hash === prev) return
    this.#chainBreak(prev, () => {
      this.#flaws.add(
        'writer_gap',
        null,
        `writer ${writer} recorded ${wseq} events, its chain here ends with event ${end.wseq}: the last ones were deleted or changed`,
      )
    })
  }

  /** Explains the mismatches: swapped, moved or changed. Call once, at the end. */
  finish(): void {
    const byExpected = new Map(this.#mismatches.map(m => [m.expected, m]))
    const told = new Set<number>()
    for (const m of this.#mismatches) {
      if (told.has(m.at)) continue
      const home = byExpected.get(m.found)
      if (home && home.found === m.expected) {
        told.add(home.at)
        this.#flaws.add(
          'entries_swapped',
          m.at,
          `entries ${m.at} (${m.id}) and ${home.at} (${home.id}) were swapped`,
          m.id,
        )
      } else if (home) {
        this.#flaws.add('entry_moved', m.at, `entry ${m.at} (${m.id}) belongs at index ${home.at}`, m.id)
      } else {
        this.#flaws.add(
          'entry_changed',
          m.at,
          `entry ${m.at} (${m.id}) was changed: it is not what the tree holds`,
          m.id,
        )
      }
    }
    for (const found of this.#breaks) if (!this.#lost.has(found.prev)) found.report()
  }

  #checkRow(name: string, at: number | null, row: EntryRow, leaf: Leaf): void {
    const changed = (what: string) =>
      this.#flaws.add('columns_changed', at, `the column ${what} of ${name} says something else than the event`, row.id)
    if (row.type !== leaf.type) changed('type')
    if (row.writer !== leaf.writer) changed('writer')
    if (Number(row.wseq) !== leaf.wseq) changed('wseq')
    if (Number(row.at_ms) !== leaf.at_ms) changed('at_ms')
    if (row.body === null && row.salt === null) {
      this.erased++
      return
    }
    if (row.body === null || row.salt === null || bodyHash(row.salt, row.body) !== leaf.body_hash) {
      this.#flaws.add('body_changed', at, `the body of ${name} was changed`, row.id)
      return
    }
    const said = searchColumns(row.body)
    for (const column of ['subject_id', 'session_id', 'resource'] as const)
      if (row[column] !== said[column]) changed(column)
    if ((JSON.parse(row.body) as { id?: unknown }).id !== row.id) changed('id')
  }

  #checkChain(name: string, at: number | null, id: string, leaf: Leaf, hash: string): void {
    const last = this.#chains.get(leaf.writer) ?? chainStart
    this.#chains.set(leaf.writer, { wseq: leaf.wseq, hash })
    if (leaf.wseq === last.wseq + 1 && leaf.prev === last.hash) return
    this.#chainBreak(leaf.prev, () => {
      if (leaf.wseq === last.wseq + 1) {
        this.#flaws.add(
          'writer_fork',
          at,
          `${name} names another forerunner than the event ${last.wseq} that stands before it: that one was changed`,
          id,
        )
      } else {
        this.#flaws.add(
          'writer_gap',
          at,
          `${name} is event ${leaf.wseq} of writer ${leaf.writer}, but event ${last.wseq} stands before it: events between were deleted`,
          id,
        )
      }
    })
  }

  #chainBreak(prev: string, report: () => void): void {
    if (this.#breaks.length < maxMismatches) this.#breaks.push({ prev, report })
    else report()
  }
}
