import type { KeyObject } from 'node:crypto'
import type { Head } from './catalog.ts'
import type { Position } from './journal-writer.ts'
import type { Layer } from './segment.ts'

/** The events of one journal record, in clear, waiting to be shipped. */
export interface Chunk {
  readonly first_seq: number
  readonly last_seq: number
  readonly events: Buffer
  readonly at: Position
}

export interface QueuedPart {
  readonly recording_id: string
  readonly part: number
  readonly part_id: Buffer
  readonly session_id: string
  readonly layer: Layer
  readonly key: KeyObject
}

/**
 * What of one live part is not in the store yet. `head.last_seq` ≤ `queued` ≤ `written`: shipped, held in memory, in the
 * journal. A part is lagging when memory does not hold all of it; the rest is read back from the journal.
 */
export class PartQueue {
  readonly facts: QueuedPart
  head: Head = { n: 0, hash: '', last_seq: 0 }
  written = 0
  lagging: Position | undefined
  busy = false
  /** The last try failed half-way: the database is asked what it took before the next. */
  uncertain = false
  end: { readonly ending: 'clean' | 'lost'; readonly reason: string } | undefined
  bytes = 0
  since = 0
  #chunks: Chunk[] = []
  #nonce = 0
  #queued = 0

  constructor(facts: QueuedPart) {
    this.facts = facts
  }

  get id(): string {
    return this.facts.part_id.toString('hex')
  }

  get queued(): number {
    return this.#queued
  }

  /** Everything that was written is shipped. */
  get isEmpty(): boolean {
    return this.#chunks.length === 0 && this.lagging === undefined && this.head.last_seq === this.written
  }

  push(chunk: Chunk, now: number): void {
    if (this.#chunks.length === 0) this.since = now
    this.#chunks.push(chunk)
    this.#queued = chunk.last_seq
    this.bytes += chunk.events.length
  }

  /** The oldest events, up to `target` bytes but at least one record. */
  peek(target: number): Chunk[] {
    let bytes = 0
    let count = 0
    for (const chunk of this.#chunks) {
      if (count > 0 && bytes + chunk.events.length > target) break
      bytes += chunk.events.length
      count++
    }
    return this.#chunks.slice(0, count)
  }

  /** Forgets what is shipped. */
  advance(head: Head, now: number): void {
    this.head = head
    let count = 0
    for (const chunk of this.#chunks) {
      if (chunk.last_seq > head.last_seq) break
      this.bytes -= chunk.events.length
      count++
    }
    this.#chunks.splice(0, count)
    this.since = now
    if (this.#queued < head.last_seq) this.#queued = head.last_seq
  }

  /** Gives the memory back: from here on the part is read from the journal. */
  drop(): void {
    const first = this.#chunks[0]
    if (first === undefined) return
    this.lagging ??= first.at
    this.#queued = this.head.last_seq
    this.#chunks = []
    this.bytes = 0
  }

  /** INVARIANT: a counter is taken once for each sealing, whether or not its segment arrives. */
  nextNonce(): number {
    return this.#nonce++
  }
}
