import type {
  CommandChannel,
  CommandReader,
  CommandSide,
  CommandStream,
  Hold,
  Verdict,
} from '../../gateway/protocol.ts'
import { logger } from '../../log.ts'
import { lineOf } from './command.ts'
import { judgePush } from './judge-push.ts'
import { Advertisement } from './pack/advertisement.ts'
import { pushCapabilities } from './pack/capabilities.ts'
import { PushCommands, type PushRequest, pushRequestLines } from './pack/commands.ts'
import { dataLine, encode, flushLine, PktReader, WireError } from './pack/pkt-line.ts'
import { Report } from './pack/report.ts'
import { banded, keepAlive } from './pack/sideband.ts'
import { type Mirrors, PushFault, type Quarantine, type TargetSide } from './push.ts'
import type { Repository } from './repositories.ts'
import { denialLine, denialLines, refusedStatus } from './say.ts'
import { askSymrefs } from './symrefs.ts'
import { resolve, twinsOf, type Update, whyNotRef } from './updates.ts'

const log = logger('git')
const alive_ms = 5_000

/**
 * `git-receive-pack`: the commands are read whole, the pack waits in quarantine until each ref is judged, and then what was
 * allowed goes on. INVARIANT: before that the target has got nothing of this push; what was refused is told per ref in the
 * server's own report, and an atomic push goes on whole or not at all.
 */
export class PushReader implements CommandReader {
  readonly #channel: CommandChannel
  readonly #repository: Repository
  readonly #mirrors: Mirrors
  /** A thin pack stands upon files that are not here. */
  readonly #advertised = new Advertisement(pushCapabilities, 'no-thin')
  readonly #fromTarget = new PktReader()
  readonly #fromClient = new PktReader()
  readonly #commands = new PushCommands()
  readonly #report = new Report()
  readonly #given = new AbortController()
  readonly #holds = new Set<Hold>()
  /** `judging`: the pack comes in and is judged. `passing`: the target has got what may go on. `drained`: all was refused while the client still sends. */
  #place: 'refs' | 'commands' | 'judging' | 'passing' | 'drained' | 'over' = 'refs'
  #request: PushRequest | null = null
  #made: (quarantine: Quarantine) => void = () => {}
  /** Settles when there is one: what comes before waits. */
  readonly #quarantine = new Promise<Quarantine>(resolve => {
    this.#made = resolve
  })
  #open: Quarantine | undefined
  #written: Promise<void> = Promise.resolve()
  #clientEnded = false
  #begun = false
  #refused = new Map<string, string>()
  #accepted: readonly Update[] = []
  #reported = false

  constructor(channel: CommandChannel, repository: Repository, mirrors: Mirrors) {
    this.#channel = channel
    this.#repository = repository
    this.#mirrors = mirrors
  }

  // ── the target ──

  fromTarget(bytes: Buffer, stream: CommandStream): undefined | Promise<void> {
    if (this.#place === 'over') return undefined
    if (stream === 'err') {
      this.#channel.opened.gate.record('output', { channel: this.#channel.id, stream: 'err', data: bytes })
      return this.#channel.toClient(bytes, 'err')
    }
    return this.#orEnd(this.#channel.opened.resource.name, () => {
      const rest = this.#place === 'refs' ? this.#refs(bytes) : bytes
      if (rest !== undefined && rest.length > 0) this.#answer(rest)
    })
  }

  #refs(bytes: Buffer): Buffer | undefined {
    const onward: Buffer[] = []
    const rest = this.#fromTarget.read(bytes, pkt => {
      if (pkt.kind === 'data') {
        onward.push(this.#advertised.line(pkt))
        return undefined
      }
      if (pkt.kind !== 'flush') throw new WireError('an advertisement that is none')
      onward.push(encode(pkt))
      this.#place = 'commands'
      return 'stop'
    })
    if (onward.length > 0) this.#channel.toClient(Buffer.concat(onward))
    return rest
  }

  /** The target's report: what is for the person goes on at once, the rest when it is whole and ours can be put to it. */
  #answer(bytes: Buffer): undefined {
    if (this.#place !== 'passing' || this.#request === null) throw new WireError('an answer that nobody asked for')
    if (!this.#isBanded) {
      this.#report.read(bytes)
      if (this.#report.isDone) this.#tellReport()
      return
    }
    this.#fromTarget.read(bytes, pkt => {
      if (pkt.kind === 'flush') this.#tellReport()
      else if (pkt.kind === 'data' && pkt.payload[0] === 1) this.#report.read(pkt.payload.subarray(1))
      else if (pkt.kind === 'data') this.#channel.toClient(dataLine(pkt.payload))
      return undefined
    })
  }

  get #isBanded(): boolean {
    return this.#request?.capabilities.has('side-band-64k') === true
  }

  get #wantsReport(): boolean {
    const { capabilities } = this.#request!
    return capabilities.has('report-status') || capabilities.has('report-status-v2')
  }

  // ── the client ──

  fromClient(bytes: Buffer): undefined | Promise<void> {
    return this.#orEnd('the client', () => {
      switch (this.#place) {
        case 'refs':
          throw new WireError('words before it was told what there is')
        case 'commands':
          return this.#read(bytes)
        case 'judging':
          return this.#pack(bytes)
        default:
          return undefined // its pack was whole, or all of it is refused
      }
    })
  }

  #read(bytes: Buffer): undefined | Promise<void> {
    let request: PushRequest | undefined
    const rest = this.#fromClient.read(bytes, pkt => {
      request = this.#commands.read(pkt)
      return this.#commands.isDone ? 'stop' : undefined
    })
    if (request === undefined) return undefined
    this.#request = request
    if (request.commands.length === 0) {
      this.#place = 'passing'
      this.#channel.toTarget(flushLine)
      return undefined
    }
    this.#place = 'judging'
    this.#begin(request)
    return rest === undefined || rest.length === 0 ? undefined : this.#pack(rest)
  }

  #pack(bytes: Buffer): undefined | Promise<void> {
    if (!this.#hasPack) throw new WireError('words behind the last one')
    this.#begun = true
    if (this.#open !== undefined) return this.#open.write(bytes)?.catch(() => {})
    // In order, while the place for it is being made. What goes wrong there is told by who waits for the whole.
    this.#written = this.#written.then(async () => (await this.#quarantine).write(bytes)).catch(() => {})
    return this.#written
  }

  get #hasPack(): boolean {
    return this.#request!.commands.some(each => each.new !== null)
  }

  // ── what becomes of it ──

  #begin(request: PushRequest): undefined {
    const alive = setInterval(() => {
      if (this.#isBanded && !this.#reported) this.#channel.toClient(keepAlive)
    }, alive_ms)
    this.#given.signal.addEventListener('abort', () => clearInterval(alive))
    void this.#push(request)
      .catch(error => this.#failed(error as Error))
      .finally(() => clearInterval(alive))
  }

  async #push(request: PushRequest): Promise<void> {
    const { opened } = this.#channel
    const { refs, objectFormat } = this.#advertised
    const target: TargetSide = {
      refs,
      object_format: objectFormat,
      fetch: () => this.#channel.run(lineOf('upload-pack', this.#repository.path), { GIT_PROTOCOL: 'version=2' }),
    }
    const updates = await this.#resolve(request, target)
    if (updates.length === 0) return this.#refuseAll()
    const quarantine = await this.#mirrors.quarantine(this.#repository, target, {
      session_id: opened.session_id,
      subject: opened.subject.name,
    })
    if (this.#given.signal.aborted) return quarantine.drop()
    try {
      this.#made(quarantine)
      for (let last: Promise<void> | undefined; last !== this.#written; ) await (last = this.#written)
      this.#open = quarantine
      if (this.#clientEnded) quarantine.end()
      const pack = this.#hasPack ? await quarantine.whole : { bytes: 0, objects: 0 }
      const facts = await quarantine.judge(updates)
      if (this.#given.signal.aborted) return
      const verdicts = await judgePush(this.#channel, this.#repository, {
        request,
        updates,
        facts,
        pack_bytes: pack.bytes,
        begun: hold => this.#waits(hold),
      })
      if (this.#given.signal.aborted) return
      this.#accepted = this.#sort(updates, verdicts, request.capabilities.has('atomic'))
      if (this.#accepted.length === 0) return this.#refuseAll()
      await quarantine.preserve(this.#accepted)
      await this.#pass(request, quarantine)
      await this.#settled
      const taken = this.#accepted.filter(({ asked }) => this.#report.results.get(asked) === null)
      if (taken.length > 0) await quarantine.settled(taken)
    } finally {
      await quarantine.drop()
    }
  }

  /** Every command's own ref, without those that nobody may change: these are refused here. */
  async #resolve(request: PushRequest, target: TargetSide): Promise<readonly Update[]> {
    const { opened } = this.#channel
    const updates: Update[] = []
    for (const each of resolve(request.commands, target.refs, await this.#symrefs(request, target))) {
      const why =
        'why' in each ? each.why : (whyNotRef(opened.resource, each.asked) ?? whyNotRef(opened.resource, each.ref))
      if (why === undefined && !('why' in each)) updates.push(each)
      else {
        opened.gate.refuse({ rule: 'git.ref', message: `${each.asked}: ${why}`, text: null })
        this.#refuse(each.asked, { message: `refused by the gateway: ${why}`, detail: '', remedy: '' })
      }
    }
    if (this.#refused.size === 0 || !request.capabilities.has('atomic')) return updates
    for (const { asked } of updates) this.#refuse(asked, atomicWords)
    return []
  }

  async #symrefs(request: PushRequest, target: TargetSide): Promise<ReadonlyMap<string, string> | undefined> {
    const { symrefs } = this.#repository
    if (symrefs !== null) return new Map(Object.entries(symrefs))
    // A ref that shares its object with no other is another name of none.
    if (request.commands.every(each => twinsOf(target.refs, each).length === 0)) return new Map()
    try {
      return await askSymrefs(await target.fetch())
    } catch (error) {
      log.info(
        { err: error, resource: this.#repository.resource.name },
        'a target did not say which refs are other names',
      )
      return undefined
    }
  }

  #waits(hold: Hold): undefined {
    this.#holds.add(hold)
    const told = hold.onProgress(line => this.#tell([`sallyport: ${line}`]))
    void hold.settled.then(() => {
      told[Symbol.dispose]()
      this.#holds.delete(hold)
    })
  }

  #sort(updates: readonly Update[], verdicts: readonly Verdict[], atomic: boolean): readonly Update[] {
    const accepted = updates.filter((_, i) => verdicts[i]!.allowed)
    for (const [i, { asked }] of updates.entries()) {
      const verdict = verdicts[i]!
      if (!verdict.allowed) this.#refuse(asked, verdict)
      else if (atomic && accepted.length < updates.length) this.#refuse(asked, atomicWords)
    }
    return atomic && accepted.length < updates.length ? [] : accepted
  }

  /** INVARIANT: the only place from which the target gets anything of a push. */
  async #pass(request: PushRequest, quarantine: Quarantine): Promise<void> {
    this.#place = 'passing'
    this.#channel.toTarget(pushRequestLines(request, commandsOf(this.#accepted), this.#advertised.objectFormat))
    if (this.#accepted.some(each => each.new !== null)) {
      const all = this.#accepted.length === request.commands.length
      for await (const chunk of quarantine.pass(this.#accepted, all)) {
        if (this.#given.signal.aborted) return
        await this.#channel.toTarget(chunk as Buffer)
      }
    }
    this.#channel.endTarget()
    if (!this.#wantsReport) this.#finishReport()
  }

  // ── words ──

  #refuse(asked: string, words: Pick<Verdict, 'message' | 'detail' | 'remedy'>): undefined {
    this.#refused.set(asked, words.message)
    this.#tell(denialLines({ ...words, message: `${asked}: ${words.message}` }))
  }

  /** `remote:` lines of git's client; plain stderr where it takes no bands. */
  #tell(lines: readonly string[]): undefined {
    const bytes = Buffer.from(`${lines.join('\n')}\n`)
    if (!this.#isBanded) this.#channel.toClient(bytes, 'err')
    else for (const piece of banded(2, bytes)) this.#channel.toClient(piece)
  }

  /** The target is told that there is nothing, and ends; not before the client has sent all, or its pipe would break. */
  #refuseAll(): undefined {
    this.#tellReport()
    this.#place = 'drained'
    if (this.#clientEnded || !this.#hasPack || this.#open !== undefined) this.#endTarget()
  }

  #endTarget(): undefined {
    this.#channel.toTarget(flushLine)
    this.#channel.endTarget()
  }

  #settle: () => void = () => {}
  readonly #settled = new Promise<void>(resolve => (this.#settle = resolve))

  #tellReport(): undefined {
    if (this.#reported) return
    this.#reported = true
    for (const { asked, ref, old, new: next } of this.#accepted) {
      const why = this.#report.results.get(asked)
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
    }
    if (this.#wantsReport) {
      const report = this.#report.write(this.#refused)
      const bytes = this.#isBanded ? [...banded(1, report), flushLine] : [report]
      this.#channel.toClient(Buffer.concat(bytes))
    } else if (this.#isBanded) this.#channel.toClient(flushLine)
    this.#finishReport()
  }

  #finishReport(): undefined {
    this.#settle()
  }

  /** The push cannot be taken, or the gateway failed: each ref is refused, and it is over. */
  #failed(error: Error): undefined {
    if (this.#place === 'over' || this.#given.signal.aborted) return
    const known = error instanceof PushFault || error instanceof WireError
    if (!known) log.error({ err: error, session_id: this.#channel.opened.session_id }, 'a push failed')
    const message = known ? error.message : 'the gateway failed on this push'
    const remedy = error instanceof PushFault ? error.remedy : known ? '' : 'try again; its log has the fault'
    this.#channel.opened.gate.refuse({ rule: 'git.push', message, text: null })
    if (this.#place === 'passing') this.#accepted = []
    for (const { ref } of this.#request?.commands ?? []) if (!this.#refused.has(ref)) this.#refused.set(ref, message)
    this.#tell(denialLines({ message, detail: '', remedy }))
    if (this.#request !== null) this.#tellReport()
    this.#end()
  }

  #end(): undefined {
    this.#place = 'over'
    this.#channel.finish(refusedStatus)
  }

  #orEnd(who: string, run: () => undefined | Promise<void> | void): undefined | Promise<void> {
    if (this.#place === 'over') return undefined
    try {
      return run() ?? undefined
    } catch (error) {
      if (!(error instanceof WireError)) throw error
      const message = `${who} sent ${error.message}`
      this.#channel.opened.gate.refuse({ rule: 'git.wire', message, text: null })
      this.#given.abort()
      if (this.#request === null) {
        // Before the commands are known nobody can say what would be read of a report.
        this.#channel.toClient(Buffer.from(`${denialLine({ message, detail: '', remedy: '' })}\n`), 'err')
        this.#channel.toClient(dataLine(`ERR sallyport: ${message}`.slice(0, 8000)))
      } else this.#tell(denialLines({ message, detail: '', remedy: '' }))
      this.#end()
      return undefined
    }
  }

  ended(side: CommandSide): undefined {
    if (side === 'target') return this.#targetEnded()
    this.#clientEnded = true
    if (this.#place === 'commands' || this.#place === 'refs') this.#channel.endTarget()
    else if (this.#place === 'drained') this.#endTarget()
    else if (this.#place === 'judging' && this.#hasPack && !this.#begun) {
      this.#failed(new WireError('a push without its pack'))
      this.#given.abort()
    } else if (this.#place === 'judging') void this.#written.then(() => this.#open?.end())
  }

  /** Without a report: the client reads why, and what was refused before. */
  #targetEnded(): undefined {
    if (this.#place !== 'passing' || this.#reported || this.#request === null || this.#request.commands.length === 0)
      return
    const { name } = this.#channel.opened.resource
    for (const { asked } of this.#accepted) this.#refused.set(asked, `${name} ended without an answer`)
    this.#accepted = []
    this.#tellReport()
  }

  closed(): undefined {
    this.#place = 'over'
    this.#given.abort()
    for (const hold of this.#holds) hold.withdraw('the client is gone')
    this.#settle()
    this.#open
      ?.drop()
      .catch(error => log.error({ err: error }, 'what a push left could not be removed; the next start does it'))
  }
}

const atomicWords = {
  message: 'not done, since another ref of this atomic push is refused',
  detail: '',
  remedy: '',
} as const

function commandsOf(updates: readonly Update[]) {
  return updates.map(({ asked, old, new: next }) => ({ ref: asked, old, new: next }))
}
