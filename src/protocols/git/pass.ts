import type { CommandChannel, CommandReader, CommandSide, CommandStream } from '../../gateway/protocol.ts'

/** Bytes that are no words for anybody (large files, a credential of their server): they go on, and only their number is recorded. */
export class PassReader implements CommandReader {
  readonly #channel: CommandChannel

  constructor(channel: CommandChannel) {
    this.#channel = channel
  }

  fromClient(bytes: Buffer): undefined | Promise<void> {
    return this.#channel.toTarget(bytes)
  }

  fromTarget(bytes: Buffer, stream: CommandStream): undefined | Promise<void> {
    return this.#channel.toClient(bytes, stream)
  }

  ended(side: CommandSide): undefined {
    if (side === 'client') this.#channel.endTarget()
  }

  closed(): void {}
}
