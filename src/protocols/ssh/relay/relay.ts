import type { Gate, Opened, Refusal } from '../../../gateway/protocol.ts'
import { logger } from '../../../log.ts'
import { lastWords } from '../deny.ts'
import { type SshLimits, sshLimits } from '../limits.ts'
import type { Transport } from '../transport.ts'
import { FieldError, FieldReader } from '../wire/fields.ts'
import { Channel, type Side } from './channel.ts'
import { endPrograms } from './ending.ts'
import { Forwarding, placeOf } from './forwarding.ts'
import { Input } from './input.ts'
import { Lane } from './lane.ts'
import {
  confirmationMessage,
  dataMessage,
  failureMessage,
  M,
  openMessage,
  plainMessage,
  prohibited,
  readConfirmation,
  readData,
  readOpen,
  recipientOf,
  requestMessage,
  shortage,
  stderr,
} from './messages.ts'
import { Output } from './output.ts'
import { clientRequest, targetRequest } from './requests.ts'
import { Watch } from './watch.ts'

const log = logger('ssh')
/** Below this a peer would have a message for every few bytes. */
const leastPacket = 1024
/** A packet that ssh2 reads is at most 35,000 bytes long. */
const mostPacket = 32_768

export interface Legs {
  readonly client: Transport
  readonly target: Transport
}

/**
 * The connection protocol between a client and its target, message by message: what one side says reaches the other in the
 * same order, with the same windows. INVARIANT: everything of the client that asks for something is judged, and nothing
 * goes on before its event is in the journal.
 */
export class Relay {
  readonly opened: Opened
  readonly legs: Legs
  readonly gate: Gate
  readonly #limits: SshLimits
  readonly output: Output
  readonly #input: Input
  readonly lanes: Readonly<Record<Side, Lane>>
  readonly channels = new Map<number, Channel>()
  readonly forwarding: Forwarding
  readonly #watch: Watch
  #next = 0
  #finish: (reason: string) => void = () => {}
  #done = false

  constructor(opened: Opened, legs: Legs, limits: SshLimits = sshLimits) {
    this.#limits = limits
    this.opened = opened
    this.legs = legs
    this.gate = opened.gate
    this.output = new Output(opened.gate)
    this.#input = new Input(opened.gate)
    const failed = (side: Side) => (error: Error) => this.#fault(side, error)
    this.lanes = {
      client: new Lane(this.gate, { from: legs.client, to: legs.target }, () => this.#input.record(), failed('client')),
      target: new Lane(this.gate, { from: legs.target, to: legs.client }, () => this.output.record(), failed('target')),
    }
    this.forwarding = new Forwarding(this)
    this.#watch = new Watch(this, (side, payload) => this.#deliver(side, payload))
  }

  /** To the end of the connection. @returns why it ended. */
  run(): Promise<string> {
    return new Promise(resolve => {
      this.#finish = resolve
      const { client, target } = this.legs
      const { ended } = this.opened
      const end = () => this.#end(ended.reason as Refusal)
      ended.addEventListener('abort', end, { once: true })
      client.onClose(() => this.#over('the client closed the connection'))
      // What it said before that reaches its person first, however slowly that is read.
      target.onClose(() =>
        this.lanes.target.push(() => {
          const message = `${this.opened.resource.name} closed the connection`
          this.#part({ message, remedy: 'connect again' }, this.#limits.linger_ms)
          this.#over(message)
        }),
      )
      if (ended.aborted) {
        end()
        return
      }
      target.read(payload => this.#read('target', payload))
      client.read(payload => this.#read('client', payload))
    })
  }

  #read(side: Side, payload: Buffer): undefined {
    this.#deliver(side, payload, () => this.#watch.holds(side, payload))
  }

  #deliver(side: Side, payload: Buffer, holds: () => boolean = () => false): undefined {
    if (this.#done) return
    try {
      if (!holds()) this.#message(side, payload)
    } catch (error) {
      this.#fault(side, error as Error)
    }
  }

  #message(side: Side, payload: Buffer): undefined {
    switch (payload[0]) {
      case M.globalRequest:
        return this.forwarding.globalRequest(side, payload)
      case M.requestSuccess:
      case M.requestFailure:
        return this.forwarding.globalReply(side, payload)
      case M.open:
        return this.#open(side, payload)
      case M.openConfirmation:
        return this.#confirmed(side, payload)
      case M.openFailure:
        return this.#notOpened(side, payload)
      case M.windowAdjust: {
        const channel = this.#channel(side, payload)
        if (channel.closeSent[other(side)]) return
        channel.flowFrom(other(side)).adjusted(new FieldReader(payload, 5).u32())
        return
      }
      case M.data:
      case M.extendedData:
        return this.#data(side, payload)
      case M.eof:
        return this.#eof(side, payload)
      case M.close:
        return this.#close(side, payload)
      case M.request: {
        const channel = this.#channel(side, payload)
        return side === 'client' ? clientRequest(this, channel, payload) : targetRequest(this, channel, payload)
      }
      case M.success:
      case M.failure:
        return this.#reply(side, payload)
      default:
        throw new FieldError(`a message of type ${payload[0]}`)
    }
  }

  /** The channel that a message is for. A number that we did not give is no mistake of a sane peer. */
  #channel(side: Side, payload: Buffer): Channel {
    const channel = this.channels.get(recipientOf(payload))
    if (channel === undefined || !channel.confirmed || channel.closeSeen[side])
      throw new FieldError('a message for a channel that is not open')
    return channel
  }

  #open(side: Side, payload: Buffer): undefined {
    const open = readOpen(payload)
    const to = other(side)
    const refuse = (reason: number, text: string): undefined =>
      void this.lanes[side].push(() => this.legs[side].send(failureMessage(open.sender, reason, text)))
    const most = this.#limits.channels
    if (this.channels.size >= most) return refuse(shortage, `${most} channels are open already`)
    if (open.packet < leastPacket) return refuse(shortage, `packets of less than ${leastPacket} bytes`)
    const why = this.forwarding.whyNot(side, open)
    if (why !== undefined) return refuse(prohibited, why)
    const id = this.#next++
    const channel = new Channel(id, open, side, this.legs.client, this.legs.target)
    this.channels.set(id, channel)
    channel.flowFrom(to).terms(open.window, open.packet)
    this.gate.record('channel_open', { channel: id, type: open.type, by: side, ...placeOf(open) })
    this.lanes[side].push(() =>
      this.legs[to].send(openMessage({ ...open, sender: id, packet: Math.min(open.packet, mostPacket) })),
    )
  }

  #confirmed(side: Side, payload: Buffer): undefined {
    const channel = this.#pending(side, payload)
    const confirmation = readConfirmation(payload)
    if (confirmation.packet < leastPacket) throw new FieldError(`packets of less than ${leastPacket} bytes`)
    const to = other(side)
    channel.numbers[side] = confirmation.sender
    channel.flowFrom(to).terms(confirmation.window, confirmation.packet)
    channel.confirm()
    const packet = Math.min(confirmation.packet, mostPacket)
    const told = confirmationMessage(channel.numbers[to], { ...confirmation, sender: channel.id, packet })
    this.lanes[side].push(() => this.legs[to].send(told))
    if (channel.type !== 'session') return
    this.forwarding.tell(channel)
    this.#watch.tell(channel)
  }

  #notOpened(side: Side, payload: Buffer): undefined {
    const channel = this.#pending(side, payload)
    this.channels.delete(channel.id)
    this.gate.record('channel_close', { channel: channel.id, opened: false })
    const to = other(side)
    this.lanes[side].push(() => this.legs[to].send(payload, channel.numbers[to]))
  }

  #pending(side: Side, payload: Buffer): Channel {
    const channel = this.channels.get(recipientOf(payload))
    if (channel === undefined || channel.confirmed || channel.opener === side)
      throw new FieldError('an answer to a channel that nobody opens')
    return channel
  }

  #data(side: Side, payload: Buffer): undefined {
    const channel = this.#channel(side, payload)
    const { bytes, code } = readData(payload)
    const flow = channel.flowFrom(side)
    flow.received(bytes.length)
    channel.bytes[side] += bytes.length
    if (channel.closeSent[side]) return // it does not know yet that we refused
    if (channel.eofSeen[side]) throw new FieldError('data after its end')
    if (channel.type === 'session' && channel.state !== 'running') {
      if (channel.state === 'refused') return
      throw new FieldError('data before anything runs')
    }
    if (side === 'client') {
      if (code !== null) throw new FieldError('stderr of a client')
      if (channel.inspector !== null) channel.inspector.fromClient(bytes)
      else {
        if (channel.type === 'session') this.#input.add(channel, bytes)
        this.lanes.client.push(() => flow.pass(payload, bytes, null))
      }
      return
    }
    if (channel.inspector !== null) {
      channel.inspector.fromTarget(bytes, code)
      return
    }
    if (channel.type === 'session') {
      if (channel.pty && code === null) this.#input.shown(channel.id, bytes)
      this.output.add(channel.id, code === null ? 'out' : code === stderr ? 'err' : `ext${code}`, bytes)
    }
    this.lanes.target.push(() => flow.pass(payload, bytes, code))
  }

  #eof(side: Side, payload: Buffer): undefined {
    const channel = this.#channel(side, payload)
    if (channel.eofSeen[side]) return
    channel.eofSeen[side] = true
    channel.inspector?.ended(side)
    const to = other(side)
    this.lanes[side].push(() =>
      channel.flowFrom(side).after(() => {
        if (!channel.closeSent[to]) this.legs[to].send(plainMessage(M.eof, channel.numbers[to]))
      }),
    )
  }

  #close(side: Side, payload: Buffer): undefined {
    const channel = this.#channel(side, payload)
    channel.closeSeen[side] = true
    if (!channel.eofSeen[side]) channel.inspector?.ended(side)
    const to = other(side)
    this.lanes[side].push(() =>
      channel.flowFrom(side).after(() => {
        this.sendClose(channel, to)
        this.#forget(channel)
      }),
    )
  }

  /** CLOSE, once. */
  sendClose(channel: Channel, to: Side): undefined {
    if (channel.closeSent[to]) return
    channel.closeSent[to] = true
    this.legs[to].send(plainMessage(M.close, channel.numbers[to]))
  }

  #forget(channel: Channel): undefined {
    if (!channel.isGone || !this.channels.delete(channel.id)) return
    this.#tellEnd(channel)
    this.output.forget(channel.id)
  }

  #tellEnd(channel: Channel): undefined {
    channel.inspector?.closed()
    this.#input.forget(channel.id)
    const { client, target } = channel.bytes
    this.gate.record('channel_close', { channel: channel.id, to_target: client, to_client: target })
  }

  #reply(side: Side, payload: Buffer): undefined {
    const channel = this.#channel(side, payload)
    if (side === 'client') return // of a request that asked for none
    this.lanes.target.push(() => {
      if (channel.owed.shift() !== null) throw new FieldError('a reply that nobody waits for')
      this.legs.client.send(payload, channel.numbers.client)
      channel.settle()
    })
  }

  /** Ends what a channel was to run: words on stderr, a status, and closed on both sides. */
  refuseChannel(channel: Channel, words: string, status: number): undefined {
    channel.state = 'refused'
    const { client } = this.legs
    const to = channel.numbers.client
    if (channel.closeSent.client) return
    const bytes = Buffer.from(words)
    if (bytes.length <= channel.toClient.credit) client.send(dataMessage(to, bytes, stderr))
    client.send(requestMessage(to, 'exit-status', false, Buffer.from([0, 0, 0, status])))
    client.send(plainMessage(M.eof, to))
    this.sendClose(channel, 'client')
    this.sendClose(channel, 'target')
    this.#forget(channel)
  }

  /** The session must end now: every open program reads why, is ended on the target, and the link is cut. */
  #end(refusal: Refusal): undefined {
    if (this.#done) return
    const words = Buffer.from(`sallyport: ${refusal.message}\r\n`)
    for (const channel of this.channels.values()) {
      if (channel.type !== 'session' || channel.state !== 'running') continue
      if (channel.toClient.credit >= words.length && !channel.closeSent.client)
        this.legs.client.send(dataMessage(channel.numbers.client, words, stderr))
    }
    this.#part(refusal)
    this.#over(refusal.message)
  }

  #part(why: Pick<Refusal, 'message' | 'remedy'>, linger_ms?: number): undefined {
    if (!this.#done) this.legs.client.disconnect(lastWords(why), linger_ms)
  }

  #fault(side: Side, error: Error): undefined {
    const known = error instanceof FieldError
    const who = side === 'client' ? 'the client' : this.opened.resource.name
    if (!known) log.error({ err: error, session_id: this.opened.session_id }, 'a connection ended with a fault')
    const message = known ? `${who} sent ${error.message}` : 'the gateway failed on this connection'
    this.#part({ message, remedy: '' })
    this.#over(message)
  }

  #over(reason: string): undefined {
    if (this.#done) return
    this.#done = true
    this.#watch[Symbol.dispose]()
    this.output.record()
    for (const channel of this.channels.values()) this.#tellEnd(channel)
    const { target } = this.legs
    const running = [...this.channels.values()].filter(({ type, state }) => type === 'session' && state === 'running')
    if (this.opened.ended.aborted) endPrograms(target, running)
    else target.disconnect('')
    this.#finish(reason)
  }
}

function other(side: Side): Side {
  return side === 'client' ? 'target' : 'client'
}
