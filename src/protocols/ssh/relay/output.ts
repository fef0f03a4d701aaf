import type { Gate } from '../../../gateway/protocol.ts'

const newline = 10

interface Gathered {
  readonly channel: number
  readonly stream: string
  readonly chunks: Buffer[]
}

/** What a target says, as its person sees it: one event for what a turn brought of one stream. */
export class Output {
  readonly #gate: Gate
  readonly #lines = new Map<number, number>()
  #gathered: Gathered[] = []

  constructor(gate: Gate) {
    this.#gate = gate
  }

  add(channel: number, stream: string, bytes: Buffer): void {
    if (!this.#wants(channel, bytes)) return
    const last = this.#gathered.at(-1)
    if (last !== undefined && last.channel === channel && last.stream === stream) last.chunks.push(bytes)
    else this.#gathered.push({ channel, stream, chunks: [bytes] })
  }

  /** Into the journal, before it goes on. @returns how many bytes. */
  record(): number {
    if (this.#gathered.length === 0) return 0
    let bytes = 0
    for (const { channel, stream, chunks } of this.#gathered) {
      const data = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)
      bytes += data.length
      this.#gate.record('output', { channel, stream, data })
    }
    this.#gathered = []
    return bytes
  }

  forget(channel: number): void {
    this.#lines.delete(channel)
  }

  /** `head` keeps the first lines of a channel, `none` and the level `metadata` keep nothing. */
  #wants(channel: number, bytes: Buffer): boolean {
    const { level, results, head_rows } = this.#gate.settings
    if (level !== 'full' || results === 'none') return false
    if (results === 'all') return true
    const before = this.#lines.get(channel) ?? 0
    if (before >= head_rows) return false
    let lines = before
    for (const byte of bytes) if (byte === newline) lines++
    this.#lines.set(channel, lines)
    return true
  }
}
