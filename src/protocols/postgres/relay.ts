import type { Socket } from 'node:net'
import type { Forwarding, Refusal } from '../../gateway/protocol.ts'
import { ClientSide } from './client-side.ts'
import { type Conversation, idle } from './conversation.ts'
import { FrameError, FrameReader, HeldBytes } from './frames.ts'
import { C, errorResponse, frame } from './messages.ts'
import { type ServerPorts, ServerSide } from './server-side.ts'

export interface RelayOptions {
  readonly client: Socket
  /** What was read from either side before the relay took over. */
  readonly clientRest: Buffer
  readonly upstream: Socket
  readonly upstreamRest: Buffer
  readonly conversation: Conversation
  readonly ended: AbortSignal
  readonly frameBytes: number
  readonly scrub: ServerPorts['scrub']
  readonly reported: ServerPorts['reported']
  /** Cancels what the target still runs for us. */
  readonly cancel: () => void
}

const serverFrameBytes = 256 * 1024 * 1024
const heldOfClients = new HeldBytes(256 * 1024 * 1024)
const lingerMs = 500
/** Of a client that waits for an approval so much is read ahead, so that its end is seen. */
const readAhead = 64 * 1024
/** What waits longer than this would take for a day the room that the long messages of everybody have. */
const longestWait = 512 * 1024
/** Answers that a client leaves unread: past this nothing more of it is read, as the target itself would do. */
const maxUnread = 4 * 1024 * 1024

const none: readonly Buffer[] = []

/** Moves bytes between the two sockets and the conversation; one write a turn, back-pressure both ways. */
export class Relay implements Forwarding {
  readonly #o: RelayOptions
  readonly #fromClient: ClientSide
  readonly #clientReader: FrameReader
  readonly #serverReader: FrameReader
  #done: (reason: string) => void = () => {}
  #over = false
  /** What was read waits for the journal. */
  #waiting = false
  /** What was taken waits for the disk (strict recordings): what is read meanwhile comes after it. */
  #syncing = false
  #more = false
  #up = none
  #down = none
  /** The client has got the beginning of a frame, and not its end. */
  #midFrame = false
  #takenMidFrame = false
  #stopped = false
  readonly #blocked = { client: false, upstream: false }
  /** More was recorded than the store took: both sides are read on when it did. */
  #behind = false
  /** Words of ours that wait for the end of a message of the target. */
  #notices: Buffer[] = []

  constructor(options: RelayOptions) {
    this.#o = options
    this.#fromClient = new ClientSide(options.conversation)
    this.#clientReader = new FrameReader(this.#fromClient, options.frameBytes, heldOfClients)
    const fromServer = new ServerSide(options.conversation, {
      scrub: options.scrub,
      reported: options.reported,
    })
    this.#serverReader = new FrameReader(fromServer, serverFrameBytes)
  }

  /** Runs until one side is gone or the session ends. @returns why. */
  run(): Promise<string> {
    const { client, upstream, ended } = this.#o
    return new Promise(resolve => {
      this.#done = resolve
      const onEnded = () => this.#finish('57P01', (ended.reason as Refusal).message, (ended.reason as Refusal).remedy)
      if (ended.aborted) return onEnded()
      ended.addEventListener('abort', onEnded, { once: true })
      client.on('data', chunk => this.#onClient(chunk))
      client.on('close', () => this.#clientGone('the client closed the connection'))
      client.on('error', () => this.#clientGone('the client broke the connection'))
      client.on('drain', () => this.#unblock('upstream'))
      upstream.on('data', chunk => this.#onServer(chunk))
      upstream.on('close', () => this.#targetGone())
      upstream.on('error', () => this.#targetGone())
      upstream.on('drain', () => this.#unblock('client'))
      if (client.destroyed) return this.#stop('the client closed the connection')
      if (upstream.destroyed) return this.#targetGone()
      if (this.#o.upstreamRest.length > 0) this.#onServer(this.#o.upstreamRest)
      if (this.#o.clientRest.length > 0) this.#onClient(this.#o.clientRest)
      this.#flow()
    })
  }

  /** A message of ours, between two of the target's. */
  tell(message: Buffer): void {
    this.#notices.push(message)
    this.#tellNotices()
  }

  #tellNotices(): void {
    if (this.#over || this.#notices.length === 0 || this.#serverReader.streaming) return
    this.#o.conversation.down.push(...this.#notices.splice(0))
    this.#more = true
    if (!this.#waiting) this.#wait()
  }

  /** Ends the connection with a reason that the client reads. */
  end(message: string): void {
    this.#finish('57P01', message, '')
  }

  #onClient(chunk: Buffer): void {
    if (!this.#over) this.#read(this.#clientReader, chunk)
  }

  #onServer(chunk: Buffer): void {
    if (this.#over) return
    this.#read(this.#serverReader, chunk)
    this.#tellNotices()
    const { skipping, judge } = this.#o.conversation
    if (skipping) judge.holding.withdraw('a statement before it in the same pipeline failed')
    if (this.#fromClient.waitingFor === 'answers') this.#resumeClient()
  }

  #read(reader: FrameReader, chunk: Buffer | null): void {
    try {
      if (chunk === null) reader.resume()
      else reader.push(chunk)
    } catch (error) {
      if (!(error instanceof FrameError)) throw error
      this.#o.conversation.fail('08P01', error.message)
    }
    const { holding } = this.#o.conversation.judge
    if (holding.waits && this.#clientReader.held > longestWait)
      holding.withdraw('it is too long to wait: send it in smaller parts')
    const waiting = this.#fromClient.waitingFor
    if (waiting instanceof Promise) {
      this.#fromClient.waitingFor = 'catalog'
      void waiting.catch(() => {}).then(() => this.#resumeClient())
    }
    this.#more = true
    if (!this.#waiting) this.#wait()
    else if (this.#syncing) this.#flow()
    if (waiting instanceof Promise || this.#o.conversation.judge.holding.waits) this.#flow()
  }

  #resumeClient(): void {
    if (this.#over) return
    this.#fromClient.waitingFor = null
    this.#read(this.#clientReader, null)
    // What waits for the catalog, or for answers of the target, was not read again yet: its approval waits with it.
    if (this.#fromClient.waitingFor === null) this.#o.conversation.judge.holding.forget()
    this.#flow()
  }

  /** INVARIANT: nothing leaves in either direction before the journal has what was judged and recorded for it. */
  #wait(): void {
    this.#waiting = true
    this.#o.conversation.gate.whenRecorded(this)
  }

  take(): void {
    const { conversation: c } = this.#o
    this.#up = c.up
    this.#down = c.down
    if (c.up.length > 0) c.up = []
    if (c.down.length > 0) c.down = []
    this.#takenMidFrame = this.#serverReader.streaming
    this.#more = false
    this.#syncing = true
  }

  forward(): void {
    this.#waiting = this.#syncing = false
    if (this.#over) return
    const up = this.#up
    const down = this.#down
    this.#up = this.#down = none
    this.#midFrame = this.#takenMidFrame
    this.#write(up, down)
    if (this.#over) return
    if (!this.#behind) this.#keepPace()
    if (this.#more) this.#wait() // what was read meanwhile
    if (this.#stopped) this.#flow()
  }

  /** What is recorded faster than it is shipped would fill the spool, and end every session of this worker. */
  #keepPace(): void {
    const behind = this.#o.conversation.gate.behind()
    if (behind === undefined) return
    this.#behind = true
    this.#flow()
    void behind.then(() => {
      this.#behind = false
      this.#flow()
    })
  }

  #write(up: readonly Buffer[], down: readonly Buffer[]): void {
    const { conversation: c, client, upstream } = this.#o
    if (up.length > 0 && !send(upstream, up)) this.#block('client')
    if (down.length > 0 && !send(client, down)) this.#block('upstream')
    if (c.fault !== null) this.#finish(c.fault.sqlstate, c.fault.message, '')
    else if (this.#fromClient.terminated) this.#stop('the client said goodbye')
    else if (this.#fromClient.waitingFor !== null) this.#flow()
  }

  #block(side: 'client' | 'upstream'): void {
    this.#blocked[side] = true
    this.#flow()
  }

  #unblock(side: 'client' | 'upstream'): void {
    this.#blocked[side] = false
    this.#flow()
  }

  /** Who may be read now: the client unless the target's buffer is full or an answer is awaited, and the other way round. */
  #flow(): void {
    if (this.#over) return
    const { client, upstream } = this.#o
    const ahead = this.#o.conversation.judge.holding.waits && this.#clientReader.held < readAhead
    const readClient =
      !this.#blocked.client &&
      !this.#syncing &&
      !this.#behind &&
      (this.#fromClient.waitingFor === null || ahead) &&
      client.writableLength < maxUnread
    const readServer = !this.#blocked.upstream && !this.#syncing && !this.#behind
    this.#stopped = !readClient || !readServer
    if (readClient !== !client.isPaused()) readClient ? client.resume() : client.pause()
    if (readServer !== !upstream.isPaused()) readServer ? upstream.resume() : upstream.pause()
  }

  /** What came before the end of a stream goes on before it. */
  #settle(): void {
    if (this.#waiting && !this.#over) this.#o.conversation.gate.commit()
  }

  #clientGone(reason: string): void {
    this.#settle()
    this.#stop(reason)
  }

  #targetGone(): void {
    this.#settle()
    if (this.#over) return
    this.#finish('08006', 'the target closed the connection', 'connect again')
  }

  /** Tells the client why in its own words, where the stream allows it, and closes both sides (LC1). */
  #finish(sqlstate: string, message: string, hint: string): void {
    const { client } = this.#o
    this.#stop(message, done => {
      if (this.#midFrame || client.destroyed) {
        done()
        return
      }
      const late = setTimeout(done, lingerMs)
      client.once('close', () => {
        clearTimeout(late)
        done()
      })
      client.end(errorResponse('FATAL', sqlstate, message, '', hint))
    })
  }

  #stop(reason: string, last: (done: () => void) => void = done => done()): void {
    if (this.#over) return
    this.#over = true
    const { conversation: c, client, upstream, cancel } = this.#o
    c.judge.holding.withdraw(reason)
    this.#clientReader.release()
    const busy = c.pending.length > 0 || c.status !== idle
    upstream.removeAllListeners('data')
    client.removeAllListeners('data').resume()
    if (c.copyIn === 'none') upstream.end(frame(C.terminate))
    else upstream.end()
    setTimeout(() => upstream.destroy(), lingerMs).unref()
    last(() => {
      client.destroy()
      this.#done(reason)
    })
    if (busy) cancel() // after the client was told: hundreds may end at once
  }
}

const joinBytes = 32 * 1024

/** One write for all parts: small ones joined, large ones as they are. @returns false when the buffer is full. */
function send(socket: Socket, parts: readonly Buffer[]): boolean {
  if (parts.length === 1) return socket.write(parts[0]!)
  let total = 0
  for (const part of parts) total += part.length
  if (total <= joinBytes) return socket.write(Buffer.concat(parts, total))
  socket.cork()
  let free = true
  for (const part of parts) free = socket.write(part)
  socket.uncork()
  return free
}
