import type { CommandChannel, CommandReader, CommandSide, CommandStream } from '../../gateway/protocol.ts'
import { Aside } from './aside.ts'

/** Bytes that are no words for anybody (large files, a credential of their server): they go on, and only their number is recorded. */
export class PassReader implements CommandReader {
  readonly #channel: CommandChannel
  readonly #aside: Aside

  constructor(channel: CommandChannel) {
    this.#channel = channel
    this.#aside = new Aside(channel)
  }

  fromClient(bytes: Buffer): undefined | Promise<void> {
    return this.#channel.toTarget(bytes)
  }

  fromTarget(bytes: Buffer, stream: CommandStream): undefined | Promise<void> {
    return stream === 'err' ? this.#aside.err(bytes) : this.#channel.toClient(bytes)
  }

  ended(side: CommandSide): undefined {
    if (side === 'client') this.#channel.endTarget()
    else this.#aside.end()
  }

  closed(): void {}
}
