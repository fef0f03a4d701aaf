import type { CommandChannel, Verdict } from '../../gateway/protocol.ts'
import { Aside } from './aside.ts'
import type { UpdateFacts } from './facts.ts'
import type { PushRequest } from './pack/commands.ts'
import { isError } from './pack/lines.ts'
import { dataLine, flushLine, PktReader, WireError } from './pack/pkt-line.ts'
import { Report } from './pack/report.ts'
import { banded, keepAlive, TerminalText } from './pack/sideband.ts'
import type { Kept } from './push.ts'
import type { Repository } from './repositories.ts'
import { denialLines, lostLines } from './say.ts'
import type { Update } from './updates.ts'

type Words = Pick<Verdict, 'message' | 'detail' | 'remedy'>

/**
 * What the client of a push is told, and what the recording says of it: `remote:` lines, refusals per ref, and the server's own
 * report with what was refused put to it. A report is told once, when it is whole.
 */
export class PushAnswer {
  readonly #channel: CommandChannel
  readonly #repository: Repository
  readonly #report = new Report()
  readonly #fromTarget = new PktReader()
  readonly #aside: Aside
  readonly #words = new TerminalText()
  readonly #refused = new Map<string, string>()
  #request: PushRequest | null = null
  /** What each ref loses when the server does it. */
  #losing: readonly { readonly kept: Kept; readonly facts: UpdateFacts | undefined }[] = []
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
    this.#repository = repository
    this.#aside = new Aside(channel)
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
    this.#losing = kept.map(each => ({ kept: each, facts: facts.find(({ ref }) => ref === each.ref) }))
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

  #record({ asked, ref, old, new: next }: Update): undefined {
    const { results } = this.#report
    const why = results.has(asked) ? results.get(asked) : 'the server did not say what it did'
    this.#channel.opened.gate.record('git_ref', {
      channel: this.#channel.id,
      repository: this.#repository.name,
      ref,
      ...(asked === ref ? {} : { asked }),
      old,
      new: next,
      done: why === null,
      ...(typeof why === 'string' ? { why } : {}),
    })
    // Where the server said no, nothing is lost; where it said nothing, it may be.
    if (results.has(asked) && why !== null) return
    const losing = this.#losing.filter(each => each.kept.ref === ref)
    this.#losing = this.#losing.filter(each => each.kept.ref !== ref) // a ref may be told under two names
    for (const each of losing) this.#lost(each, why === null)
  }

  #lost({ kept, facts }: { readonly kept: Kept; readonly facts: UpdateFacts | undefined }, isDone: boolean): undefined {
    const { opened, id: channel } = this.#channel
    const { id, ref, old, commits, bytes, without } = kept
    opened.gate.record('git_lost', {
      channel,
      resource: opened.resource.name,
      repository: this.#repository.name,
      ref,
      old,
      done: isDone,
      lost: facts?.lost ?? [],
      lost_total: commits,
      kept: without === null,
      ...(without === null ? { id, bytes } : { why: without }),
    })
    if (isDone) this.say(lostLines(opened.resource.name, this.#repository.name, kept))
  }
}
