import type {
  CommandChannel,
  CommandReader,
  CommandSide,
  CommandStream,
  Hold,
  Verdict,
} from '../../gateway/protocol.ts'
import { logger } from '../../log.ts'
import { PushAnswer } from './answer.ts'
import { Aside } from './aside.ts'
import { lineOf } from './command.ts'
import { judgePush } from './judge-push.ts'
import { Advertisement } from './pack/advertisement.ts'
import { pushCapabilities } from './pack/capabilities.ts'
import { PushCommands, type PushRequest, pushRequestLines } from './pack/commands.ts'
import { dataLine, encode, flushLine, PktReader, WireError } from './pack/pkt-line.ts'
import { banded } from './pack/sideband.ts'
import { type Mirrors, PushFault, type Quarantine, type TargetSide } from './push.ts'
import { type Resolved, resolveRefs } from './refs-of-push.ts'
import type { Repository } from './repositories.ts'
import { denialLine, denialLines, refusedStatus } from './say.ts'
import type { Update } from './updates.ts'

const log = logger('git')
const alive_ms = 5_000
/** What changes the meaning of a push, where its server does not know it. */
const heldTo = ['atomic', 'push-options', 'side-band-64k'] as const

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
  readonly #answer: PushAnswer
  readonly #aside: Aside
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
  readonly #since_ms = Date.now()
  #clientEnded = false
  #begun = false

  constructor(channel: CommandChannel, repository: Repository, mirrors: Mirrors) {
    this.#channel = channel
    this.#repository = repository
    this.#mirrors = mirrors
    this.#answer = new PushAnswer(channel, repository)
    this.#aside = new Aside(channel)
  }

  // ── the target ──

  fromTarget(bytes: Buffer, stream: CommandStream): undefined | Promise<void> {
    if (this.#place === 'over') return undefined
    if (stream === 'err') return this.#aside.err(bytes)
    return this.#orEnd(this.#channel.opened.resource.name, () => {
      const rest = this.#place === 'refs' ? this.#refs(bytes) : bytes
      if (rest === undefined || rest.length === 0) return
      if (this.#place !== 'passing') throw new WireError('an answer that nobody asked for')
      this.#answer.fromTarget(rest)
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
      onward.push(this.#advertised.end(), encode(pkt))
      this.#place = 'commands'
      return 'stop'
    })
    if (onward.length > 0) this.#channel.toClient(Buffer.concat(onward))
    return rest
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
    this.#answer.begin(request)
    const { capabilities } = request
    const unoffered = heldTo.find(word => capabilities.has(word) && !this.#advertised.capabilities.has(word))
    if (unoffered !== undefined) {
      const { name } = this.#channel.opened.resource
      this.#failed(
        new PushFault('bad_pack', `${name} does not offer ${unoffered}, which this push asks for`, 'push without it'),
      )
      return undefined
    }
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
    const alive = setInterval(() => this.#answer.keepAlive(), alive_ms)
    this.#given.signal.addEventListener('abort', () => clearInterval(alive))
    void this.#push(request)
      .catch(error => this.#failed(error as Error))
      .finally(() => clearInterval(alive))
  }

  async #push(request: PushRequest): Promise<void> {
    const { opened } = this.#channel
    const { refs, objectFormat, shallow } = this.#advertised
    if (shallow.length > 0) throw new PushFault('bad_pack', ...shallowServer)
    const side = {
      refs,
      since_ms: this.#since_ms,
      object_format: objectFormat,
      fetch: () => this.#channel.run(lineOf('upload-pack', this.#repository.path), { GIT_PROTOCOL: 'version=2' }),
    }
    const { updates, head } = await this.#resolve(request, side)
    if (updates.length === 0) return this.#refuseAll()
    const target: TargetSide = { ...side, head }
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
      const facts = await quarantine.judge(updates).catch(error => {
        throw request.shallow.length > 0 ? shallowFault(error) : error
      })
      if (this.#given.signal.aborted) return
      const verdicts = await judgePush(this.#channel, this.#repository, {
        request,
        updates,
        facts,
        pack_bytes: pack.bytes,
        begun: hold => this.#waits(hold),
      })
      if (this.#given.signal.aborted) return
      const accepted = this.#sort(updates, verdicts, request.capabilities.has('atomic'))
      if (accepted.length === 0) return this.#refuseAll()
      this.#answer.keeps(await quarantine.preserve(eachOnce(accepted)), facts)
      await this.#pass(request, quarantine, accepted)
      await this.#answer.whenTold
      const taken = eachOnce(this.#answer.taken)
      if (taken.length > 0) await quarantine.settled(taken)
    } finally {
      await quarantine.drop()
    }
  }

  /** Every command's own ref, without those that nobody may change: these are refused here. */
  async #resolve(request: PushRequest, target: Omit<TargetSide, 'head'>): Promise<Omit<Resolved, 'barred'>> {
    const { updates, barred, head } = await resolveRefs(this.#channel, this.#repository, request, target)
    for (const { asked, why } of barred) {
      this.#channel.opened.gate.refuse({ rule: 'git.ref', message: `${asked}: ${why}`, text: null })
      this.#answer.refuse(asked, { message: `refused by the gateway: ${why}`, detail: '', remedy: '' })
    }
    if (barred.length === 0 || !request.capabilities.has('atomic')) return { updates, head }
    for (const { asked } of updates) this.#answer.refuse(asked, atomicWords)
    return { updates: [], head }
  }

  #waits(hold: Hold): undefined {
    this.#holds.add(hold)
    const told = hold.onProgress(line => this.#answer.say([`sallyport: ${line}`]))
    void hold.settled.then(() => {
      told[Symbol.dispose]()
      this.#holds.delete(hold)
    })
  }

  #sort(updates: readonly Update[], verdicts: readonly Verdict[], atomic: boolean): readonly Update[] {
    const accepted = updates.filter((_, i) => verdicts[i]!.allowed)
    for (const [i, { asked }] of updates.entries()) {
      const verdict = verdicts[i]!
      if (!verdict.allowed) this.#answer.refuse(asked, verdict)
      else if (atomic && accepted.length < updates.length) this.#answer.refuse(asked, atomicWords)
    }
    return atomic && accepted.length < updates.length ? [] : accepted
  }

  /** INVARIANT: the only place from which the target gets anything of a push. */
  async #pass(request: PushRequest, quarantine: Quarantine, accepted: readonly Update[]): Promise<void> {
    this.#place = 'passing'
    const { objectFormat, capabilities } = this.#advertised
    const { wantsReport } = this.#answer
    // What the server did is recorded, whether the client asks for it or not.
    const also = !wantsReport && capabilities.has('report-status') ? ' report-status' : ''
    this.#answer.passes(accepted, wantsReport || also !== '')
    this.#channel.toTarget(pushRequestLines({ ...request, also }, commandsOf(accepted), objectFormat))
    if (accepted.some(each => each.new !== null)) {
      const all = accepted.length === request.commands.length
      for await (const chunk of quarantine.pass(accepted, all)) {
        if (this.#given.signal.aborted) return
        await this.#channel.toTarget(chunk as Buffer)
      }
    }
    this.#channel.endTarget()
  }

  // ── words ──

  /** The target is told that there is nothing, and ends; not before the client has sent all, or its pipe would break. */
  #refuseAll(): undefined {
    this.#answer.tell()
    this.#place = 'drained'
    if (this.#clientEnded || !this.#hasPack || this.#open !== undefined) this.#endTarget()
  }

  #endTarget(): undefined {
    this.#channel.toTarget(flushLine)
    this.#channel.endTarget()
  }

  /** The push cannot be taken, or the gateway failed: each ref is refused, and it is over. */
  #failed(error: Error): undefined {
    if (this.#place === 'over' || this.#given.signal.aborted) return
    const known = error instanceof PushFault || error instanceof WireError
    if (!known) log.error({ err: error, session_id: this.#channel.opened.session_id }, 'a push failed')
    const message = known ? error.message : 'the gateway failed on this push'
    const remedy = error instanceof PushFault ? error.remedy : known ? '' : 'try again; its log has the fault'
    this.#channel.opened.gate.refuse({ rule: 'git.push', message, text: null })
    this.#answer.giveUp(message)
    this.#answer.say(denialLines({ message, detail: '', remedy }))
    if (this.#request !== null) this.#answer.tell()
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
        // Before all commands are known there is no report; how its client reads is known from the first on.
        if (this.#commands.capabilities.has('side-band-64k')) {
          const lines = denialLines({ message, detail: '', remedy: '' }).join('\n')
          for (const piece of [...banded(2, Buffer.from(`${lines}\n`)), ...banded(3, Buffer.from('refused\n'))])
            this.#channel.toClient(piece)
          return this.#end()
        }
        this.#channel.toClient(Buffer.from(`${denialLine({ message, detail: '', remedy: '' })}\n`), 'err')
        this.#channel.toClient(dataLine(`ERR sallyport: ${message}`.slice(0, 8000)))
      } else {
        const isOut = this.#place === 'passing'
        const remedy = isOut ? 'fetch to see what the server did of this push' : ''
        this.#answer.giveUp(isOut ? `${message}: what it did is not known` : message)
        this.#answer.say(denialLines({ message, detail: '', remedy }))
        this.#answer.tell()
      }
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
    this.#aside.end()
    if (this.#place !== 'passing' || this.#answer.isTold || this.#request?.commands.length === 0) return
    this.#answer.giveUp(`${this.#channel.opened.resource.name} ended without an answer`)
    this.#answer.tell()
  }

  closed(): undefined {
    this.#place = 'over'
    this.#given.abort()
    for (const hold of this.#holds) hold.withdraw('the client is gone')
    this.#answer.close()
    this.#open
      ?.drop()
      .catch(error => log.error({ err: error }, 'what a push left could not be removed; the next start does it'))
  }
}

/** A ref that was changed under two of its names was changed once. */
function eachOnce(updates: readonly Update[]): readonly Update[] {
  return [...new Map(updates.map(each => [each.ref, each])).values()]
}

const atomicWords = {
  message: 'not done, since another ref of this atomic push is refused',
  detail: '',
  remedy: '',
} as const

const shallowServer = [
  'the repository on the server is shallow: what a push would change there cannot be known',
  'have its owner complete it: git fetch --unshallow',
] as const

/** Git's own words for it, which its servers say unless they are told to take new ends of the history. */
function shallowFault(error: unknown): unknown {
  if (!(error instanceof PushFault) || error.code !== 'bad_pack') return error
  const message = `shallow update not allowed: ${error.message}`
  return new PushFault('bad_pack', message, 'complete your repository (git fetch --unshallow), and push again')
}

function commandsOf(updates: readonly Update[]) {
  return updates.map(({ asked, old, new: next }) => ({ ref: asked, old, new: next }))
}
