import type { CommandChannel, Verdict } from '../../gateway/protocol.ts'
import { Aside } from './aside.ts'
import type { UpdateFacts } from './facts.ts'
import { Outcome } from './outcome.ts'
import type { Capabilities } from './pack/capabilities.ts'
import type { PushRequest } from './pack/commands.ts'
import { isError } from './pack/lines.ts'
import { dataLine, flushLine, PktReader, WireError } from './pack/pkt-line.ts'
import { Report } from './pack/report.ts'
import { banded, keepAlive, TerminalText } from './pack/sideband.ts'
import type { Kept } from './push.ts'
import type { Repository } from './repositories.ts'
import { denialLine, denialLines } from './say.ts'
import type { Update } from './updates.ts'

type Words = Pick<Verdict, 'message' | 'detail' | 'remedy'>

/**
 * What the client of a push is told, and what the recording says of it: `remote:` lines, refusals per ref, and the server's own
 * report with what was refused put to it. A report is told once, when it is whole.
 */
export class PushAnswer {
  readonly #channel: CommandChannel
  readonly #report = new Report()
  readonly #fromTarget = new PktReader()
  readonly #aside: Aside
  readonly #outcome: Outcome
  readonly #words = new TerminalText()
  readonly #refused = new Map<string, string>()
  #request: PushRequest | null = null
  /** What the server was asked for. */
  #asked: readonly Update[] = []
  #isTold = false
  #told: () => void = () => {}
  /** When there is nothing more to tell. */
  readonly whenTold = new Promise<void>(resolve => {
    this.#told = resolve
  })

  constructor(channel: CommandChannel, repository: Repository) {
    this.#channel = channel
    this.#aside = new Aside(channel)
    this.#outcome = new Outcome(channel, repository)
  }

  /** How the client wants to be told: until then it is told nothing. */
  begin(request: PushRequest): undefined {
    this.#request = request
  }

  /** The server gets these. `isReported`: it says what became of each, whether the client wants to hear that or not. */
  passes(updates: readonly Update[], isReported: boolean): undefined {
    this.#asked = updates
    if (!isReported && updates.length > 0) this.#told()
  }

  /** What will be lost by it, and what of that the gateway keeps. */
  keeps(kept: readonly Kept[], facts: readonly UpdateFacts[]): undefined {
    this.#outcome.keeps(kept, facts)
  }

  get isTold(): boolean {
    return this.#isTold
  }

  /** Of what the server was asked for, what it did. */
  get taken(): readonly Update[] {
    return this.#asked.filter(({ asked }) => this.#report.results.get(asked) === null)
  }

  get #isBanded(): boolean {
    return this.#request?.capabilities.has('side-band-64k') === true
  }

  get wantsReport(): boolean {
    const { capabilities } = this.#request!
    return capabilities.has('report-status') || capabilities.has('report-status-v2')
  }

  /** What is for the person goes on at once, the report when it is whole. @throws WireError */
  fromTarget(bytes: Buffer): undefined {
    if (!this.#isBanded) {
      this.#report.read(bytes)
      if (this.#report.isDone) this.tell()
      return
    }
    this.#fromTarget.read(bytes, pkt => {
      if (pkt.kind === 'flush') {
        this.#show(this.#words.end())
        this.tell()
      } else if (pkt.kind === 'data') this.#banded(pkt.payload)
      return undefined
    })
  }

  /** What the server's program says beside that. */
  err(bytes: Buffer): undefined | Promise<void> {
    return this.#aside.err(bytes)
  }

  /** The server's program has ended. */
  end(): undefined {
    this.#aside.end()
  }

  #banded(payload: Buffer): undefined {
    const data = payload.subarray(1)
    switch (payload[0]) {
      case 1:
        return this.#report.read(data)
      case 2: // what the server's hooks say to the person
        this.#aside.record(data)
        return this.#show(this.#words.clean(data))
      case 3:
        this.#aside.record(data)
        return this.#show(Buffer.concat([this.#words.clean(data), this.#words.end()]), 3)
      default:
        if (!isError(payload)) throw new WireError('a line of no band')
        return this.#report.read(dataLine(payload)) // which is none
    }
  }

  #show(words: Buffer, band: 2 | 3 = 2): undefined {
    for (const piece of banded(band, words)) this.#channel.toClient(piece)
  }

  /** This ref is not changed, and why. */
  refuse(asked: string, words: Words): undefined {
    this.#refused.set(asked, words.message)
    this.say(denialLines({ ...words, message: `${asked}: ${words.message}` }))
  }

  /** None of what is left is done. */
  giveUp(message: string): undefined {
    for (const update of this.#asked) this.#record(update)
    this.#asked = []
    for (const { ref } of this.#request?.commands ?? [])
      if (!this.#refused.has(ref) && !this.#report.results.has(ref)) this.#refused.set(ref, message)
  }

  /** The push is over: none of what is left is done. `isOut`: the server has got it, and what it did cannot be read. */
  fail({ message, remedy }: Pick<Words, 'message' | 'remedy'>, isOut = false): undefined {
    this.giveUp(isOut ? `${message}: what it did is not known` : message)
    const next = isOut ? 'fetch to see what the server did of this push' : remedy
    this.say(denialLines({ message, detail: '', remedy: next }))
    this.tell()
  }

  /** What cannot be followed came before all commands did: there is no report. `capabilities`: what the client has said by then. */
  turnAway(message: string, capabilities: Capabilities): undefined {
    const words = Buffer.from(`${denialLine({ message, detail: '', remedy: '' })}\n`)
    if (capabilities.has('side-band-64k')) {
      for (const piece of [...banded(2, words), ...banded(3, Buffer.from('refused\n'))]) this.#channel.toClient(piece)
      return
    }
    this.#channel.toClient(words, 'err')
    this.#channel.toClient(dataLine(`ERR sallyport: ${message}`.slice(0, 8000)))
  }

  /** `remote:` lines of git's client; plain stderr where it takes no bands. */
  say(lines: readonly string[]): undefined {
    const bytes = Buffer.from(`${lines.join('\n')}\n`)
    if (!this.#isBanded) this.#channel.toClient(bytes, 'err')
    else for (const piece of banded(2, bytes)) this.#channel.toClient(piece)
  }

  keepAlive(): undefined {
    if (this.#isBanded && !this.#isTold) this.#channel.toClient(keepAlive)
  }

  /** The report, as far as there is one: idempotent. */
  tell(): undefined {
    if (this.#isTold) return
    this.#isTold = true
    for (const update of this.#asked) this.#record(update)
    if (this.wantsReport) {
      const report = this.#report.write(this.#refused)
      const bytes = this.#isBanded ? [...banded(1, report), flushLine] : [report]
      this.#channel.toClient(Buffer.concat(bytes))
    } else if (this.#isBanded) this.#channel.toClient(flushLine)
    this.#told()
  }

  /** Nobody is there to be told: what the server was asked for stays in the recording, without its answer. */
  close(): undefined {
    if (!this.#isTold) for (const update of this.#asked) this.#record(update)
    this.#isTold = true
    this.#told()
  }

  #record(update: Update): undefined {
    const lines = this.#outcome.record(update, this.#report.results.get(update.asked))
    if (lines.length > 0) this.say(lines)
  }
}
