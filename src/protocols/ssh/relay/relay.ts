import type { Gate, Opened, Refusal, Verdict } from '../../../gateway/protocol.ts'
import { logger } from '../../../log.ts'
import { lastWords } from '../deny.ts'
import { type SshLimits, sshLimits } from '../limits.ts'
import type { Transport } from '../transport.ts'
import { FieldError } from '../wire/fields.ts'
import type { Side } from './channel.ts'
import { Channels } from './channels.ts'
import { endPrograms } from './ending.ts'
import type { Errand } from './errand.ts'
import { Forwarding } from './forwarding.ts'
import { aboutChannel } from './holding.ts'
import { Input } from './input.ts'
import { Lane } from './lane.ts'
import { dataMessage, M, recipientOf, stderr } from './messages.ts'
import { Output } from './output.ts'
import { clientRequest, targetRequest } from './requests.ts'
import { Watch } from './watch.ts'

const log = logger('ssh')

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
  readonly input: Input
  readonly lanes: Readonly<Record<Side, Lane>>
  readonly channels: Channels
  readonly forwarding: Forwarding
  readonly watch: Watch
  /** Commands of ours on the target, by our number of their channels. */
  readonly errands = new Map<number, Errand>()
  #refusals = 0
  #finish: (reason: string) => void = () => {}
  #done = false

  constructor(opened: Opened, legs: Legs, limits: SshLimits = sshLimits) {
    this.#limits = limits
    this.opened = opened
    this.legs = legs
    this.gate = opened.gate
    this.output = new Output(opened.gate)
    this.input = new Input(opened.gate)
    const failed = (side: Side) => (error: Error) => this.#fault(side, error)
    this.lanes = {
      client: new Lane(this.gate, { from: legs.client, to: legs.target }, () => this.input.record(), failed('client')),
      target: new Lane(this.gate, { from: legs.target, to: legs.client }, () => this.output.record(), failed('target')),
    }
    this.channels = new Channels(this, limits.channels)
    this.forwarding = new Forwarding(this)
    this.watch = new Watch(this, (side, payload) => this.#deliver(side, payload))
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
    if (side === 'target' && this.errands.size > 0 && this.#ofErrand(payload)) return
    this.#deliver(side, payload, () => this.watch.holds(side, payload))
  }

  /** What is ours waits for no moderator. */
  #ofErrand(payload: Buffer): boolean {
    try {
      if (this.#done || payload[0]! <= M.open || payload.length < 5) return false
      const errand = this.errands.get(recipientOf(payload))
      errand?.message(payload)
      return errand !== undefined
    } catch (error) {
      this.#fault('target', error as Error)
      return true
    }
  }

  #deliver(side: Side, payload: Buffer, holds: () => boolean = () => false): undefined {
    if (this.#done) return
    try {
      if (!holds()) this.#message(side, payload)
    } catch (error) {
      this.#fault(side, error as Error)
    }
  }

  /** What waited on a channel is read as if it came now. */
  redeliver(payload: Buffer): undefined {
    this.#deliver('client', payload)
  }

  /** Runs what an answer set going; what fails ends the connection, as what a message set going does. */
  guarded(act: () => void): undefined {
    if (this.#done) return
    try {
      act()
    } catch (error) {
      this.#fault('client', error as Error)
    }
  }

  /** What is behind something that waits for approvers waits too. */
  #waits(payload: Buffer): boolean {
    const id = aboutChannel(payload)
    const holding = id === undefined ? null : this.channels.find(id)?.holding
    return holding?.keeps(payload) ?? false
  }

  #message(side: Side, payload: Buffer): undefined {
    const { channels, forwarding } = this
    if (side === 'client' && this.#waits(payload)) return
    switch (payload[0]) {
      case M.globalRequest:
        return forwarding.globalRequest(side, payload)
      case M.requestSuccess:
      case M.requestFailure:
        return forwarding.globalReply(side, payload)
      case M.open:
        return channels.open(side, payload)
      case M.openConfirmation:
        return channels.confirmed(side, payload)
      case M.openFailure:
        return channels.notOpened(side, payload)
      case M.windowAdjust:
        return channels.adjusted(side, payload)
      case M.data:
      case M.extendedData:
        return channels.data(side, payload)
      case M.eof:
        return channels.eof(side, payload)
      case M.close:
        return channels.close(side, payload)
      case M.request: {
        const channel = channels.of(side, payload)
        return side === 'client' ? clientRequest(this, channel, payload) : targetRequest(this, channel, payload)
      }
      case M.success:
      case M.failure:
        return channels.reply(side, payload)
      default:
        throw new FieldError(`a message of type ${payload[0]}`)
    }
  }

  /** As the gate's. @throws FieldError when too much was refused already. */
  judge(...about: Parameters<Gate['judge']>): Verdict {
    const verdict = this.gate.judge(...about)
    if (!verdict.allowed && verdict.held === undefined) this.#countRefusal()
    return verdict
  }

  /** One that approvers refused counts as well. */
  settled(verdict: Verdict): Verdict {
    if (!verdict.allowed) this.#countRefusal()
    return verdict
  }

  /** As the gate's. @throws FieldError when too much was refused already. */
  refuse(reason: Parameters<Gate['refuse']>[0]): undefined {
    this.gate.refuse(reason)
    this.#countRefusal()
  }

  /** Each refusal is an event, and who is refused without end would fill the spool of everybody. */
  #countRefusal(): undefined {
    const { refusals } = this.#limits
    if (++this.#refusals > refusals) throw new FieldError(`more than the ${refusals} requests that may be refused`)
  }

  /** The session must end now: every open program reads why, is ended on the target, and the link is cut. */
  #end(refusal: Refusal): undefined {
    if (this.#done) return
    const words = Buffer.from(`sallyport: ${refusal.message}\r\n`)
    for (const channel of this.channels) {
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
    for (const channel of this.channels) channel.holding?.withdraw(reason)
    this.watch[Symbol.dispose]()
    this.output.record()
    for (const channel of this.channels) this.channels.tellEnd(channel)
    for (const errand of this.errands.values()) errand.cut()
    this.errands.clear()
    const { target } = this.legs
    if (!this.opened.ended.aborted) {
      target.disconnect('')
      this.#finish(reason)
      return
    }
    void endPrograms(target, this.channels, this.opened.credential.user).then(ended => {
      for (const each of ended) this.gate.record('program_end', { ...each })
      const left = ended.filter(({ by }) => by === 'left').length
      this.#finish(
        left === 0 ? reason : `${reason}; ${left} of its programs may live on on ${this.opened.resource.name}`,
      )
    })
  }
}
