import type { Socket } from 'node:net'
import type { Client, Connection } from 'ssh2'
import { field, u32 } from './wire/fields.ts'

/** What is used of ssh2's inside, whose version is pinned for that. Its key exchange, ciphers and logins stay its own. */
interface Inside {
  _onPayload(payload: Buffer): unknown
  _onPacket(): void
  _decipher?: { _onPayload(payload: Buffer): unknown }
  readonly _cipher: { encrypt(packet: Buffer): void }
  readonly _packetRW: {
    readonly write: {
      readonly allocStart: number
      readonly allocStartKEX: number
      alloc(length: number, force?: boolean): Buffer
      finalize(packet: Buffer, force?: boolean): Buffer
    }
  }
  readonly _kexinit?: Buffer
  _queue?: Buffer[]
  _destruct?: unknown
}

const disconnectMessage = 1
const firstOfConnections = 80
const byApplication = 11
const keepAlive = Buffer.concat([Buffer.of(80), field('keepalive@openssh.com'), Buffer.of(1)])
const tickMs = 15_000
const mostMissed = 3
const fullAt = 1024 * 1024

export type Peer = Connection | Client

/**
 * One leg, from the connection protocol (RFC 4254) upwards: whole messages in and out, in order, without ssh2's streams,
 * which can hang, grow without bound and lose the end of what they carry. INVARIANT: no message of that protocol is read
 * before `read` was called, which is after the login.
 */
export class Transport {
  readonly #inside: Inside
  readonly #socket: Socket
  readonly #reasons = new Set<string>()
  readonly #timer: NodeJS.Timeout
  #read: ((payload: Buffer) => void) | undefined
  #early: (() => void) | undefined
  #asked: () => void = () => {}
  #heard = true
  #missed = 0

  constructor(peer: Peer, socket: Socket) {
    this.#inside = (peer as unknown as { _protocol: Inside })._protocol
    this.#socket = socket
    this.#takeOver()
    this.#timer = setInterval(() => this.#tick(), tickMs)
    this.#timer.unref()
    socket.once('close', () => clearInterval(this.#timer))
  }

  /** Called when a message of the connection protocol comes before its time (SS3). */
  onEarly(run: () => void): void {
    this.#early = run
  }

  /** Called when the peer was asked whether it lives: its next reply to a global request is to that. */
  onAsk(run: () => void): void {
    this.#asked = run
  }

  /** From now on messages from 80 on come here. What `run` throws ends the connection. */
  read(run: (payload: Buffer) => void): void {
    this.#read = run
  }

  onClose(run: () => void): void {
    if (this.#socket.destroyed) run()
    else this.#socket.once('close', run)
  }

  get isOpen(): boolean {
    return this.#inside._destruct !== undefined && !this.#socket.destroyed && this.#socket.writable
  }

  /** Sends a message; with `recipient` its channel number is replaced on the way. */
  send(payload: Buffer, recipient?: number): void {
    if (!this.isOpen) return
    const { write } = this.#inside._packetRW
    const at = write.allocStart
    const packet = write.alloc(payload.length)
    packet.set(payload, at)
    if (recipient !== undefined) writeU32(packet, recipient, at + 1)
    const ready = write.finalize(packet)
    if (this.#inside._kexinit === undefined) this.#inside._cipher.encrypt(ready)
    else (this.#inside._queue ??= []).push(ready)
  }

  /** Last words: OpenSSH shows them to the person. Works during a key exchange too. */
  disconnect(text: string): void {
    if (this.isOpen) {
      const payload = Buffer.concat([Buffer.of(disconnectMessage), u32(byApplication), field(text), field('')])
      const { write } = this.#inside._packetRW
      const at = write.allocStartKEX
      const packet = write.alloc(payload.length, true)
      packet.set(payload, at)
      this.#inside._cipher.encrypt(write.finalize(packet, true))
    }
    this.#socket.end()
    setTimeout(() => this.#socket.destroy(), 500).unref()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  /** Whether the peer reads too slowly for more to be sent now; `drained` is called once when it has caught up. */
  full(drained: () => void): boolean {
    if (this.#socket.writableLength < fullAt) return false
    this.#socket.once('drain', drained)
    return true
  }

  /** Reads nothing more of this peer until every reason is gone. */
  hold(reason: string): void {
    this.#reasons.add(reason)
    this.#socket.pause()
  }

  release(reason: string): void {
    this.#reasons.delete(reason)
    if (this.#reasons.size === 0) this.#socket.resume()
  }

  #takeOver(): void {
    const inside = this.#inside
    const theirs = inside._onPayload
    const ours = (payload: Buffer): unknown => {
      if (payload.length === 0 || payload[0]! < firstOfConnections) return theirs(payload)
      this.#heard = true
      if (this.#read !== undefined) this.#read(payload)
      else this.#early?.()
      return undefined
    }
    inside._onPayload = ours
    if (inside._decipher?._onPayload === theirs) inside._decipher._onPayload = ours
  }

  /** A peer that says nothing is asked; one that stays silent is cut. */
  #tick(): void {
    if (!this.isOpen) return
    if (this.#read === undefined || this.#reasons.size > 0) return
    this.#missed = this.#heard ? 0 : this.#missed + 1
    this.#heard = false
    if (this.#missed > mostMissed) this.destroy()
    else if (this.#missed > 0) {
      this.send(keepAlive)
      this.#asked()
    }
  }
}

function writeU32(bytes: Buffer, value: number, at: number): void {
  bytes[at] = value >>> 24
  bytes[at + 1] = value >>> 16
  bytes[at + 2] = value >>> 8
  bytes[at + 3] = value
}
