import { Duplex } from 'node:stream'
import { SallyportError } from '../../../errors.ts'
import { FieldError, FieldReader, field } from '../wire/fields.ts'
import {
  adjustMessage,
  dataMessage,
  M,
  openMessage,
  plainMessage,
  readConfirmation,
  readData,
  readRequest,
  requestMessage,
} from './messages.ts'
import type { Relay } from './relay.ts'

const window = 1024 * 1024
const packet = 32_768
const mostAtOnce = 8
const mostSaid = 2048

/**
 * A command of ours on the target, over the connection of the session and unseen by its client: a stream of its input and
 * output. @throws SallyportError `target_unavailable` where the target does not start it.
 */
export function errand(relay: Relay, line: string, env: Readonly<Record<string, string>>): Promise<Duplex> {
  if (relay.errands.size >= mostAtOnce)
    return Promise.reject(refused(relay, `${mostAtOnce} commands of ours run there already`))
  return new Promise((resolve, reject) => {
    const made: Errand = new Errand(relay, line, env, error => {
      if (error === undefined) resolve(made)
      else reject(error)
    })
  })
}

function refused(relay: Relay, why: string, remedy?: string): SallyportError {
  return new SallyportError(
    'target_unavailable',
    `${relay.opened.resource.name} does not run a command of the gateway: ${why}`,
    remedy === undefined ? {} : { remedy },
  )
}

const secondChannel = 'its owner lets a connection have two sessions or more there (sshd: MaxSessions)'

export class Errand extends Duplex {
  readonly #relay: Relay
  readonly #id: number
  readonly #line: string
  readonly #env: Readonly<Record<string, string>>
  #begun: ((error?: Error) => void) | undefined
  #number: number | undefined
  #packet = 0
  #credit = 0
  #granted = window
  #unread = 0
  #full = false
  #writing: { rest: Buffer; readonly done: (error?: Error | null) => void } | undefined
  #closeSent = false
  #said = ''
  #status: string | undefined
  #ended = false

  constructor(relay: Relay, line: string, env: Readonly<Record<string, string>>, begun: (error?: Error) => void) {
    super({ allowHalfOpen: true })
    this.#relay = relay
    this.#line = line
    this.#env = env
    this.#begun = begun
    this.#id = relay.channels.number()
    relay.errands.set(this.#id, this)
    this.on('error', () => {}) // who reads it hears of it; who left does not
    relay.legs.target.send(openMessage({ type: 'session', sender: this.#id, window, packet, rest: Buffer.alloc(0) }))
  }

  /** Of the target, for this channel. @throws FieldError */
  message(payload: Buffer): void {
    switch (payload[0]) {
      case M.openConfirmation: {
        if (this.#number !== undefined) throw new FieldError('a second answer to a channel that was opened')
        const terms = readConfirmation(payload)
        this.#number = terms.sender
        this.#credit = terms.window
        this.#packet = Math.min(terms.packet, packet)
        for (const [name, value] of Object.entries(this.#env)) this.#request('env', false, field(name), field(value))
        this.#request('exec', true, field(this.#line))
        return
      }
      case M.openFailure:
        this.#relay.errands.delete(this.#id)
        this.#closeSent = true
        this.#fail('it opens no second channel', secondChannel)
        return
      case M.success:
        this.#answer()
        return
      case M.failure:
        this.#fail('it refused to start it')
        return
      case M.windowAdjust:
        this.#credit += new FieldReader(payload, 5).u32()
        this.#send()
        return
      case M.data:
      case M.extendedData:
        this.#data(payload)
        return
      case M.request: {
        const { type, fields } = readRequest(payload)
        if (type === 'exit-status') this.#status = String(fields.u32())
        else if (type === 'exit-signal') this.#status = fields.text(64)
        return
      }
      case M.eof:
        this.#endOfOutput()
        return
      case M.close:
        this.#relay.errands.delete(this.#id)
        this.#close()
        if (this.#begun !== undefined) this.#fail('it closed the channel')
        else if (this.#status !== '0' && this.#said !== '') this.destroy(refused(this.#relay, this.#said.trim()))
        else {
          this.#endOfOutput()
          this.#writing?.done()
          this.#writing = undefined
        }
    }
  }

  #endOfOutput(): void {
    if (!this.#ended) this.push(null)
    this.#ended = true
  }

  /** The connection is over. */
  cut(): void {
    this.#closeSent = true
    this.#fail('the connection is over')
  }

  #data(payload: Buffer): void {
    const { bytes, code } = readData(payload)
    if (bytes.length > this.#granted) throw new FieldError('more bytes than were granted')
    this.#granted -= bytes.length
    this.#unread += bytes.length
    if (code !== null) this.#said = (this.#said + bytes.toString('utf8')).slice(0, mostSaid)
    else if (this.#ended) throw new FieldError('data after its end')
    else if (!this.push(Buffer.from(bytes))) {
      this.#full = true
      return
    }
    this.#grant()
  }

  #grant(): void {
    if (this.#full || this.#closeSent || this.#unread < window / 4) return
    this.#granted += this.#unread
    this.#relay.legs.target.send(adjustMessage(this.#number!, this.#unread))
    this.#unread = 0
  }

  override _read(): void {
    this.#full = false
    if (this.#number !== undefined) this.#grant()
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#writing = { rest: chunk, done }
    this.#send()
  }

  #send(): void {
    const writing = this.#writing
    if (writing === undefined) return
    while (writing.rest.length > 0 && !this.#closeSent) {
      const bytes = writing.rest.subarray(0, Math.min(this.#credit, this.#packet))
      if (bytes.length === 0) return
      this.#credit -= bytes.length
      this.#relay.legs.target.send(dataMessage(this.#number!, bytes, null))
      writing.rest = writing.rest.subarray(bytes.length)
    }
    this.#writing = undefined
    writing.done()
  }

  override _final(done: () => void): void {
    if (!this.#closeSent) this.#relay.legs.target.send(plainMessage(M.eof, this.#number!))
    done()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (this.#number !== undefined) this.#close()
    done(error)
  }

  #request(type: string, wantReply: boolean, ...rest: Buffer[]): void {
    this.#relay.legs.target.send(requestMessage(this.#number!, type, wantReply, ...rest))
  }

  #close(): void {
    if (this.#closeSent || this.#number === undefined) return
    this.#closeSent = true
    this.#relay.legs.target.send(plainMessage(M.close, this.#number))
  }

  #answer(error?: Error): void {
    const begun = this.#begun
    this.#begun = undefined
    begun?.(error)
  }

  #fail(why: string, remedy?: string): void {
    const error = refused(this.#relay, why, remedy)
    this.#answer(error)
    this.destroy(error)
  }
}
