import { createSecretKey, type KeyObject } from 'node:crypto'
import { sealHash } from '../recording/format/seal.ts'
import { hashOf, parseSegment } from '../recording/format/segment.ts'
import { PartReader, type PartRow, type SegmentRow } from '../recording/part-reader.ts'
import { jsonLine } from '../recording/render.ts'
import { lineOf } from '../recording/replay-line.ts'
import type { Findings } from './findings.ts'
import type { PartFile, RecordingFile } from './format.ts'
import type { LogCheck } from './verify-log.ts'

const text = /^part-(\d{1,6})-(\d{6,9})\.(seg|jsonl)$/

/** One recording: seal, chains, and where the keys are given every event, read again from the sealed segments. */
export class RecordingCheck {
  readonly #file: RecordingFile
  readonly #log: LogCheck
  readonly #found: Findings
  readonly #name: string
  readonly #parts = new Map<number, { readonly reader: PartReader; stored: Buffer; lines: string | undefined }>()
  #broken = false
  #ended = false

  constructor(file: RecordingFile, log: LogCheck, found: Findings) {
    this.#file = file
    this.#log = log
    this.#found = found
    this.#name = `recording of ${file.session_id}`
  }

  get session(): string {
    return this.#file.session_id
  }

  part(facts: PartFile): void {
    const opens = this.#file.given === 'text' && this.#file.state !== 'open'
    if (opens && !/^[0-9a-f]{64}$/.test(facts.key ?? ''))
      return void this.#flaw(`part ${facts.part} has no key, although its events are given`)
    const key: KeyObject | null = opens ? createSecretKey(Buffer.from(facts.key!, 'hex')) : null
    const row = { ...facts, recording_id: this.#file.id } as unknown as PartRow
    if (this.#parts.has(facts.part)) return void this.#flaw(`part ${facts.part} is there twice`)
    const kept = {
      reader: undefined as unknown as PartReader,
      stored: Buffer.alloc(0) as Buffer,
      lines: undefined as string | undefined,
    }
    kept.reader = new PartReader(row, key, { get: async () => kept.stored })
    this.#parts.set(facts.part, kept)
  }

  async piece(file: string, content: Buffer): Promise<void> {
    const [, number, n, kind] = text.exec(file) ?? []
    const part = this.#parts.get(Number(number))
    if (part === undefined) return void this.#flaw(`${file} comes before the facts of its part`)
    if (kind === 'jsonl') return void this.#lines(part, file, content)
    this.#expectLines(part)
    if (Number(n) !== part.reader.next)
      return void this.#damaged(`${file} comes where segment ${part.reader.next} is due`)
    part.stored = content
    try {
      const { first_seq, last_seq, prev } = parseSegment(content)
      const segment = { n: Number(n), first_seq, last_seq, prev, hash: hashOf(content), key: '', bytes: content.length }
      const events = await part.reader.read(segment as unknown as SegmentRow)
      if (part.reader.opens) part.lines = events.map(event => `${jsonLine(lineOf(event))}\n`).join('')
    } catch (error) {
      this.#damaged((error as Error).message)
    }
  }

  #lines(part: { lines: string | undefined }, file: string, content: Buffer): void {
    if (part.lines === undefined) return void this.#flaw(`${file} is the text of no segment whose key is here`)
    if (!content.equals(Buffer.from(part.lines))) this.#flaw(`${file} does NOT say what its sealed segment holds`)
    part.lines = undefined
  }

  /** The text of the segment before must have come. */
  #expectLines(part: { reader: PartReader; lines: string | undefined }): void {
    if (part.lines !== undefined && part.lines !== '')
      this.#flaw(`the text of segment ${part.reader.next - 1} is missing`)
    part.lines = undefined
  }

  end({ ok, problem }: { readonly ok: boolean; readonly problem: string | null }): void {
    this.#ended = true
    if (!ok) this.#flaw(`it could not be read to its end when it was exported: ${problem}`)
  }

  /** What holds of it as a whole, when all of it was seen. */
  finish(): void {
    for (const part of this.#parts.values()) this.#expectLines(part)
    this.#checkHolds()
    if (this.#file.state === 'deleted') return void this.#checkReceipt()
    const sealed = this.#checkSeal()
    if (this.#file.given === 'none') {
      this.#found.not_proved.push(`${this.#name}: what it holds, because it was not given: ${this.#file.why}`)
      return
    }
    if (!this.#ended) this.#flaw('it is cut off')
    if (!sealed || this.#broken) return
    const { seal } = this.#file
    if (seal === null || this.#file.state === 'open') {
      const why = seal === null ? 'it was not sealed yet' : 'it was opened again for what its seal lacks'
      this.#found.not_proved.push(`${this.#name}: that this is all of it: ${why}`)
      return
    }
    const masked = seal.parts.filter(part => part.layer === undefined)
    for (const part of masked) {
      const reader = this.#parts.get(part.part)?.reader
      if (reader === undefined) {
        this.#flaw(`part ${part.part}, which its seal names, is missing`)
        continue
      }
      try {
        reader.finish(part)
      } catch (error) {
        this.#damaged((error as Error).message)
      }
    }
    if (this.#parts.size > masked.length) this.#flaw('there are more parts than its seal names')
    if (!this.#broken) this.#sayWhole(masked.length)
    if (masked.length < seal.parts.length)
      this.#found.not_proved.push(`${this.#name}: its layer of originals, which is not in the bundle`)
    for (const part of masked)
      if (part.tail_missing_from !== null)
        this.#found.not_proved.push(
          `${this.#name}: what came after event ${part.tail_missing_from - 1} of part ${part.part}: the seal says that its tail is missing`,
        )
  }

  #sayWhole(parts: number): void {
    const read = [...this.#parts.values()].map(part => part.reader.counted)
    const sum = (of: (one: (typeof read)[number]) => number) => read.reduce((all, one) => all + of(one), 0)
    const whole = `${this.#name}: its ${parts} part${parts === 1 ? '' : 's'} with ${sum(one => one.segments)} sealed segments are, byte for byte, what was sealed, and the log holds the seal`
    this.#found.proved.push(whole)
    if (this.#file.given === 'text')
      this.#found.proved.push(
        `${this.#name}: the ${sum(one => one.events)} events shown are what the sealed segments hold, none more and none less`,
      )
    else
      this.#found.not_proved.push(
        `${this.#name}: what the sealed segments say: their keys were not given (${this.#file.why})`,
      )
  }

  /** @returns whether there is a good seal, or there need not be one. */
  #checkSeal(): boolean {
    const { state, seal, seal_hash, id, session_id } = this.#file
    const said = this.#log.about(session_id, 'recording.sealed', 'recording.interrupted')
    if (state === 'open' && seal === null)
      return said.length === 0 || this.#no('it is shown as open, but the log holds its seal')
    if (seal === null || seal_hash === null) return this.#no('it is said to be sealed, and has no seal')
    if (sealHash(seal) !== seal_hash) return this.#no('its seal does NOT have the hash that was noted')
    if (seal.recording_id !== id || seal.session_id !== session_id)
      return this.#no('its seal is that of another recording')
    const last = said.at(-1)
    if (said.some(event => event.body?.['seal_hash'] === seal_hash))
      return last?.body?.['seal_hash'] === seal_hash || this.#no('the log holds a later seal than this one')
    if (!this.#log.whole) {
      this.#found.not_proved.push(`${this.#name}: that the log holds its seal: the events are not given`)
      return true
    }
    return this.#no('the log does NOT hold its seal')
  }

  #checkReceipt(): void {
    const { receipt, session_id, id } = this.#file
    const event = this.#log.about(session_id, 'recording.deleted').at(-1)
    if (receipt === null) return void this.#flaw('it was deleted without a receipt')
    if (event?.body == null) {
      if (this.#log.whole) this.#flaw('the log does NOT hold the event of its deletion')
      else this.#found.not_proved.push(`${this.#name}: that the log holds the event of its deletion`)
      return
    }
    const { step, data_removed_at_ms: _, locked_until_ms, session_id: __, recording_id: ___, ...facts } = receipt
    const wrong = Object.entries(facts).find(
      ([name, value]) => JSON.stringify(event.body?.[name] ?? null) !== JSON.stringify(value),
    )
    if (wrong !== undefined || event.body['recording'] !== id)
      this.#flaw(`its receipt does NOT say what the log says of its deletion (${wrong?.[0] ?? 'recording'})`)
    else if (facts['erasure'] !== undefined)
      this.#found.proved.push(`${this.#name}: it was erased before its time by ${String(facts['erasure'])}, keys first`)
    else
      this.#found.proved.push(
        `${this.#name}: it was deleted under the ${Number(facts['keep_s']) / 86_400} days that policy named (decision ${String(facts['decision_id'])}), ${String(facts['keys_destroyed'])} keys destroyed first, step ${String(step)}`,
      )
    if (locked_until_ms !== undefined)
      this.#found.not_proved.push(`${this.#name}: that its sealed data is gone too: the store keeps it for longer`)
  }

  #checkHolds(): void {
    for (const hold of this.#file.holds) {
      const set = this.#log.about(hold.id, 'hold.set').at(0)
      const lifted = this.#log.about(hold.id, 'hold.lifted').at(0)
      if (!this.#log.whole) continue
      if (set?.body?.['reason'] !== hold.reason) this.#flaw(`legal hold ${hold.id} was NOT set as it is shown`)
      if ((lifted === undefined) !== (hold.lifted_at_ms === null))
        this.#flaw(`whether legal hold ${hold.id} was lifted is NOT what the log says`)
    }
    const shown = new Set(this.#file.holds.map(hold => hold.id))
    for (const event of this.#log.about(this.#file.session_id, 'hold.set'))
      if (event.body !== null && !shown.has(String(event.body['hold'])))
        this.#flaw(`the log has a legal hold (${event.id}) that is not shown`)
  }

  #no(message: string): false {
    this.#flaw(message)
    return false
  }

  #damaged(message: string): void {
    this.#broken = true
    this.#flaw(message.replace(/^the recording is damaged at /, ''))
  }

  #flaw(message: string): void {
    this.#found.flaw(`${this.#name}: ${message}`)
  }
}
