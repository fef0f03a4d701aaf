import { ChannelList } from '../recording/channel-list.ts'
import type { Readings } from '../recording/reading.ts'
import { plain, type ReplayLine, renderLine } from '../recording/render.ts'
import { renderRead } from '../recording/render-reading.ts'
import { type ChannelAddress, TerminalChannel } from '../recording/terminal.ts'
import { inertJson, instant, say, table } from './output.ts'

/** Where a replay is shown. */
export interface Screen {
  show(line: ReplayLine, text: string): void
  /** How the events of this recording read, once it is known which protocol it is of. */
  reads?(readings: Readings): void
  /** Leaves the viewer's terminal as it was, however the replay ended. */
  restore(): void
}

export class JsonScreen implements Screen {
  show(_: ReplayLine, text: string): void {
    say(inertJson(text))
  }
  restore(): void {}
}

export class TextScreen implements Screen {
  #readings: Readings = {}

  reads(readings: Readings): void {
    this.#readings = readings
  }

  show(line: ReplayLine): void {
    say(renderRead(line, this.#readings))
  }
  restore(): void {}
}

/** What channels there are, in place of what they carry. */
export class ChannelScreen implements Screen {
  readonly #list = new ChannelList()

  show(line: ReplayLine): void {
    this.#list.take(line)
    if (line.kind !== 'end') return
    const rows = this.#list.channels.map(({ address, at_ms, terminal, bytes, what }) => [
      address,
      at_ms === undefined ? '' : instant(at_ms),
      terminal === undefined ? '' : `${terminal.cols} × ${terminal.rows}`,
      String(bytes),
      what,
    ])
    table(['channel', 'began', 'terminal', 'output, bytes', 'what'], rows, 'No channels.')
    if (this.#list.more > 0) say(`… and ${this.#list.more} more: see --json`)
    say(renderLine(line))
  }
  restore(): void {}
}

/** A place for bytes that may be a terminal. */
export interface Terminal {
  readonly columns?: number
  readonly rows?: number
  write(text: string): unknown
}

/**
 * Plays a terminal to a terminal: one channel's output as it was, filtered, from the moment that the recording shows to be
 * one (or from the start, where that is asked for); everything else of the recording is text before, and nothing after.
 */
export class TerminalScreen implements Screen {
  readonly #to: Terminal
  readonly #channel: TerminalChannel
  readonly #only: boolean
  #playing = false
  #readings: Readings = {}

  constructor(to: Terminal, options: { terminal?: boolean | undefined; channel?: ChannelAddress | undefined } = {}) {
    this.#to = to
    this.#channel = new TerminalChannel(options.channel)
    this.#only = options.terminal === true
  }

  reads(readings: Readings): void {
    this.#readings = readings
  }

  show(line: ReplayLine): void {
    const shown = this.#channel.take(line)
    if (line.kind === 'end') {
      this.restore()
      this.#say(renderLine(line))
    } else if (shown?.what === 'output' && (this.#only || this.#channel.size !== undefined)) {
      if (!this.#playing) this.#begin()
      this.#to.write(shown.text)
    } else if (shown?.what === 'note' && this.#playing) this.#to.write(`\r\n--- ${plain(shown.text)} ---\r\n`)
    else if (!this.#playing && !this.#only) this.#say(renderRead(line, this.#readings))
  }

  restore(): void {
    if (!this.#playing) return
    this.#playing = false
    this.#to.write(`${this.#channel.filter.restore()}\r\n`)
    const { others } = this.#channel
    if (others.length > 0) this.#say(`--- there is more on channel ${others.join(', ')}: --channel ---`)
  }

  #begin(): void {
    this.#playing = true
    const { size } = this.#channel
    const { columns = 0, rows = 0 } = this.#to
    if (size !== undefined && (columns < size.cols || rows < size.rows))
      this.#say(`--- it was ${size.cols} × ${size.rows}, and this terminal is ${columns} × ${rows}: make it larger ---`)
  }

  #say(line: string): void {
    this.#to.write(`${line}\n`)
  }
}
