import { bytesOf, type ReplayLine } from './render.ts'
import { type Size, shortConnection, sizeOf } from './terminal.ts'

export interface ListedChannel {
  /** As `--channel` takes it. */
  readonly address: string
  readonly at_ms: number | undefined
  /** The size that it began with; undefined where it is no terminal. */
  terminal: Size | undefined
  /** Of its output, as far as that was recorded. */
  bytes: number
  /** What runs on it, as far as that was recorded. */
  what: string
}

const maxChannels = 1_000
const maxText = 80

/** The channels of all connections of a recording, in the order in which they began. */
export class ChannelList {
  readonly #channels = new Map<string, ListedChannel>()
  readonly #left = new Set<string>()

  get channels(): readonly ListedChannel[] {
    return [...this.#channels.values()]
  }

  /** How many there are beyond those that are listed. */
  get more(): number {
    return this.#left.size
  }

  take(line: ReplayLine): void {
    const { channel } = line
    if (typeof channel !== 'number') return
    const found = this.#of(line, channel)
    if (found === undefined) return
    if (line.kind === 'output') found.bytes += bytesOf(line['data'])?.length ?? 0
    if (line.kind === 'resize') found.terminal ??= sizeOf(line)
    // The last request before it puts something out is what it runs: a terminal and variables come before.
    if (
      line.kind === 'statement' &&
      line['request'] !== undefined &&
      typeof line['text'] === 'string' &&
      found.bytes === 0
    )
      found.what = line['text'].slice(0, maxText)
    else if (line.kind === 'channel_open' && line['type'] !== 'session') found.what = String(line['type'])
  }

  #of({ conn, at_ms }: ReplayLine, channel: number): ListedChannel | undefined {
    const key = `${conn ?? ''} ${channel}`
    const found = this.#channels.get(key)
    if (found !== undefined) return found
    if (this.#channels.size >= maxChannels) {
      if (this.#left.size < maxChannels) this.#left.add(key)
      return undefined
    }
    const made = { address: `${shortConnection(conn)}:${channel}`, at_ms, terminal: undefined, bytes: 0, what: '' }
    this.#channels.set(key, made)
    return made
  }
}
