import type { CommandChannel, CommandReader, CommandSide, CommandStream, Hold } from '../../gateway/protocol.ts'
import { logger } from '../../log.ts'
import { PushAnswer } from './answer.ts'
import { lineOf } from './command.ts'
import { IncomingPack } from './incoming-pack.ts'
import { judgePush } from './judge-push.ts'
import { Advertisement } from './pack/advertisement.ts'
import { pushCapabilities } from './pack/capabilities.ts'
import { PushCommands, type PushRequest, pushRequestLines } from './pack/commands.ts'
import { encode, flushLine, PktReader, WireError } from './pack/pkt-line.ts'
import { type Mirrors, PushFault, type Quarantine, type TargetSide } from './push.ts'
import { resolveRefs } from './refs-of-push.ts'
import type { Repository } from './repositories.ts'
import { refusedStatus, unreadable } from './say.ts'
import { Sorting } from './sorting.ts'
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
  readonly #incoming = new IncomingPack()
  readonly #given = new AbortController()
  readonly #holds = new Set<Hold>()
  /** `judging`: the pack comes in and is judged. `passing`: the target has got what may go on. `drained`: all was refused while the client still sends. */
  #place: 'refs' | 'commands' | 'judging' | 'passing' | 'drained' | 'over' = 'refs'
  #request: PushRequest | null = null
  readonly #since_ms = Date.now()

  constructor(channel: CommandChannel, repository: Repository, mirrors: Mirrors) {
    this.#channel = channel
    this.#repository = repository
    this.#mirrors = mirrors
    this.#answer = new PushAnswer(channel, repository)
  }

  // ── the target ──

  fromTarget(bytes: Buffer, stream: CommandStream): undefined | Promise<void> {
    if (this.#place === 'over') return undefined
    if (stream === 'err') return this.#answer.err(bytes)
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
    return this.#incoming.write(bytes)
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
    const sorting = new Sorting(this.#channel, this.#answer, request)
    const resolved = await resolveRefs(this.#channel, this.#repository, request, side)
    const updates = sorting.resolved(resolved)
    if (updates.length === 0) return this.#refuseAll()
    const target: TargetSide = { ...side, head: resolved.head }
    const quarantine = await this.#mirrors.quarantine(this.#repository, target, {
      session_id: opened.session_id,
      subject: opened.subject.name,
    })
    if (this.#given.signal.aborted) return quarantine.drop()
    try {
      await this.#incoming.into(quarantine)
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
      const accepted = sorting.judged(updates, verdicts)
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

  #waits(hold: Hold): undefined {
    this.#holds.add(hold)
    const told = hold.onProgress(line => this.#answer.say([`sallyport: ${line}`]))
    void hold.settled.then(() => {
      told[Symbol.dispose]()
      this.#holds.delete(hold)
    })
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
    if (this.#incoming.isEnded || !this.#hasPack || this.#incoming.isInPlace) this.#endTarget()
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
    this.#answer.fail({ message, remedy })
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
      const message = unreadable(this.#channel, who, error)
      this.#given.abort()
      if (this.#request === null) this.#answer.turnAway(message, this.#commands.capabilities)
      else this.#answer.fail({ message, remedy: '' }, this.#place === 'passing')
      return this.#end()
    }
  }

  ended(side: CommandSide): undefined {
    if (side === 'target') return this.#targetEnded()
    if (this.#place === 'commands' || this.#place === 'refs') this.#channel.endTarget()
    else if (this.#place === 'drained') this.#endTarget()
    else if (this.#place === 'judging' && this.#hasPack && !this.#incoming.isBegun) {
      this.#failed(new WireError('a push without its pack'))
      this.#given.abort()
    } else if (this.#place === 'judging') this.#incoming.end()
  }

  /** Without a report: the client reads why, and what was refused before. */
  #targetEnded(): undefined {
    this.#answer.end()
    if (this.#place !== 'passing' || this.#answer.isTold || this.#request?.commands.length === 0) return
    this.#answer.giveUp(`${this.#channel.opened.resource.name} ended without an answer`)
    this.#answer.tell()
  }

  closed(): undefined {
    this.#place = 'over'
    this.#given.abort()
    for (const hold of this.#holds) hold.withdraw('the client is gone')
    this.#answer.close()
    this.#incoming
      .drop()
      .catch(error => log.error({ err: error }, 'what a push left could not be removed; the next start does it'))
  }
}

/** A ref that was changed under two of its names was changed once. */
function eachOnce(updates: readonly Update[]): readonly Update[] {
  return [...new Map(updates.map(each => [each.ref, each])).values()]
}

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
