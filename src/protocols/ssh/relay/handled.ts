import type { Duplex } from 'node:stream'
import type {
  Command,
  CommandChannel,
  CommandReader,
  CommandSide,
  CommandStream,
  Opened,
} from '../../../gateway/protocol.ts'
import { logger } from '../../../log.ts'
import { denial, refusedStatus } from '../deny.ts'
import type { Channel, Inspector, Side } from './channel.ts'
import { errand } from './errand.ts'
import { M, plainMessage, requestMessage, stderr } from './messages.ts'
import type { Relay } from './relay.ts'

const log = logger('ssh')

/** Whoever writes more than this waits. */
const mostWritten = 512 * 1024

interface Due {
  /** Bytes of this side that were read and need not be kept. */
  consumed: number
  pieces: Buffer[]
  bytes: number
  planned: boolean
  waiting: (() => void)[]
}

const nothingDue = (): Due => ({ consumed: 0, pieces: [], bytes: 0, planned: false, waiting: [] })

/**
 * A command that the handler of its resource's protocol reads: the windows, the order of decide → record → forward and the end
 * of the channel are ours, what goes on is its. What one turn reads and writes becomes one change of the windows.
 */
export class HandledCommand implements Inspector, CommandChannel {
  readonly endsTarget = true
  readonly id: number
  readonly opened: Opened
  readonly #relay: Relay
  readonly #channel: Channel
  readonly #reader: CommandReader
  readonly #due: Readonly<Record<Side, Due>> = { client: nothingDue(), target: nothingDue() }
  #over = false

  constructor(relay: Relay, channel: Channel, start: NonNullable<Command['start']>) {
    this.#relay = relay
    this.#channel = channel
    this.id = channel.id
    this.opened = relay.opened
    this.#reader = start(this)
  }

  fromClient(bytes: Buffer): undefined {
    this.#read('client', bytes, () => this.#reader.fromClient(bytes))
  }

  fromTarget(bytes: Buffer, code: number | null): undefined {
    this.#read('target', bytes, () => this.#reader.fromTarget(bytes, code === null ? 'out' : 'err'))
  }

  #read(side: Side, bytes: Buffer, read: () => undefined | Promise<void>): undefined {
    if (this.#over) return
    this.#guard(() => {
      const taken = read()
      if (taken === undefined) return this.#consumed(side, bytes.length)
      taken.then(
        () => this.#consumed(side, bytes.length),
        error => this.#fault(error as Error),
      )
    })
  }

  #consumed(side: Side, bytes: number): undefined {
    this.#due[side].consumed += bytes
    this.#plan(side)
  }

  toTarget(bytes: Buffer): Promise<void> | undefined {
    return this.#write('client', bytes)
  }

  toClient(bytes: Buffer, stream: CommandStream = 'out'): Promise<void> | undefined {
    if (stream === 'out') return this.#write('target', bytes)
    if (this.#over) return undefined
    this.#relay.lanes.target.push(() => {
      if (!this.#channel.closeSent.client) this.#channel.toClient.inject(bytes, stderr)
    })
    return this.#room('target')
  }

  #write(from: Side, bytes: Buffer): Promise<void> | undefined {
    if (this.#over || bytes.length === 0) return undefined
    const due = this.#due[from]
    due.pieces.push(bytes)
    due.bytes += bytes.length
    this.#plan(from)
    return this.#room(from)
  }

  #room(from: Side): Promise<void> | undefined {
    const due = this.#due[from]
    if (this.#over || due.bytes + this.#channel.flowFrom(from).queued < mostWritten) return undefined
    return new Promise(resolve => due.waiting.push(resolve))
  }

  #plan(from: Side): undefined {
    const due = this.#due[from]
    if (due.planned || this.#over) return
    due.planned = true
    this.#relay.lanes[from].push(() => {
      const { consumed, pieces } = due
      Object.assign(due, { consumed: 0, pieces: [], bytes: 0, planned: false })
      const flow = this.#channel.flowFrom(from)
      flow.change(consumed, pieces)
      flow.whenRoom(mostWritten, () => this.#release(due))
    })
  }

  #release(due: Due): undefined {
    const waiting = due.waiting
    due.waiting = []
    for (const each of waiting) each()
  }

  endTarget(): undefined {
    const { lanes, legs } = this.#relay
    const { toTarget, closeSent, numbers } = this.#channel
    lanes.client.push(() =>
      toTarget.after(() => {
        if (!closeSent.target) legs.target.send(plainMessage(M.eof, numbers.target))
      }),
    )
  }

  finish(status: number): undefined {
    if (this.#over) return
    const channel = this.#channel
    const { lanes, legs, channels } = this.#relay
    this.#end()
    lanes.target.push(() =>
      channel.toClient.after(() => {
        if (!channel.closeSent.client && !channel.exited)
          legs.client.send(requestMessage(channel.numbers.client, 'exit-status', false, Buffer.from([0, 0, 0, status])))
        channels.finish(channel)
      }),
    )
  }

  run(line: string, env: Readonly<Record<string, string>> = {}): Promise<Duplex> {
    return errand(this.#relay, line, env)
  }

  ended(side: CommandSide): undefined {
    if (!this.#over) this.#guard(() => this.#reader.ended(side))
  }

  closed(): undefined {
    this.#end()
    this.#guard(() => this.#reader.closed())
  }

  #end(): undefined {
    this.#over = true
    for (const side of ['client', 'target'] as const) this.#release(this.#due[side])
  }

  #guard(run: () => void): undefined {
    try {
      run()
    } catch (error) {
      this.#fault(error as Error)
    }
  }

  #fault(error: Error): undefined {
    log.error({ err: error, session_id: this.opened.session_id }, 'a command ended with a fault')
    if (this.#over) return
    const words = {
      message: 'the gateway failed on this command',
      detail: '',
      remedy: 'try again; its log has the fault',
    }
    this.toClient(Buffer.from(denial(words)), 'err')
    this.finish(refusedStatus)
  }
}
