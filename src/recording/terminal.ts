import { SallyportError } from '../errors.ts'
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

/** Channels are numbered anew in each connection of a session. */
export interface ChannelAddress {
  /** The end of the connection's id, as replays show it. Left out: the first connection that has such a channel. */
  readonly conn?: string
  readonly channel: number
}

const maxSide = 10_000
const maxChannels = 256

/** Reads `CHANNEL` or `CONNECTION:CHANNEL`. @throws SallyportError `bad_request`. */
export function channelAddress(text: string): ChannelAddress {
  const [, conn, digits] = /^(?:(\w{1,64}):)?(\d{1,10})$/.exec(text) ?? []
  const channel = Number(digits)
  if (digits === undefined || channel > 0xffff_ffff) {
    throw new SallyportError(
      'bad_request',
      'a channel is a number, or the end of a connection’s id, `:` and a number',
      {
        remedy: '`sallyport replay SESSION --channels` lists them',
      },
    )
  }
  return conn === undefined ? { channel } : { conn, channel }
}

/** The connection of an event as people see it. */
export function shortConnection(conn: string | undefined): string {
  return (conn ?? '').slice(-6)
}

/** Picks one channel of a replay: the one that is asked for, else the first that has a terminal or puts something out. */
export class TerminalChannel {
  readonly #wanted: ChannelAddress | undefined
  readonly #connections = new Set<string>()
  readonly #others = new Map<string, { readonly conn: string; readonly channel: number }>()
  readonly #decoders = new Map<string, InstanceType<typeof TextDecoder>>()
  readonly filter = new TerminalFilter()
  #chosen: string | undefined
  #size: Size | undefined
  #term: string | undefined
  #hasOutput = false

  constructor(wanted?: ChannelAddress) {
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
  /** Other channels that put something out, as they are asked for; with their connection where there are several. */
  get others(): readonly string[] {
    const one = this.#connections.size < 2
    return [...this.#others.values()].map(({ conn, channel }) => (one ? `${channel}` : `${conn}:${channel}`))
  }

  /** @returns what is to be shown of a line; undefined for a line of something else. */
  take(line: ReplayLine): Shown | undefined {
    const note = noteOf(line)
    if (note !== undefined) return { what: 'note', text: note }
    const channel = line['channel']
    if (typeof channel !== 'number') return undefined
    const key = `${line.conn ?? ''} ${channel}`
    if (this.#connections.size < maxChannels) this.#connections.add(line.conn ?? '')
    const size = sizeOf(line)
    if (this.#chosen === undefined && this.#wanted === undefined && (size !== undefined || line.kind === 'output'))
      this.#chosen = key
    if (this.#chosen === undefined && this.#isWanted(line.conn ?? '', channel)) this.#chosen = key
    if (key !== this.#chosen) {
      if (line.kind === 'output' && this.#others.size < maxChannels)
        this.#others.set(key, { conn: shortConnection(line.conn), channel })
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

  #isWanted(conn: string, channel: number): boolean {
    const wanted = this.#wanted
    return wanted?.channel === channel && (wanted.conn === undefined || conn.endsWith(wanted.conn))
  }

  /** A character may be split over two records; each stream has its own place. */
  #decode(stream: string, bytes: Uint8Array): string {
    let decoder = this.#decoders.get(stream)
    if (decoder === undefined) this.#decoders.set(stream, (decoder = new TextDecoder('utf-8', { ignoreBOM: true })))
    return decoder.decode(bytes, { stream: true })
  }
}

export function sizeOf(line: ReplayLine): Size | undefined {
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
