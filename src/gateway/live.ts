import { logger } from '../log.ts'
import { Permit } from '../policy/permit.ts'
import { Rounds } from '../rounds.ts'
import type { EndCode } from '../sessions/ports.ts'
import { Endings } from './endings.ts'
import type { GatewayGround } from './ground.ts'
import { extendLease } from './lease.ts'
import type { LiveSession } from './live-session.ts'
import { Moderators } from './moderation/moderators.ts'
import type { LiveSessions } from './opening.ts'
import type { Refusal } from './protocol.ts'

const log = logger('gateway')
const tickMs = 250
const wholeEveryMs = 60_000
const channels = ['grants', 'subjects', 'revisions'] as const

/**
 * The sessions of this process while they live: decided again when anything changed that decides about them and every
 * minute, ended at the very moment their time is over, and all of them when the database stays silent.
 * INVARIANT: what must end ends here first, whether or not it can be written down.
 */
export class Live implements LiveSessions, AsyncDisposable {
  readonly #ground: GatewayGround
  readonly #sessions = new Map<string, LiveSession>()
  readonly #disposables: Disposable[] = []
  #timer: NodeJS.Timeout | undefined
  #mark = ''
  #wholeAt = 0
  readonly #rounds = new Rounds(() => this.#decide())
  /** Sessions that had to end when they were decided, but were still being opened here: nobody was there to be told. */
  #missed: ReadonlySet<string> = new Set()
  readonly #endings: Endings

  constructor(ground: GatewayGround) {
    this.#ground = ground
    this.#endings = new Endings((id, code, reason) => ground.sessions.end(id, code, reason))
  }

  start(): void {
    const { notices, engine } = this.#ground
    for (const channel of channels) {
      this.#disposables.push(notices.listen(channel, payload => (payload === null ? this.#look() : this.redecide())))
    }
    this.#disposables.push(notices.listen('sessions', payload => this.#told(payload)))
    this.#disposables.push(engine.onSwitched(() => void this.#switched()))
    this.#disposables.push(new Moderators(this.#ground, () => this.#sessions.values()))
    this.#timer = setInterval(() => this.#tick(), tickMs)
  }

  get size(): number {
    return this.#sessions.size
  }

  get(id: string): LiveSession | undefined {
    return this.#sessions.get(id)
  }

  add(session: LiveSession): void {
    this.#sessions.set(session.id, session)
  }

  remove(session: LiveSession): void {
    if (this.#sessions.get(session.id) === session) this.#sessions.delete(session.id)
  }

  /**
   * What was decided about a session while its connection was being opened here found nobody to tell: it is decided again.
   * @param generation the revision that the opening was decided under.
   */
  async joined(session: LiveSession, generation: number | null): Promise<void> {
    if (generation === (this.#ground.engine.revision?.generation ?? null) && !this.#missed.has(session.id)) return
    await this.redecide()
  }

  /** A session ended by something in this process: the database is told, and with it everybody else. */
  onEnd(session: LiveSession, code: EndCode, refusal: Refusal): void {
    if (session.connections.size === 0) this.remove(session)
    this.#endings.add(session.id, code, refusal.message)
  }

  /** Decides everything that lives here again. A call that comes while that is done gets its own. */
  redecide(): Promise<void> {
    return this.#rounds.run()
  }

  endAll(code: EndCode, why: Omit<Refusal, 'refused'>): void {
    for (const session of [...this.#sessions.values()]) session.end(code, why)
  }

  /** This process stops: its connections end, the sessions live on where the ticket is presented next. */
  endConnections(why: Omit<Refusal, 'refused'>): void {
    for (const session of [...this.#sessions.values()]) session.ended(why)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    for (const each of this.#disposables) each[Symbol.dispose]()
    await this.#rounds.over()
    await this.#endings[Symbol.asyncDispose]()
  }

  async #decide(): Promise<void> {
    if (this.#sessions.size === 0) return
    try {
      const { end, keep } = await this.#ground.sessions.redecideLive(this.#ground.process_id)
      this.#missed = new Set(end.map(each => each.session_id).filter(id => !this.#sessions.has(id)))
      for (const { session_id, code, reason, remedy, decision_id } of end) {
        this.#sessions
          .get(session_id)
          ?.end(code, { code: 'session_ended', message: `the session has ended: ${reason}`, remedy, decision_id })
      }
      for (const { session_id, ends_at_ms, moderators, idle_s } of keep) {
        const session = this.#sessions.get(session_id)
        if (session === undefined) continue
        session.ends_at_ms = ends_at_ms
        void extendLease(this.#ground, session)
        session.moderation.renew({ moderators, idle_s })
      }
      for (const session of [...this.#sessions.values()]) await this.#refit(session)
      this.#wholeAt = performance.now()
    } catch (error) {
      log.warn({ err: error }, 'live sessions could not be decided again; trying again')
    }
  }

  /** A policy that no longer fits what it masks stops the session, it does not stop masking. */
  async #refit(session: LiveSession): Promise<void> {
    if (session.isEnded || session.connections.size === 0) return
    const { decision, permit } = this.#ground.engine.decide('masking', session.about, { session_id: session.id })
    const stop = (message: string) =>
      session.end('policy', {
        code: 'policy_denied',
        message: `the session has ended: ${message}`,
        remedy: 'connect again',
        decision_id: decision.id,
      })
    if (!Permit.is(permit) || decision.result === null) {
      stop(`its masking rules cannot be decided any more (${decision.code})`)
      return
    }
    const before = session.rules
    const why = await session.newRules(decision.result.rules)
    const logged = session.rules === before || this.#ground.decisionLog.append(decision)
    if (!logged) stop('the decision log takes no more')
    else if (why !== undefined) stop(`new masking rules do not fit what it does: ${why}`)
  }

  /** Masking first, which needs no database; then everything. */
  async #switched(): Promise<void> {
    await Promise.all([...this.#sessions.values()].map(session => this.#refit(session)))
    await this.redecide()
  }

  /** A poll: cheap, and a whole look only when something moved. */
  async #look(): Promise<void> {
    if (this.#sessions.size === 0) return
    const mark = await this.#ground.sessions.liveMark(this.#ground.process_id)
    if (mark === this.#mark) return
    this.#mark = mark
    await this.redecide()
  }

  async #told(payload: string | null): Promise<void> {
    if (payload === null) return
    const { id } = JSON.parse(payload) as { id?: unknown }
    const session = typeof id === 'string' ? this.#sessions.get(id) : undefined
    if (session === undefined || session.isEnded) return
    if (session.connections.size > 0) return await this.redecide()
    session.ended({ code: 'session_ended', message: 'the session has ended', remedy: '', decision_id: null })
    this.remove(session)
  }

  #tick(): void {
    if (this.#sessions.size === 0) return
    const blind = this.#whyBlind()
    if (blind !== undefined) {
      const why = {
        message: `the session has ended: ${blind.why}`,
        remedy: 'connect again in a while',
        decision_id: null,
      }
      this.endAll(blind.code, { code: 'not_ready', ...why })
      return
    }
    const now = Date.now() - this.#ground.skewMs()
    for (const session of this.#sessions.values()) {
      session.moderation.check()
      if (session.moderation.waitedTooLong) this.#unwatched(session)
      if (session.ends_at_ms > now) continue
      session.end('expired', {
        code: 'session_ended',
        message: 'the session has ended: its time is over',
        remedy: 'ask for access again, then run `sallyport connect`',
        decision_id: null,
      })
    }
    if (performance.now() - this.#wholeAt > wholeEveryMs) void this.redecide()
  }

  #unwatched(session: LiveSession): void {
    session.end('idle', {
      code: 'session_ended',
      message: `the session has ended: no moderator watched it for ${session.moderation.terms.idle_s} s`,
      remedy: 'agree with a moderator on a time, then connect again',
      decision_id: null,
    })
  }

  /** Why nobody may go on: this process does not know what is true now. */
  #whyBlind(): { readonly code: EndCode; readonly why: string } | undefined {
    const { engine, notices, offline_grace_s } = this.#ground
    if (notices.silentMs > offline_grace_s * 1000) {
      return { code: 'offline', why: `the gateway has not reached its database for ${offline_grace_s} s` }
    }
    return engine.stale === null ? undefined : { code: 'policy', why: engine.stale }
  }
}
