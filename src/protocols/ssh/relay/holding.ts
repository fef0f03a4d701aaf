import type { Hold, Verdict } from '../../../gateway/protocol.ts'
import { FieldReader } from '../wire/fields.ts'
import type { Channel } from './channel.ts'
import { M, readData, readRequest, stderr } from './messages.ts'
import type { Relay } from './relay.ts'

/** What is kept of one channel: the window bounds it only for a client that heeds it, and data only. */
const mostMessages = 4096
const mostBytes = 4 * 1024 * 1024
/** Sent to what already runs, these end it; what waits is not to run then. */
const ending: ReadonlySet<string> = new Set(['HUP', 'INT', 'KILL', 'QUIT', 'TERM'])
const interrupt = 3
const typedAhead = 4096

/**
 * What a channel is to run waits for approvers. What its client says meanwhile waits behind it, within the window that the
 * target granted; other channels go on. Ctrl-C, a signal, CLOSE and the end of the connection take it back.
 */
export class Holding {
  readonly #relay: Relay
  readonly #channel: Channel
  readonly #hold: Hold
  #kept: Buffer[] = []
  #bytes = 0

  constructor(relay: Relay, channel: Channel, hold: Hold, settled: (verdict: Verdict) => void) {
    this.#relay = relay
    this.#channel = channel
    this.#hold = hold
    // sshd opens a session with no window before it runs something: Ctrl-C would stay where it was typed.
    if (channel.pty) channel.toTarget.lend(typedAhead)
    hold.onProgress(line => this.#tell(line))
    void hold.settled.then(verdict => relay.guarded(() => this.#settled(verdict, settled)))
  }

  /** Whether this message of the client waits. One that ends the wait is read as any other. */
  keeps(payload: Buffer): boolean {
    switch (payload[0]) {
      case M.windowAdjust:
        return false
      case M.close:
        this.withdraw('the client closed it')
        return false
      case M.request:
        if (isEnding(payload)) this.withdraw('the client ended it by a signal')
        break
      case M.data:
        if (this.#channel.pty && readData(payload).bytes.includes(interrupt))
          this.withdraw('it was cancelled by who sent it')
        break
    }
    this.#bytes += payload.length
    if (this.#kept.length >= mostMessages || this.#bytes > mostBytes)
      this.withdraw('too much was sent to it before it ran')
    else this.#kept.push(payload)
    return true
  }

  withdraw(reason: string): void {
    this.#hold.withdraw(reason)
  }

  #settled(verdict: Verdict, settled: (verdict: Verdict) => void): undefined {
    const { channel, kept } = { channel: this.#channel, kept: this.#kept }
    if (channel.holding !== this) return
    channel.holding = null
    this.#kept = []
    if (channel.closeSeen.client || channel.closeSent.client) return
    channel.state = 'fresh'
    settled(verdict)
    for (const payload of kept) this.#relay.redeliver(payload)
  }

  #tell(line: string): undefined {
    const { lanes } = this.#relay
    const bytes = Buffer.from(`sallyport: ${line}\r\n`)
    lanes.target.push(() => {
      if (!this.#channel.closeSent.client && this.#channel.confirmed) this.#channel.toClient.inject(bytes, stderr)
    })
  }
}

function isEnding(payload: Buffer): boolean {
  const { type, fields } = readRequest(payload)
  return type === 'signal' && ending.has(fields.text(32))
}

/** The channel that a message of a client is about; undefined where it is about none. */
export function aboutChannel(payload: Buffer): number | undefined {
  const type = payload[0]!
  return type >= M.windowAdjust && type <= M.failure ? new FieldReader(payload, 1).u32() : undefined
}
