import { FieldReader } from '../wire/fields.ts'
import type { Channel, Side } from './channel.ts'
import { aboutChannel } from './holding.ts'
import { M, stderr } from './messages.ts'
import type { Relay } from './relay.ts'

/** Of each side; beyond it nothing more is read of that side. */
const mostHeld = 512 * 1024
const lookMs = 500

/**
 * Where policy demands that somebody watches: while nobody does, what asks for something or carries something waits, both
 * ways and bounded. What only keeps the connection alive passes, and a session opens, so that its person can be told.
 */
export class Watch implements Disposable {
  readonly #relay: Relay
  readonly #deliver: (side: Side, payload: Buffer) => void
  readonly #listening: Disposable
  #held: { readonly side: Side; readonly payload: Buffer }[] = []
  #look: NodeJS.Timeout | undefined
  readonly #bytes: Record<Side, number> = { client: 0, target: 0 }

  constructor(relay: Relay, deliver: (side: Side, payload: Buffer) => void) {
    this.#relay = relay
    this.#deliver = deliver
    this.#listening = relay.opened.moderation.onChange(() => this.#changed())
  }

  [Symbol.dispose](): void {
    this.#listening[Symbol.dispose]()
    this.#rest()
    this.#held = []
  }

  #rest(): undefined {
    clearInterval(this.#look)
    this.#look = undefined
  }

  get #waits(): boolean {
    return this.#relay.opened.moderation.state() === 'waiting'
  }

  /** Whether this message waits; it is delivered later then. */
  holds(side: Side, payload: Buffer): boolean {
    if (!this.#waits) {
      this.#goOn()
      return false
    }
    if (this.#passes(side, payload) || this.#ofNothing(side, payload)) return false
    // A moment without a moderator may be over before anybody is told of it.
    this.#look ??= setInterval(() => this.#lookAgain(), lookMs).unref()
    this.#held.push({ side, payload })
    this.#bytes[side] += payload.length
    if (this.#bytes[side] > mostHeld) this.#relay.legs[side].hold('moderator')
    return true
  }

  /** Who is not read any more may have left meanwhile. */
  #lookAgain(): undefined {
    if (!this.#waits) return this.#goOn()
    for (const side of ['client', 'target'] as const) if (this.#bytes[side] > mostHeld) this.#relay.legs[side].touch()
  }

  #passes(side: Side, payload: Buffer): boolean {
    switch (payload[0]) {
      case M.windowAdjust:
      case M.openConfirmation:
      case M.openFailure:
      case M.requestSuccess:
      case M.requestFailure:
        return true
      case M.open:
        return side === 'client' && new FieldReader(payload, 1).text(64) === 'session'
      case M.globalRequest:
        // Replies come in the order of the requests.
        if (side === 'client' && this.#held.some(each => each.payload[0] === M.globalRequest)) return false
        return !new FieldReader(payload, 1).text(64).includes('-forward')
      default:
        return false
    }
  }

  /**
   * Of a channel on which nothing runs: what its client says behind a held command is kept there, and may take it back; that
   * both sides close it shows nobody anything.
   */
  #ofNothing(side: Side, payload: Buffer): boolean {
    const id = aboutChannel(payload)
    const channel = id === undefined ? undefined : this.#relay.channels.find(id)
    if (channel === undefined || channel.type !== 'session' || !channel.confirmed) return false
    if (side === 'client' && channel.holding !== null) return true
    if (payload[0] !== M.close || channel.state === 'running') return false
    if (side === 'client') this.#forget(id!)
    return true
  }

  /** What its client closes before anybody watched is not done when somebody does. */
  #forget(id: number): undefined {
    const forgotten = this.#held.filter(({ side, payload }) => side === 'client' && aboutChannel(payload) === id)
    if (forgotten.length === 0) return
    this.#held = this.#held.filter(each => !forgotten.includes(each))
    for (const { payload } of forgotten) this.#bytes.client -= payload.length
    if (this.#bytes.client <= mostHeld) this.#relay.legs.client.release('moderator')
    if (forgotten.some(({ payload }) => payload[0] === M.request))
      this.#relay.gate.refuse({
        rule: 'moderation',
        message: 'its client closed it before anybody watched',
        text: null,
      })
  }

  #changed(): void {
    if (this.#waits) {
      this.#tellAll()
      return
    }
    this.#tellAll('somebody watches: it goes on')
    this.#goOn()
  }

  #goOn(): undefined {
    if (this.#held.length === 0) return
    this.#rest()
    const held = this.#held
    this.#held = []
    for (const { side, payload } of held) this.#deliver(side, payload)
    for (const side of ['client', 'target'] as const) {
      this.#bytes[side] = 0
      this.#relay.legs[side].release('moderator')
    }
  }

  #tellAll(words?: string): void {
    for (const channel of this.#relay.channels) this.tell(channel, words)
  }

  /** The person of a session reads for whom it waits. */
  tell(channel: Channel, words?: string): undefined {
    const { lanes, opened } = this.#relay
    if (channel.type !== 'session' || !channel.confirmed || (words === undefined && !this.#waits)) return
    const line = Buffer.from(`sallyport: ${words ?? opened.moderation.message}\r\n`)
    lanes.target.push(() => {
      if (!channel.closeSent.client) channel.toClient.inject(line, stderr)
    })
  }
}
