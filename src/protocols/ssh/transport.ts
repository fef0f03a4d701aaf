import type { Socket } from 'node:net'
import type { Client, Connection } from 'ssh2'
import { type InnerProtocol, inner, messages, send, sendNow, sendPieces } from './inside.ts'
import { type SshLimits, sshLimits } from './limits.ts'
import { field, u8, u32 } from './wire/fields.ts'

const firstOfConnections = 80
const byApplication = 11
/** Means nothing (RFC 4253 §11.2). */
const ignored = Buffer.concat([u8(2), field('')])
const keepAlive = Buffer.concat([u8(80), field('keepalive@openssh.com'), u8(1)])
/** What one chunk of a socket may hold before its reading stops. */
const mostKept = 4096
/** Less than this is written as it comes: somebody types. */
const littleBytes = 4096
/** More than this is not gathered, so that the peer has something to do. */
const gatheredBytes = 256 * 1024

export type Peer = Connection | Client

/**
 * One leg, from the connection protocol (RFC 4254) upwards: whole messages in and out, in order, without ssh2's streams,
 * which can hang, grow without bound and lose the end of what they carry (points 1–5). INVARIANT: a message of that
 * protocol before the login ends the connection (SS3); one that comes before `read` waits, and nothing more is read.
 */
export class Transport {
  readonly #protocol: InnerProtocol
  readonly #socket: Socket
  readonly #limits: SshLimits
  readonly #reasons = new Set<string>()
  readonly #timer: NodeJS.Timeout
  #read: ((payload: Buffer) => void) | undefined
  #kept: Buffer[] = []
  #early: () => void = () => this.destroy()
  #asked: () => void = () => {}
  #heard = true
  #unanswered = 0
  /** Bytes that wait for the end of a key exchange. */
  #queued = 0
  /** Of this turn of the event loop, not written yet. */
  #gathered = 0
  #waiting: (() => void)[] = []

  constructor(peer: Peer, socket: Socket, limits: SshLimits = sshLimits) {
    this.#protocol = inner(peer)._protocol
    this.#socket = socket
    this.#limits = limits
    this.#takeOver()
    const drained = () => this.#drained()
    socket.on('drain', drained)
    ;(peer as NodeJS.EventEmitter).on('handshake', () => {
      this.#queued = 0
      drained()
    })
    this.#timer = setInterval(() => this.#tick(), limits.ask_ms)
    this.#timer.unref()
    socket.once('close', () => clearInterval(this.#timer))
  }

  /** Called when a message of the connection protocol comes before the login (SS3). */
  onEarly(run: () => void): void {
    this.#early = run
  }

  /** Called when the peer was asked whether it lives: its next reply to a global request is to that. */
  onAsk(run: () => void): void {
    this.#asked = run
  }

  /** From now on messages from 80 on come here, those first that came before. */
  read(run: (payload: Buffer) => void): void {
    this.#read = run
    const kept = this.#kept
    this.#kept = []
    for (const payload of kept) run(payload)
    this.release('unread')
  }

  onClose(run: () => void): void {
    if (this.#socket.destroyed) run()
    else this.#socket.once('close', run)
  }

  get isOpen(): boolean {
    return this.#protocol._destruct !== undefined && !this.#socket.destroyed && this.#socket.writable
  }

  /** Sends a message; with `recipient` its channel number is replaced on the way. */
  send(payload: Buffer, recipient?: number): void {
    if (!this.isOpen) return
    this.#about(payload.length)
    send(this.#protocol, payload, recipient)
  }

  /** The same, of a message in pieces. */
  sendPieces(pieces: readonly Buffer[], bytes: number): void {
    if (!this.isOpen) return
    this.#about(bytes)
    sendPieces(this.#protocol, pieces, bytes)
  }

  /** What is sent meanwhile leaves in one write. */
  together(run: () => void): void {
    this.#socket.cork()
    try {
      run()
    } finally {
      this.#socket.uncork()
    }
  }

  /** A third of what a copy costs is the writing of packets: what one turn of the event loop brings is written together. */
  #about(bytes: number): void {
    if (this.#protocol._kexinit !== undefined) this.#queued += bytes
    if (bytes < littleBytes && this.#gathered === 0) return
    if (this.#gathered === 0) {
      this.#socket.cork()
      setImmediate(() => this.#write())
    }
    this.#gathered += bytes
    if (this.#gathered < gatheredBytes) return
    this.#socket.uncork()
    this.#socket.cork()
    this.#gathered = bytes
  }

  #write(): void {
    this.#gathered = 0
    this.#socket.uncork()
  }

  /** Last words: OpenSSH shows them to the person. Works during a key exchange too. */
  disconnect(text: string, linger_ms = 500): void {
    if (this.isOpen)
      sendNow(this.#protocol, Buffer.concat([u8(messages.DISCONNECT), u32(byApplication), field(text), field('')]))
    this.#socket.end()
    setTimeout(() => this.#socket.destroy(), linger_ms).unref()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  get #outgoing(): number {
    return this.#socket.writableLength + this.#queued
  }

  /** Point 2: whether the peer reads too slowly for more to be sent now; `drained` is called once when it has caught up. */
  full(drained: () => void): boolean {
    if (this.#outgoing < this.#limits.outgoing_bytes) return false
    this.#waiting.push(drained)
    return true
  }

  #drained(): void {
    if (this.#outgoing >= this.#limits.outgoing_bytes) return
    const waiting = this.#waiting
    this.#waiting = []
    for (const each of waiting) each()
  }

  /** Reads nothing more of this peer until every reason is gone. */
  hold(reason: string): void {
    this.#reasons.add(reason)
    this.#socket.pause()
  }

  release(reason: string): void {
    if (this.#reasons.delete(reason) && this.#reasons.size === 0) this.#socket.resume()
  }

  /**
   * Of a peer that is not read nobody learns that it is gone, but from what it is sent: nothing that matters, and no more
   * than it takes. What lies unread in between costs nothing here.
   */
  touch(): undefined {
    if (this.#outgoing === 0) this.send(ignored)
  }

  /** Reads on, whatever held it: from here on nothing is kept of it. */
  unhold(): void {
    this.#reasons.clear()
    this.#socket.resume()
  }

  #takeOver(): void {
    const protocol = this.#protocol
    const theirs = protocol._onPayload
    const ours = (payload: Buffer): unknown => {
      if (this.#socket.destroyed) return undefined
      if (this.#outgoing > this.#limits.outgoing_max_bytes) return this.destroy()
      if (payload.length === 0 || payload[0]! < firstOfConnections) return theirs(payload)
      this.#heard = true
      if (this.#read !== undefined) this.#read(payload)
      else if (!protocol._authenticated) this.#early()
      else if (this.#kept.push(payload) > mostKept) this.destroy()
      else this.hold('unread')
      return undefined
    }
    protocol._onPayload = ours
    if (protocol._decipher?._onPayload === theirs) protocol._decipher._onPayload = ours
  }

  /** Point 7: a peer that says nothing is asked; one that stays silent is cut. */
  #tick(): undefined {
    if (!this.isOpen || this.#read === undefined) return
    if (this.#reasons.size > 0) return this.touch()
    this.#unanswered = this.#heard ? 0 : this.#unanswered + 1
    this.#heard = false
    if (this.#unanswered > this.#limits.unanswered) this.destroy()
    else if (this.#unanswered > 0) {
      this.send(keepAlive)
      this.#asked()
    }
  }
}
