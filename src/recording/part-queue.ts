import type { KeyObject } from 'node:crypto'
import type { Head } from './catalog.ts'
import type { Layer } from './format/segment.ts'
import type { Position } from './journal-file.ts'
import { Spares } from './spares.ts'

/** The events of one or more journal records, in clear, waiting to be shipped. */
export interface Chunk {
  readonly first_seq: number
  readonly last_seq: number
  readonly events: Buffer
  /** Where the first of the records begins. */
  readonly at: Position
}

const leastBytes = 2 * 1024
const mostBytes = 64 * 1024
const spares = new Spares(mostBytes, 128)

/** Records side by side in one piece of memory: thousands of small ones would be as many objects for the collector. */
class Gathered implements Chunk {
  readonly first_seq: number
  readonly at: Position
  last_seq: number
  readonly #memory: Buffer
  #used = 0

  constructor(first: Chunk, size: number) {
    this.first_seq = first.first_seq
    this.at = first.at
    this.last_seq = first.last_seq
    const bytes = Math.max(size, first.events.length)
    this.#memory = bytes < mostBytes ? Buffer.allocUnsafeSlow(bytes) : spares.take(bytes)
    this.add(first)
  }

  get events(): Buffer {
    return this.#memory.subarray(0, this.#used)
  }

  /** @returns false when there is no room for it. */
  add({ events, last_seq }: Chunk): boolean {
    if (this.#memory.length - this.#used < events.length) return false
    this.#memory.set(events, this.#used)
    this.#used += events.length
    this.last_seq = last_seq
    return true
  }

  /** It was shipped: nothing reads it any more. */
  release(): void {
    spares.give(this.#memory)
  }
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
  /** Since when each try failed. */
  failingSince: number | undefined
  end: { readonly ending: 'clean' | 'lost'; readonly reason: string } | undefined
  bytes = 0
  since = 0
  #chunks: Gathered[] = []
  /** The last chunk, as long as nothing of it is on its way to the store. */
  #open: Gathered | undefined
  #nextBytes = leastBytes
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

  /** Copies the events of a record. */
  push(chunk: Chunk, now: number): void {
    if (this.#chunks.length === 0) this.since = now
    if (this.#open === undefined || !this.#open.add(chunk)) {
      this.#open = new Gathered(chunk, this.#nextBytes)
      this.#nextBytes = Math.min(mostBytes, 2 * this.#nextBytes)
      this.#chunks.push(this.#open)
    }
    this.#queued = chunk.last_seq
    this.bytes += chunk.events.length
  }

  /** The oldest events, up to `target` bytes but at least one chunk. What they are stays as it is now. */
  peek(target: number): Chunk[] {
    this.#open = undefined
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
      chunk.release()
      count++
    }
    this.#chunks.splice(0, count)
    if (this.#chunks.length === 0) {
      this.#open = undefined
      this.#nextBytes = leastBytes
    }
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
    this.#open = undefined
    this.bytes = 0
  }

  /** INVARIANT: a counter is taken once for each sealing, whether or not its segment arrives. */
  nextNonce(): number {
    return this.#nonce++
  }
}
