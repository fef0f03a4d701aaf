import type { Transport } from '../transport.ts'
import { FieldError, lengthOf } from '../wire/fields.ts'
import { Line } from './line.ts'
import { adjustMessage, dataHead } from './messages.ts'

const most = 0xffff_ffff
const mostQueued = 4 * 1024 * 1024
/** Messages that wait: each costs more than its bytes. */
const mostWaiting = 64 * 1024
const worthSaying = 64 * 1024

interface Waiting {
  readonly bytes: Buffer
  readonly code: number | null
}

const tooMuch = () => new FieldError('more was to be sent than the receiver takes')

/**
 * One direction of a channel: what its sender may still send, what its receiver still takes. INVARIANT: the sender is
 * granted what the receiver granted, less what we put in ourselves, so that nothing has to be kept here and no side can
 * make the other's bytes pile up (RFC 4254 §5.2).
 */
export class Flow {
  readonly #from: Transport
  readonly #to: Transport
  readonly #waiting = new Line<Waiting | (() => void)>()
  #queued = 0
  /** Numbers of the channel at the sender and at the receiver. */
  #fromId = 0
  #toId = 0
  #packet = 0
  #credit = 0
  #granted = 0
  #owed = 0
  /** Not granted again yet, so that not every message is followed by a word about its window. */
  #spare = 0
  #receiverClosed = false
  #roomFor: { readonly bytes: number; readonly run: () => void }[] = []
  #senderClosed = false

  constructor(from: Transport, to: Transport) {
    this.#from = from
    this.#to = to
  }

  /** The receiver's terms, which are passed on to the sender as ours. */
  terms(window: number, packet: number): void {
    this.#credit = window
    this.#granted = window
    this.#packet = packet
  }

  ids(from: number, to: number): void {
    this.#fromId = from
    this.#toId = to
  }

  get credit(): number {
    return this.#credit
  }

  /** Bytes that wait for the receiver. */
  get queued(): number {
    return this.#queued
  }

  /** Runs when less than so much waits, or nothing of it matters any more: at once where that is so. */
  whenRoom(bytes: number, run: () => void): void {
    if (this.#queued < bytes) run()
    else this.#roomFor.push({ bytes, run })
  }

  #tellRoom(): void {
    if (this.#roomFor.length === 0) return
    const all = this.#roomFor
    this.#roomFor = all.filter(each => this.#queued >= each.bytes)
    for (const { bytes, run } of all) if (this.#queued < bytes) run()
  }

  /** The receiver was told CLOSE: what waits for it and what still comes is nothing to it; what comes after that is done. */
  receiverIsClosed(): void {
    if (this.#receiverClosed) return
    this.#receiverClosed = true
    this.#queued = 0
    for (const each of this.#waiting.takeAll()) if (typeof each === 'function') each()
    this.#tellRoom()
  }

  /** The sender was told CLOSE: it needs no window. */
  senderIsClosed(): void {
    this.#senderClosed = true
  }

  /** The sender sent so much. @throws FieldError when it was not granted. */
  received(bytes: number): void {
    if (bytes > this.#granted) throw new FieldError(`${bytes} bytes sent, where ${this.#granted} were granted`)
    this.#granted -= bytes
  }

  /** A data message goes on as it came. */
  pass(payload: Buffer, bytes: Buffer, code: number | null): void {
    if (
      this.#receiverClosed ||
      this.#waiting.length > 0 ||
      bytes.length > this.#credit ||
      bytes.length > this.#packet
    ) {
      this.forward(bytes, code)
      return
    }
    this.#credit -= bytes.length
    this.#to.send(payload, this.#toId)
  }

  /** Bytes of the sender, perhaps changed, behind what waits already. */
  forward(bytes: Buffer, code: number | null = null): void {
    this.#wait(bytes, code)
    this.#flush()
  }

  #wait(bytes: Buffer, code: number | null): void {
    if (this.#receiverClosed) return
    // A message of no bytes takes no window: behind others that wait, they could come without end.
    if (bytes.length === 0 && this.#waiting.length > 0) return
    this.#queued += bytes.length
    if (this.#queued > mostQueued) throw tooMuch()
    this.#push({ bytes, code })
  }

  #push(what: Waiting | (() => void)): void {
    if (this.#waiting.length >= mostWaiting) throw tooMuch()
    this.#waiting.push(what)
  }

  /** Bytes that the sender did not send. */
  inject(bytes: Buffer, code: number | null = null): void {
    this.#owed += bytes.length
    this.forward(bytes, code)
  }

  /**
   * So many bytes of the sender become these pieces: fewer where something is kept back or refused, more where what was kept back
   * goes on or something is written differently.
   */
  change(sent: number, pieces: readonly Buffer[]): void {
    const bytes = lengthOf(pieces)
    this.#spare += sent
    const kept = Math.min(this.#spare, bytes)
    this.#spare -= kept
    this.#owed += bytes - kept
    for (const piece of pieces) if (piece.length > 0) this.#wait(piece, null)
    this.#flush()
    if (this.#spare >= worthSaying || this.#granted < worthSaying) this.#grant(0)
  }

  /** After everything that waits: a request, EOF or CLOSE. */
  after(act: () => void): void {
    if (this.#waiting.length === 0) act()
    else this.#push(act)
  }

  /** The sender has a few bytes to say before the receiver takes any; what that grants later is less by them. */
  lend(bytes: number): void {
    if (this.#granted > 0 || this.#senderClosed) return
    this.#owed += bytes
    this.#granted += bytes
    this.#from.send(adjustMessage(this.#fromId, bytes))
  }

  /** The receiver takes more. */
  adjusted(bytes: number): void {
    if (this.#credit + bytes > most) throw new FieldError('a window larger than there may be')
    this.#credit += bytes
    this.#flush()
    this.#tellRoom()
    this.#grant(bytes)
  }

  #grant(bytes: number): void {
    if (this.#senderClosed) return
    const all = bytes + this.#spare
    this.#spare = 0
    const kept = Math.min(all, this.#owed)
    this.#owed -= kept
    if (all === kept) return
    this.#granted += all - kept
    this.#from.send(adjustMessage(this.#fromId, all - kept))
  }

  #flush(): void {
    for (let next = this.#waiting.first; next !== undefined; next = this.#waiting.first) {
      if (typeof next === 'function') {
        this.#waiting.shift()
        next()
        continue
      }
      if (next.bytes.length > 0 && Math.min(this.#credit, this.#packet) === 0) return
      const pieces = this.#next(next.code)
      const length = lengthOf(pieces)
      this.#credit -= length
      this.#queued -= length
      const head = dataHead(this.#toId, length, next.code)
      this.#to.sendPieces([head, ...pieces], head.length + length)
    }
  }

  /** What the next message carries: of one stream, from the front of what waits, as much as the receiver takes. */
  #next(code: number | null): Buffer[] {
    const pieces: Buffer[] = []
    let room = Math.min(this.#credit, this.#packet)
    for (let next = this.#waiting.first; typeof next === 'object' && next.code === code; next = this.#waiting.first) {
      if (room === 0 && pieces.length > 0) break
      const piece = next.bytes.subarray(0, room)
      pieces.push(piece)
      room -= piece.length
      if (piece.length < next.bytes.length) {
        this.#waiting.first = { bytes: next.bytes.subarray(piece.length), code }
        break
      }
      this.#waiting.shift()
    }
    return pieces
  }
}
