import type { CommandChannel } from '../../gateway/protocol.ts'
import { TerminalText } from './pack/sideband.ts'

/** What a server's program says to the person beside its answer: recorded as it is, and shown as far as it is fit for a terminal. */
export class Aside {
  readonly #channel: CommandChannel
  readonly #text = new TerminalText()

  constructor(channel: CommandChannel) {
    this.#channel = channel
  }

  /** Its stderr. */
  err(bytes: Buffer): undefined | Promise<void> {
    this.record(bytes)
    return this.#channel.toClient(this.#text.clean(bytes), 'err')
  }

  record(data: Buffer): undefined {
    if (data.length === 0) return
    const { opened, id } = this.#channel
    opened.gate.record('output', { channel: id, stream: 'err', data })
  }

  /** The program has ended. */
  end(): undefined {
    const rest = this.#text.end()
    if (rest.length > 0) this.#channel.toClient(rest, 'err')
  }
}
