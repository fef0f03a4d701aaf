import type { Socket } from 'node:net'
import { FrameReader } from './frames.ts'
import { Body } from './messages.ts'

export class ConnectionClosed extends Error {
  override readonly name = 'ConnectionClosed'
}

export interface Message {
  readonly type: number
  /** The whole frame. */
  readonly raw: Buffer
  readonly body: Body
}

const limit = 64 * 1024 * 1024
const maxQueued = 1000

/** One message after another, for the parts that are conversations in turns: logins, and queries of our own. */
export class MessageStream {
  readonly #socket: Socket
  readonly #reader: FrameReader
  #queue: Message[] = []
  #waiting: { resolve: (message: Message) => void; reject: (error: Error) => void } | undefined
  #ended: Error | undefined
  readonly #onData = (chunk: Buffer) => this.#push(chunk)
  readonly #onError = (error: Error) => this.#end(error)
  readonly #onClose = () => this.#end(new ConnectionClosed('the connection was closed'))

  constructor(socket: Socket, frameLimit = limit) {
    this.#socket = socket
    this.#reader = new FrameReader(
      {
        frame: (type, buffer, start, end) => {
          this.#deliver({ type, raw: buffer.subarray(start, end), body: new Body(buffer, start + 5, end) })
          return true
        },
        piece: () => {},
        streams: () => false,
        drained: () => {},
      },
      frameLimit,
    )
    socket.on('data', this.#onData)
    socket.on('error', this.#onError)
    socket.on('close', this.#onClose)
    socket.resume()
  }

  next(): Promise<Message> {
    const message = this.#queue.shift()
    if (message !== undefined) {
      if (this.#queue.length === 0) this.#socket.resume()
      return Promise.resolve(message)
    }
    if (this.#ended !== undefined) return Promise.reject(this.#ended)
    return new Promise((resolve, reject) => (this.#waiting = { resolve, reject }))
  }

  /** Lets go of the socket, paused. Who still waits for a message hears that none comes. @returns what was read and not taken. */
  detach(): Buffer {
    this.#end(new ConnectionClosed('the connection was let go'))
    this.#socket.pause()
    this.#socket.off('data', this.#onData)
    this.#socket.off('error', this.#onError)
    this.#socket.off('close', this.#onClose)
    const rest = Buffer.concat([...this.#queue.map(m => m.raw), this.#reader.takeRest()])
    this.#queue = []
    return rest
  }

  #push(chunk: Buffer): void {
    try {
      this.#reader.push(chunk)
    } catch (error) {
      this.#end(error as Error)
      this.#socket.destroy()
    }
  }

  #deliver(message: Message): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    if (waiting !== undefined) waiting.resolve(message)
    else if (this.#queue.push(message) > maxQueued) this.#socket.pause()
  }

  #end(error: Error): void {
    this.#ended ??= error
    const waiting = this.#waiting
    this.#waiting = undefined
    waiting?.reject(this.#ended)
  }
}
