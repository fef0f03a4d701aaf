import type { KeyObject } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { logger } from '../log.ts'
import type { Catalog, Head } from './catalog.ts'
import { hashOf, type NewSegment, sealEvents, segmentTarget } from './format/segment.ts'
import type { JournalWriter } from './journal-writer.ts'
import type { Chunk, PartQueue } from './part-queue.ts'
import { readBack } from './read-back.ts'
import { Spares } from './spares.ts'
import { clearLate, type Store, segmentName } from './store.ts'

const log = logger('recording')

export interface ShipperOptions {
  readonly store: Store
  readonly catalog: Catalog
  readonly writer: JournalWriter
  /** Whether somebody follows this session: then its segments are cut sooner. */
  readonly watched?: (sessionId: string) => boolean
  /** Nothing could be shipped for a while (a reason), or it can again (null). */
  readonly onAlarm?: (reason: string | null) => void
  readonly cutMs?: number
  readonly watchedMs?: number
  readonly alarmMs?: number
  readonly bufferBytes?: number
  readonly parallel?: number
}

/** Segments grow to this when a part produces faster than it ships: fewer syncs of the store for the same bytes. */
const behindTarget = 4 * segmentTarget
const spaces = new Spares(behindTarget, 4)
const tickMs = 100
const behindMs = 20
const maxBackoffMs = 5_000

/**
 * Ships what the journal has: cuts, compresses, seals, stores, notes, and lets go of the spool.
 *
 * INVARIANT: memory is bounded by `bufferBytes` whatever the store does; what does not fit is read back from the journal.
 */
export class Shipper {
  readonly #options: Required<ShipperOptions>
  readonly #parts = new Map<string, PartQueue>()
  readonly #timer: NodeJS.Timeout
  #running = 0
  #bytes = 0
  #catchingUp = false
  #failedSince: number | undefined
  #alarmed = false
  #problem = ''
  #retryAt = 0
  #backoffMs = 0
  #stopped = false

  constructor(options: ShipperOptions) {
    this.#options = {
      watched: () => false,
      onAlarm: () => {},
      cutMs: 4_500,
      watchedMs: 900,
      alarmMs: 10_000,
      bufferBytes: 16 * 1024 * 1024,
      parallel: 4,
      ...options,
    }
    this.#timer = setInterval(() => this.#tick(), tickMs)
    this.#timer.unref()
  }

  /** Bytes held in memory now. */
  get buffered(): number {
    return this.#bytes
  }

  /**
   * A promise while memory is nearly full although the store takes what comes: who carries much waits a moment, for what
   * memory cannot hold costs twice, once to write and once to read back. An outage of the store makes nobody wait here.
   */
  behind(): Promise<void> | undefined {
    if (this.#failedSince !== undefined || this.#bytes < this.#options.bufferBytes * 0.75) return undefined
    return sleep(behindMs)
  }

  /** For how many seconds nothing could be shipped. */
  get failing_s(): number {
    return this.#failedSince === undefined ? 0 : Math.round((performance.now() - this.#failedSince) / 1000)
  }

  /** Why somebody must look; null while what is shipped arrives. */
  get alarm(): string | null {
    return this.#alarmed ? this.#problem : null
  }

  /** Parts that are not wholly shipped and noted. */
  get pending(): number {
    return this.#parts.size
  }

  add(part: PartQueue): void {
    this.#parts.set(part.id, part)
  }

  /** Takes over the events of a record that the journal has. */
  wrote(part: PartQueue, chunk: Chunk): void {
    part.written = chunk.last_seq
    if (part.lagging !== undefined) return
    this.#push(part, chunk)
    if (this.#bytes > this.#options.bufferBytes) this.#giveWay()
  }

  /** No more will come of this part; when all of it is shipped its row says so. */
  end(part: PartQueue, ending: 'clean' | 'lost', reason: string): void {
    part.end ??= { ending, reason }
  }

  /** Waits until every ended part is shipped, at most so long. @returns whether nothing is left. */
  async drain(timeoutMs: number): Promise<boolean> {
    const until = performance.now() + timeoutMs
    while (this.#parts.size > 0 && performance.now() < until) {
      this.#tick()
      await sleep(20)
    }
    return this.#parts.size === 0
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearInterval(this.#timer)
    while (this.#running > 0 || this.#catchingUp) await sleep(10)
  }

  #push(part: PartQueue, chunk: Chunk): void {
    part.push(chunk, performance.now())
    this.#bytes += chunk.events.length
  }

  /** The part that holds most is read from the journal later. */
  #giveWay(): void {
    let most: PartQueue | undefined
    for (const part of this.#parts.values()) {
      if (part.lagging === undefined && part.bytes > (most?.bytes ?? 0)) most = part
    }
    if (most === undefined) return
    this.#bytes -= most.bytes
    most.drop()
  }

  #tick(): void {
    if (this.#stopped) return
    const now = performance.now()
    if (!this.#alarmed && this.#isLate(now)) {
      this.#alarmed = true
      this.#options.onAlarm(this.#problem)
    }
    // A copy: whoever had its turn goes to the end, and one that fails before it waits for anything would have turns for ever.
    for (const part of [...this.#parts.values()]) {
      if (now < this.#retryAt || this.#running >= this.#options.parallel) break
      if (!part.busy && this.#due(part, now)) void this.#run(part)
    }
    if (now >= this.#retryAt && !this.#catchingUp && [...this.#parts.values()].some(part => part.lagging !== undefined))
      void this.#catchUp()
  }

  #due(part: PartQueue, now: number): boolean {
    if (part.bytes >= segmentTarget) return true
    if (part.end !== undefined && part.lagging === undefined) return true
    const age = this.#options.watched(part.facts.session_id) ? this.#options.watchedMs : this.#options.cutMs
    return part.bytes > 0 && now - part.since >= age
  }

  async #run(part: PartQueue): Promise<void> {
    part.busy = true
    this.#running++
    try {
      if (part.uncertain) this.#advance(part, await this.#options.catalog.head(part.facts))
      part.uncertain = false
      if (part.bytes > 0) await this.#ship(part)
      else await this.#finish(part)
      this.#succeeded(part)
    } catch (error) {
      part.uncertain = true
      this.#failed(part, error)
    } finally {
      part.busy = false
      this.#running--
      if (this.#parts.delete(part.id)) this.#parts.set(part.id, part) // to the end: every part has its turn
      this.#options.writer.release(id => this.#parts.get(id)?.head.last_seq ?? Number.POSITIVE_INFINITY)
      this.#tick()
    }
  }

  async #ship(part: PartQueue): Promise<void> {
    const chunks = part.peek(part.bytes > behindTarget ? behindTarget : segmentTarget)
    const { recording_id, part: number, part_id, key, layer } = part.facts
    const { n, hash: prev } = part.head
    const first_seq = chunks[0]!.first_seq
    const last_seq = chunks.at(-1)!.last_seq
    const header = { layer, part_id, n, first_seq, last_seq, nonce: part.nextNonce(), prev }
    const stored = await sealTogether(key, header, chunks)
    const hash = hashOf(stored)
    const name = segmentName(recording_id, number, n, hash)
    await this.#options.store.put(name, stored)
    const row = { recording_id, part: number, n, first_seq, last_seq, bytes: stored.length, hash, prev, key: name }
    if (await this.#options.catalog.insertSegment(row)) this.#advance(part, { n: n + 1, hash, last_seq })
    else await this.#forget(part)
  }

  async #finish(part: PartQueue): Promise<void> {
    if (part.end === undefined) return
    if (!part.isEmpty)
      throw new Error(`part ${part.id} ended at seq ${part.written}, and only ${part.head.last_seq} was found to ship`)
    const { recording_id, part: number } = part.facts
    await this.#options.catalog.endPart({ recording_id, part: number, last_seq: part.written, ...part.end, gaps: [] })
    this.#parts.delete(part.id)
  }

  #advance(part: PartQueue, head: Head): void {
    const before = part.bytes
    part.advance(head, performance.now())
    this.#bytes += part.bytes - before
  }

  /** Its recording was deleted: nothing of it may reach the store any more. */
  async #forget(part: PartQueue): Promise<void> {
    log.warn(
      { recording: part.facts.recording_id, part: part.facts.part },
      'the recording was deleted while its session lived',
    )
    await clearLate(this.#options.store, part.facts.recording_id)
    this.#bytes -= part.bytes
    this.#parts.delete(part.id)
  }

  /** One that fails while all others arrive is one too many: nobody would ever hear of it. */
  #isLate(now: number): boolean {
    for (const { failingSince } of this.#parts.values())
      if (failingSince !== undefined && now - failingSince > this.#options.alarmMs) return true
    return false
  }

  #succeeded(part: PartQueue): void {
    part.failingSince = undefined
    this.#failedSince = undefined
    this.#backoffMs = 0
    this.#retryAt = 0
    if (!this.#alarmed || this.#isLate(performance.now())) return
    this.#alarmed = false
    this.#options.onAlarm(null)
  }

  #failed(part: PartQueue, error: unknown): void {
    const now = performance.now()
    this.#failedSince ??= now
    part.failingSince ??= now
    const { recording_id } = part.facts
    const seconds = Math.round((now - part.failingSince) / 1000)
    this.#problem = `recordings have not been shipped to the store for ${seconds} s (${recording_id}): ${(error as Error).message}`
    this.#backoffMs = Math.min(maxBackoffMs, Math.max(250, this.#backoffMs * 2))
    this.#retryAt = now + this.#backoffMs
    log.warn({ err: error }, 'a segment could not be shipped; it is tried again')
  }

  /** Reads the journal for the parts that memory does not hold, and hands them back to memory where it ends. */
  async #catchUp(): Promise<void> {
    this.#catchingUp = true
    try {
      const parts = new Map([...this.#parts].filter(([, part]) => part.lagging !== undefined))
      const whole = await readBack({
        writer: this.#options.writer,
        parts,
        give: (part, chunk) => this.#push(part, chunk),
        room: () => this.#room(),
      })
      if (!whole) return
      for (const part of parts.values()) if (part.queued === part.written) part.lagging = undefined
    } catch (error) {
      log.error({ err: error }, 'the journal could not be read back')
      await sleep(1_000, undefined, { ref: false })
    } finally {
      this.#catchingUp = false
    }
  }

  async #room(): Promise<boolean> {
    while (this.#bytes > this.#options.bufferBytes / 2 && !this.#stopped) await sleep(10)
    return !this.#stopped
  }
}

/** One segment of what lies in several pieces. */
async function sealTogether(key: KeyObject, header: NewSegment, chunks: readonly Chunk[]): Promise<Buffer> {
  const space = spaces.take(chunks.reduce((sum, { events }) => sum + events.length, 0))
  try {
    let at = 0
    for (const { events } of chunks) at += events.copy(space, at)
    return await sealEvents(key, header, space.subarray(0, at))
  } finally {
    spaces.give(space)
  }
}
