import { bytesOf, type ReplayLine } from './render.ts'
import { TerminalFilter } from './terminal-filter.ts'

/**
 * A channel with a terminal, as protocols record it: `output {channel, stream, data}`, `resize {channel, columns, rows, term?}`
 * (the first one is the size it began with), `exit {channel, …}`, and in the layer of originals `input {channel, data}`. `data` is bytes.
 */
export interface Size {
  readonly cols: number
  readonly rows: number
}

/** What happened on the one channel that is shown. */
export type Shown =
  | { readonly what: 'output' | 'input'; readonly text: string }
  | { readonly what: 'resize'; readonly size: Size }
  /** Somebody must know of it who looks at this channel: a hole, the end of what verifies, a moderator who left. */
  | { readonly what: 'note'; readonly text: string }

const maxSide = 10_000
const maxChannels = 256

/** Picks one channel of a replay: the one that is asked for, else the first that has a terminal or puts something out. */
export class TerminalChannel {
  readonly #wanted: number | undefined
  readonly #others = new Set<number>()
  readonly #decoders = new Map<string, InstanceType<typeof TextDecoder>>()
  readonly filter = new TerminalFilter()
  #chosen: string | undefined
  #size: Size | undefined
  #term: string | undefined
  #hasOutput = false

  constructor(wanted?: number) {
    this.#wanted = wanted
  }

  /** Its size, where one was recorded: then it is a terminal, and not the output of a command alone. */
  get size(): Size | undefined {
    return this.#size
  }
  get term(): string | undefined {
    return this.#term
  }
  get hasOutput(): boolean {
    return this.#hasOutput
  }
  /** Other channels that put something out. */
  get others(): readonly number[] {
    return [...this.#others].sort((a, b) => a - b)
  }

  /** @returns what is to be shown of a line; undefined for a line of something else. */
  take(line: ReplayLine): Shown | undefined {
    const note = noteOf(line)
    if (note !== undefined) return { what: 'note', text: note }
    const channel = line['channel']
    if (typeof channel !== 'number') return undefined
    const key = `${line.conn ?? ''} ${channel}`
    const size = sizeOf(line)
    if (this.#chosen === undefined && this.#wanted === undefined && (size !== undefined || line.kind === 'output'))
      this.#chosen = key
    if (this.#chosen === undefined && this.#wanted === channel) this.#chosen = key
    if (key !== this.#chosen) {
      if (line.kind === 'output' && this.#others.size < maxChannels) this.#others.add(channel)
      return undefined
    }
    if (typeof line['term'] === 'string') this.#term = line['term']
    if (size !== undefined) {
      this.#size = size
      return { what: 'resize', size }
    }
    if (line.kind !== 'output' && line.kind !== 'input') return undefined
    const bytes = bytesOf(line['data'])
    if (bytes === undefined) return undefined
    const text = this.#decode(`${line.kind} ${String(line['stream'] ?? '')}`, bytes)
    if (line.kind === 'input') return { what: 'input', text }
    this.#hasOutput = true
    return { what: 'output', text: this.filter.write(text) }
  }

  /** A character may be split over two records; each stream has its own place. */
  #decode(stream: string, bytes: Uint8Array): string {
    let decoder = this.#decoders.get(stream)
    if (decoder === undefined) this.#decoders.set(stream, (decoder = new TextDecoder('utf-8', { ignoreBOM: true })))
    return decoder.decode(bytes, { stream: true })
  }
}

function sizeOf(line: ReplayLine): Size | undefined {
  const { rows } = line
  const cols = line['cols'] ?? line['columns']
  const fits = (side: unknown): side is number =>
    Number.isInteger(side) && (side as number) > 0 && (side as number) <= maxSide
  return fits(cols) && fits(rows) ? { cols, rows } : undefined
}

function noteOf(line: ReplayLine): string | undefined {
  if (line.kind === 'gap') return 'events are missing here'
  if (line.kind === 'moderation') return line['state'] === 'waiting' ? 'no moderator watches' : 'a moderator watches'
  if (line.kind === 'end' && line['ok'] === false) return `the recording ends here: ${String(line['problem'])}`
  return undefined
}
