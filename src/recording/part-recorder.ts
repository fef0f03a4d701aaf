import { JournalLost } from './errors.ts'
import { type NewRecorded, packEvent } from './events.ts'
import { clearFrame, frameKind, sealRecord } from './format.ts'
import type { JournalWriter, WrittenPart } from './journal-writer.ts'
import type { Chunk, PartQueue } from './part-queue.ts'
import type { SessionRecorder } from './recorder.ts'
import { segmentTarget } from './segment.ts'
import type { Shipper } from './shipper.ts'

export interface PartRecorderOptions {
  readonly queue: PartQueue
  readonly written: WrittenPart
  /** `performance.now()` at the part's start, from which `t` counts. */
  readonly started: number
  readonly strict: boolean
  readonly writer: JournalWriter
  readonly shipper: Shipper
  readonly originals: PartRecorder | null
  readonly onClosed: () => void
}

/** Seals events into records of its part. The key, the counter and the seq are its own; nothing else uses them. */
export class PartRecorder implements SessionRecorder {
  readonly #options: PartRecorderOptions
  readonly #listeners = new Set<(reason: string) => void>()
  #seq = 0
  #counter = 0
  #lost: string | undefined
  #closed: Promise<void> | undefined

  constructor(options: PartRecorderOptions) {
    this.#options = options
  }

  get recording_id(): string {
    return this.#options.queue.facts.recording_id
  }
  get part(): number {
    return this.#options.queue.facts.part
  }
  get strict(): boolean {
    return this.#options.strict
  }

  get originals(): PartRecorder | null {
    return this.#options.originals
  }

  append(events: readonly NewRecorded[]): void {
    if (this.#lost !== undefined) throw new JournalLost(this.#lost)
    if (this.#closed !== undefined) throw new JournalLost('it has ended')
    const t = Math.round((performance.now() - this.#options.started) * 1000)
    try {
      let packed: Buffer[] = []
      let bytes = 0
      let seq = this.#seq
      for (const event of events) {
        const one = packEvent(event, ++seq, t)
        if (bytes > 0 && bytes + one.length > segmentTarget) {
          this.#write(packed)
          packed = []
          bytes = 0
        }
        packed.push(one)
        bytes += one.length
      }
      if (packed.length > 0) this.#write(packed)
    } catch (error) {
      const lost = error instanceof JournalLost ? error : new JournalLost((error as Error).message, error)
      this.lost(String(lost.facts['reason']))
      throw lost
    }
  }

  async appendDurable(events: readonly NewRecorded[]): Promise<void> {
    this.append(events)
    await this.flush()
  }

  flush(): Promise<void> {
    return this.#lost === undefined ? this.#options.writer.flush() : Promise.reject(new JournalLost(this.#lost))
  }

  close(reason: string): Promise<void> {
    this.#closed ??= this.#end(reason)
    return this.#closed
  }

  onLost(run: (reason: string) => void): Disposable {
    if (this.#lost !== undefined) run(this.#lost)
    else this.#listeners.add(run)
    return { [Symbol.dispose]: () => this.#listeners.delete(run) }
  }

  /** The journal takes nothing more: tells whoever listens, once. */
  lost(reason: string): void {
    if (this.#lost !== undefined) return
    this.#lost = reason
    const listeners = [...this.#listeners]
    this.#listeners.clear()
    for (const run of listeners) run(reason)
  }

  #write(packed: readonly Buffer[]): void {
    const { queue, written, writer, shipper } = this.#options
    const events = packed.length === 1 ? packed[0]! : Buffer.concat(packed)
    const first_seq = this.#seq + 1
    const last_seq = this.#seq + packed.length
    const header = { part_id: queue.facts.part_id, counter: this.#counter++, first_seq, count: packed.length }
    const at = writer.write(written, sealRecord(queue.facts.key, header, events), last_seq)
    this.#seq = last_seq
    const chunk: Chunk = { first_seq, last_seq, events, at }
    shipper.wrote(queue, chunk)
  }

  async #end(reason: string): Promise<void> {
    const { queue, written, writer, shipper, originals, onClosed } = this.#options
    await originals?.close(reason)
    const ending = this.#lost === undefined ? 'clean' : 'lost'
    const why = this.#lost === undefined ? reason : `${reason}: ${this.#lost}`
    try {
      const payload = Buffer.from(JSON.stringify({ ending, reason: why, last_seq: this.#seq }))
      if (this.#lost === undefined)
        writer.write(written, clearFrame(frameKind.end, queue.facts.part_id, this.#seq + 1, payload), this.#seq)
    } catch {
      // Without its end frame the part is found as `recovered`, should this process die before it is shipped.
    }
    shipper.end(queue, ending, why)
    await writer.flush().catch(() => {})
    onClosed()
  }
}
