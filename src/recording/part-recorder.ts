import type { CipherGCM } from 'node:crypto'
import { JournalLost } from './errors.ts'
import type { NewRecorded } from './events.ts'
import { EventWriter } from './format/event-writer.ts'
import { clearFrame, frameKind, recordBytes, recordCipher, sealRecord } from './format/frames.ts'
import { segmentTarget } from './format/segment.ts'
import type { WrittenPart } from './journal-file.ts'
import type { JournalWriter } from './journal-writer.ts'
import type { PartQueue } from './part-queue.ts'
import type { SessionRecorder } from './recorder.ts'
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

const mostKept = 1024 * 1024
/** Memory that every append uses again: an append is synchronous, and one inside of another finds none and takes its own. */
const spare: { packed: EventWriter | undefined; sealed: Buffer | undefined } = { packed: undefined, sealed: undefined }

function spaceFor(bytes: number): Buffer {
  const { sealed } = spare
  spare.sealed = undefined
  return sealed !== undefined && sealed.length >= bytes ? sealed : Buffer.allocUnsafeSlow(Math.max(2 * bytes, 4096))
}

/** Seals events into records of its part. The key, the counter and the seq are its own; nothing else uses them. */
export class PartRecorder implements SessionRecorder {
  readonly #options: PartRecorderOptions
  readonly #listeners = new Set<(reason: string) => void>()
  #seq = 0
  #counter = 0
  #cipher: CipherGCM | undefined
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
    const packed = spare.packed ?? new EventWriter()
    spare.packed = undefined
    try {
      let count = 0
      for (const event of events) {
        const before = packed.length
        packed.write(event, this.#seq + count + 1, t)
        if (count > 0 && packed.length > segmentTarget) {
          this.#write(packed.written.subarray(0, before), count)
          packed.drop(before)
          count = 0
        }
        count++
      }
      if (count > 0) this.#write(packed.written, count)
    } catch (error) {
      const lost = error instanceof JournalLost ? error : new JournalLost((error as Error).message, error)
      this.lost(String(lost.facts['reason']))
      throw lost
    } finally {
      packed.reset()
      spare.packed = packed
    }
  }

  behind(): Promise<void> | undefined {
    return this.#options.writer.behind() ?? this.#options.shipper.behind()
  }

  prepare(): void {
    if (this.#lost === undefined && this.#closed === undefined)
      this.#cipher ??= recordCipher(this.#options.queue.facts.key, this.#counter)
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

  #write(events: Buffer, count: number): void {
    const { queue, written, writer, shipper } = this.#options
    const { part_id, key } = queue.facts
    const first_seq = this.#seq + 1
    const last_seq = this.#seq + count
    // INVARIANT: each counter is taken once, and so is the cipher that was prepared for it.
    const counter = this.#counter++
    const cipher = this.#cipher ?? recordCipher(key, counter)
    this.#cipher = undefined
    const space = spaceFor(recordBytes(events.length))
    const frame = sealRecord(cipher, { part_id, counter, first_seq, count }, events, space)
    const at = writer.write(written, frame, last_seq)
    spare.sealed = space.length > mostKept ? undefined : space
    this.#seq = last_seq
    shipper.wrote(queue, { first_seq, last_seq, events, at })
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
