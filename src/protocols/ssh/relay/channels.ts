import { FieldError, FieldReader } from '../wire/fields.ts'
import { Channel, other, type Side } from './channel.ts'
import { placeOf } from './forwarding.ts'
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
import type { Relay } from './relay.ts'

/** Below this a peer would have a message for every few bytes. */
const leastPacket = 1024
/** A packet that ssh2 reads is at most 35,000 bytes long. */
const mostPacket = 32_768

/**
 * The channels between a client and its target, from OPEN to the last CLOSE. INVARIANT: nothing of a channel reaches a side
 * before that side knows it, and nothing but CLOSE after it was told that it is closed.
 */
export class Channels {
  readonly #relay: Relay
  readonly #most: number
  readonly #known = new Map<number, Channel>()
  #next = 0

  constructor(relay: Relay, most: number) {
    this.#relay = relay
    this.#most = most
  }

  [Symbol.iterator](): IterableIterator<Channel> {
    return this.#known.values()
  }

  find(id: number): Channel | undefined {
    return this.#known.get(id)
  }

  /** A number that no channel had, for one of our own. */
  number(): number {
    return this.#next++
  }

  /** The channel that a message is for. A number that we did not give is no mistake of a sane peer. */
  of(side: Side, payload: Buffer): Channel {
    const channel = this.#known.get(recipientOf(payload))
    if (channel === undefined || !channel.confirmed || channel.closeSeen[side])
      throw new FieldError('a message for a channel that is not open')
    return channel
  }

  open(side: Side, payload: Buffer): undefined {
    const { gate, forwarding, lanes, legs } = this.#relay
    const open = readOpen(payload)
    const to = other(side)
    const refuse = (reason: number, text: string): undefined =>
      void lanes[side].push(() => legs[side].send(failureMessage(open.sender, reason, text)))
    if (this.#known.size >= this.#most) return refuse(shortage, `${this.#most} channels are open already`)
    if (open.packet < leastPacket) return refuse(shortage, `packets of less than ${leastPacket} bytes`)
    const why = forwarding.whyNot(side, open)
    if (why !== undefined) return refuse(prohibited, why)
    const id = this.number()
    const channel = new Channel(id, open, side, legs.client, legs.target)
    this.#known.set(id, channel)
    channel.flowFrom(to).terms(open.window, open.packet)
    gate.record('channel_open', { channel: id, type: open.type, by: side, ...placeOf(open) })
    lanes[side].push(() =>
      legs[to].send(openMessage({ ...open, sender: id, packet: Math.min(open.packet, mostPacket) })),
    )
  }

  confirmed(side: Side, payload: Buffer): undefined {
    const { forwarding, watch, lanes, legs } = this.#relay
    const channel = this.#pending(side, payload)
    const confirmation = readConfirmation(payload)
    if (confirmation.packet < leastPacket) throw new FieldError(`packets of less than ${leastPacket} bytes`)
    const to = other(side)
    channel.numbers[side] = confirmation.sender
    channel.flowFrom(to).terms(confirmation.window, confirmation.packet)
    channel.confirm()
    const packet = Math.min(confirmation.packet, mostPacket)
    const told = confirmationMessage(channel.numbers[to], { ...confirmation, sender: channel.id, packet })
    lanes[side].push(() => {
      legs[to].send(told)
      channel.told = true
    })
    if (channel.type !== 'session') return
    forwarding.tell(channel)
    watch.tell(channel)
  }

  notOpened(side: Side, payload: Buffer): undefined {
    const { gate, lanes, legs } = this.#relay
    const channel = this.#pending(side, payload)
    this.#known.delete(channel.id)
    gate.record('channel_close', { channel: channel.id, opened: false })
    const to = other(side)
    lanes[side].push(() => legs[to].send(payload, channel.numbers[to]))
  }

  #pending(side: Side, payload: Buffer): Channel {
    const channel = this.#known.get(recipientOf(payload))
    if (channel === undefined || channel.confirmed || channel.opener === side)
      throw new FieldError('an answer to a channel that nobody opens')
    return channel
  }

  /** A window grows. At once, except for whoever does not know yet that the channel is open, and would forget it. */
  adjusted(side: Side, payload: Buffer): undefined {
    const channel = this.of(side, payload)
    const bytes = new FieldReader(payload, 5).u32()
    const grow = () => {
      if (!channel.closeSent[other(side)]) channel.flowFrom(other(side)).adjusted(bytes)
    }
    if (channel.told) grow()
    else this.#relay.lanes[side].push(grow)
  }

  data(side: Side, payload: Buffer): undefined {
    const channel = this.of(side, payload)
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
    const { lanes, input, output } = this.#relay
    if (side === 'client') {
      if (code !== null) throw new FieldError('stderr of a client')
      if (channel.inspector !== null) channel.inspector.fromClient(bytes)
      else {
        if (channel.type === 'session') input.add(channel, bytes)
        lanes.client.push(() => flow.pass(payload, bytes, null))
      }
      return
    }
    if (channel.inspector !== null) {
      channel.inspector.fromTarget(bytes, code)
      return
    }
    if (channel.type === 'session') {
      if (channel.pty && code === null) input.shown(channel.id, bytes)
      output.add(channel.id, code === null ? 'out' : code === stderr ? 'err' : `ext${code}`, bytes)
    }
    lanes.target.push(() => flow.pass(payload, bytes, code))
  }

  eof(side: Side, payload: Buffer): undefined {
    const channel = this.of(side, payload)
    if (channel.eofSeen[side]) return
    channel.eofSeen[side] = true
    channel.inspector?.ended(side)
    if (side === 'client' && channel.inspector?.endsTarget) return
    const { lanes, legs } = this.#relay
    const to = other(side)
    lanes[side].push(() =>
      channel.flowFrom(side).after(() => {
        if (!channel.closeSent[to]) legs[to].send(plainMessage(M.eof, channel.numbers[to]))
      }),
    )
  }

  close(side: Side, payload: Buffer): undefined {
    const channel = this.of(side, payload)
    channel.closeSeen[side] = true
    if (!channel.eofSeen[side]) channel.inspector?.ended(side)
    this.#relay.lanes[side].push(() =>
      channel.flowFrom(side).after(() => {
        this.#sendClose(channel, other(side))
        this.#forget(channel)
      }),
    )
  }

  /** CLOSE, once. */
  #sendClose(channel: Channel, to: Side): undefined {
    if (channel.closeSent[to]) return
    this.#relay.legs[to].send(plainMessage(M.close, channel.numbers[to]))
    channel.closed(to)
  }

  #forget(channel: Channel): undefined {
    if (!channel.isGone || !this.#known.delete(channel.id)) return
    this.tellEnd(channel)
    this.#relay.output.forget(channel.id)
  }

  /** The last of a channel in the recording. */
  tellEnd(channel: Channel): undefined {
    channel.inspector?.closed()
    this.#relay.input.forget(channel.id)
    const { client, target } = channel.bytes
    this.#relay.gate.record('channel_close', { channel: channel.id, to_target: client, to_client: target })
  }

  reply(side: Side, payload: Buffer): undefined {
    const channel = this.of(side, payload)
    if (side === 'client') return // of a request that asked for none
    const { lanes, legs } = this.#relay
    lanes.target.push(() => {
      if (channel.owed.shift() !== null) throw new FieldError('a reply that nobody waits for')
      if (!channel.closeSent.client) legs.client.send(payload, channel.numbers.client)
      channel.settle()
    })
  }

  /** Ends what a channel was to run: words on stderr, a status, and closed on both sides. */
  refuse(channel: Channel, words: string, status: number): undefined {
    channel.state = 'refused'
    const { client } = this.#relay.legs
    const to = channel.numbers.client
    if (channel.closeSent.client) return
    const bytes = Buffer.from(words)
    if (bytes.length <= channel.toClient.credit) client.send(dataMessage(to, bytes, stderr))
    client.send(requestMessage(to, 'exit-status', false, Buffer.from([0, 0, 0, status])))
    this.finish(channel)
  }

  /** It is over for both sides, however the program ends. */
  finish(channel: Channel): undefined {
    channel.state = 'refused'
    if (!channel.closeSent.client) this.#relay.legs.client.send(plainMessage(M.eof, channel.numbers.client))
    this.#sendClose(channel, 'client')
    this.#sendClose(channel, 'target')
    this.#forget(channel)
  }
}
