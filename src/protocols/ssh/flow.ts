import type { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import {
  Channel,
  type Done,
  type InnerChannel,
  type InnerClient,
  type InnerSession,
  reasons,
  type Write,
} from './inside.ts'

/**
 * How data flows through a hardened connection: nothing is written while the peer's socket is full or keys are exchanged,
 * nothing is taken beyond the window that was granted, and what waits for a window is never forgotten.
 */
export interface FlowLimits {
  /** Data waits while more than this lies in the socket's buffer. */
  readonly outgoing_bytes: number
  /** Beyond this, the peer lets answers pile up and is cut off. */
  readonly outgoing_max_bytes: number
}

const smallestPacket = 1024
const largestPacket = 32 * 1024
const longestQueue = 10_000
const maxWindow = 2 ** 32 - 1
const flows = new WeakMap<object, Flow>()

class Flow {
  readonly #client: InnerClient
  readonly #socket: Socket
  readonly #limits: FlowLimits
  #waiting: (() => void)[] = []

  constructor(client: InnerClient, socket: Socket, limits: FlowLimits) {
    this.#client = client
    this.#socket = socket
    this.#limits = limits
    const release = () => this.#release()
    socket.on('drain', release).on('close', release)
    // Ours must run after ssh2 has drained what it queued during the exchange.
    for (const event of ['handshake', 'rekey']) (client as unknown as Socket).on(event, () => setImmediate(release))
  }

  get #open(): boolean {
    return this.#socket.writableLength <= this.#limits.outgoing_bytes && this.#client._protocol._kexinit === undefined
  }

  /** Point 2: ssh2 ignores the result of `socket.write`; memory would grow by whatever window the peer grants. */
  write(channel: InnerChannel, run: () => void, done: Done): void {
    if (this.#socket.destroyed || channel.outgoing.state !== 'open') done()
    else if (this.#open) run()
    else this.#waiting.push(() => this.write(channel, run, done))
  }

  #release(): void {
    const waiting = this.#waiting
    this.#waiting = []
    // One that does not fit any more puts itself back.
    for (const each of waiting) each()
  }

  get overflowing(): boolean {
    const queued = this.#client._protocol._queue?.length ?? 0
    return this.#socket.writableLength > this.#limits.outgoing_max_bytes || queued > longestQueue
  }
}

/** Patched once; a channel of a connection without a flow writes as ssh2 does. */
function guard(prototype: { _write: Write }, channelOf: (self: object) => InnerChannel): void {
  const write = prototype._write
  prototype._write = function (this: object, data, encoding, done) {
    const channel = channelOf(this)
    const flow = flows.get(channel._client)
    const run = () => write.call(this, data, encoding, done)
    if (flow === undefined) run()
    else flow.write(channel, run, done)
  }
}

guard(Channel.prototype, self => self as InnerChannel)
const sample = new Channel({}, { incoming: {}, outgoing: {} }, { server: true })
guard(Object.getPrototypeOf(sample.stderr), self => (self as { _channel: InnerChannel })._channel)

/** Cures points 1–3 and what belongs to them on one connection, either leg. */
export function hardenFlow(client: InnerClient, socket: Socket, limits: FlowLimits): void {
  const flow = new Flow(client, socket, limits)
  flows.set(client, flow)
  const protocol = client._protocol
  const handlers = protocol._handlers

  const onPacket = protocol._onPacket
  protocol._onPacket = () => {
    if (flow.overflowing) socket.destroy()
    onPacket()
  }

  // Point 1: with stdout and stderr both waiting for a window, ssh2 resumes one and forgets the other.
  handlers['CHANNEL_WINDOW_ADJUST'] = (_protocol, recipient: number, amount: number) => {
    const target = client._chanMgr.get(recipient)
    const side = sides(target)?.outgoing
    if (side === undefined) return
    side.window += amount
    if (side.window > maxWindow) return void socket.destroy()
    const channel = channelOf(target)
    if (channel?._waitWindow) resume(channel)
  }

  // Point 3: ssh2 looks at the window only when it is zero.
  for (const name of ['CHANNEL_DATA', 'CHANNEL_EXTENDED_DATA']) {
    const take = handlers[name]!
    handlers[name] = (from, recipient: number, data: Buffer, ...rest) => {
      const side = sides(client._chanMgr.get(recipient))?.incoming
      if (side !== undefined && data.length > side.window) return void socket.destroy()
      take(from, recipient, data, ...rest)
    }
  }

  // A packet size of zero makes ssh2's write loop run for ever; a tiny one makes a packet of every byte.
  const open = handlers['CHANNEL_OPEN']!
  handlers['CHANNEL_OPEN'] = (from, info: { sender: number; packetSize: number }) => {
    if (info.packetSize < smallestPacket)
      return from.channelOpenFail(info.sender, reasons.RESOURCE_SHORTAGE, `packets below ${smallestPacket} bytes`)
    info.packetSize = Math.min(info.packetSize, largestPacket)
    open(from, info)
  }
  const confirm = handlers['CHANNEL_OPEN_CONFIRMATION']!
  handlers['CHANNEL_OPEN_CONFIRMATION'] = (from, info: { packetSize: number }) => {
    if (info.packetSize < smallestPacket) return void socket.destroy()
    info.packetSize = Math.min(info.packetSize, largestPacket)
    confirm(from, info)
  }

  // What waits for a window of a channel that is closed would wait for ever.
  const close = handlers['CHANNEL_CLOSE']!
  handlers['CHANNEL_CLOSE'] = (from, recipient: number) => {
    const channel = channelOf(client._chanMgr.get(recipient))
    close(from, recipient)
    if (channel !== undefined) resume(channel)
  }
}

function resume(channel: InnerChannel): void {
  const { _chunk, _chunkcb, _chunkErr, _chunkcbErr } = channel
  channel._waitWindow = false
  channel._chunk = channel._chunkcb = channel._chunkErr = channel._chunkcbErr = undefined
  if (_chunk !== undefined) channel._write(_chunk, 'buffer' as BufferEncoding, _chunkcb!)
  else _chunkcb?.()
  if (_chunkErr !== undefined) channel.stderr._write(_chunkErr, 'buffer' as BufferEncoding, _chunkcbErr!)
  else _chunkcbErr?.()
}

type Entry = ReturnType<InnerClient['_chanMgr']['get']> | undefined

export function isSession(entry: Entry): entry is InnerSession {
  return typeof entry === 'object' && entry !== null && '_chanInfo' in entry
}

function channelOf(entry: Entry): InnerChannel | undefined {
  if (typeof entry !== 'object' || entry === null) return undefined
  return isSession(entry) ? entry._channel : entry
}

function sides(entry: Entry): Pick<InnerChannel, 'incoming' | 'outgoing'> | undefined {
  if (typeof entry !== 'object' || entry === null) return undefined
  return isSession(entry) ? entry._chanInfo : entry
}

export type Exit =
  | { readonly code: number }
  | { readonly signal: string; readonly dumped: boolean; readonly message: string }

/** What of a `ServerChannel` ends it. */
export interface EndingChannel extends Writable {
  readonly stderr: Writable
  exit(status: number): void
  exit(signal: string, dumped?: boolean, message?: string): void
}

/**
 * Point 4: ends a channel so that nothing is lost: the exit status, then the rest of stderr, then the rest of the output,
 * then EOF and close by ssh2 itself. Resolves when all is written or the peer has closed the channel; never call `close()`.
 */
export async function endChannel(channel: EndingChannel, exit: Exit | null): Promise<void> {
  if (exit !== null && 'code' in exit) channel.exit(exit.code)
  else if (exit !== null) channel.exit(exit.signal, exit.dumped, exit.message)
  await ended(channel.stderr, channel)
  await ended(channel, channel)
}

function ended(stream: Writable, channel: Writable): Promise<void> {
  return new Promise(done => {
    if (stream.writableFinished || stream.destroyed || channel.destroyed) return done()
    stream.once('finish', done)
    channel.once('close', done)
    stream.end()
  })
}
