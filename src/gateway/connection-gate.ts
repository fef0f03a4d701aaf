import { canonical, type Json } from '../canonical.ts'
import type { Decision } from '../policy/decision.ts'
import type { Engine } from '../policy/engine.ts'
import { Permit } from '../policy/permit.ts'
import type { ActionFacts, Input, MaskRule } from '../policy/points.ts'
import type { PackedMember } from '../recording/events.ts'
import { allowedWords, cannotWait, denialWords, whyDenied } from './denial-words.ts'
import type { Holds } from './holds/holds.ts'
import { exhibit, reasonLines } from './holds/shown.ts'
import type { LiveSession } from './live-session.ts'
import type { Forwarding, Gate, Verdict, Waits } from './protocol.ts'

export interface GatePorts {
  readonly engine: Engine
  /** Queues a decision for the log. `false`: it is full, and what was decided must not happen. */
  readonly append: (decision: Decision) => boolean
  readonly holds: Pick<Holds, 'whyNot' | 'place'>
  /** Of the connection. */
  readonly ended: AbortSignal
  readonly client: Input<'access'>['client']
  /** The `access` decision that opened it. */
  readonly access_decision_id: string
}

/** What an approval let go on: these actions of this connection. */
interface Released {
  readonly request: string
  readonly votes: NonNullable<Input<'action'>['hold']>['votes']
  readonly actions: string
}

type Answered = { readonly decision: Decision<'action'>; readonly allowed: boolean }
type Asked = { readonly action: ActionFacts; readonly decision: Decision<'action'> }

interface Remembered {
  readonly generation: number | null
  readonly decision: Decision<'action'>
  readonly allowed: boolean
}

type Refit = Parameters<Gate['onRules']>[0]

/** The gate of one connection: decide → record → forward. */
export class ConnectionGate implements Gate {
  readonly #session: LiveSession
  readonly #connection: string
  readonly #ports: GatePorts
  readonly #remembered = new WeakMap<ActionFacts, Remembered>()
  readonly #released = new WeakMap<Verdict, Released>()
  #refit: Refit | undefined

  constructor(session: LiveSession, connection: string, ports: GatePorts) {
    this.#session = session
    this.#connection = connection
    this.#ports = ports
  }

  get about(): Gate['about'] {
    return this.#session.about
  }

  get settings(): Gate['settings'] {
    return this.#session.settings
  }

  get maskKey(): Buffer {
    return this.#session.maskKey
  }

  rules(): readonly MaskRule[] {
    return this.#session.rules
  }

  onRules(refit: Refit): void {
    this.#refit = refit
  }

  /** @returns why the connection cannot go on under the rules that are now in force. */
  async refit(): Promise<string | undefined> {
    try {
      return await this.#refit?.(this.#session.rules)
    } catch (error) {
      return `the masking rules could not be applied: ${(error as Error).message}`
    }
  }

  judge(actions: readonly ActionFacts[], record: Parameters<Gate['judge']>[1], waits?: Waits): Verdict {
    if (this.#session.moderation.state() === 'waiting') return this.#unwatched(record)
    let last: Decision<'action'> | null = null
    const asked: Asked[] = []
    for (const action of actions) {
      const { decision, allowed } = this.#decide(action)
      last = decision
      if (!this.#ports.append(decision)) return this.#logFull(decision, record)
      if (allowed) continue
      if (decision.effect === 'ask') asked.push({ action, decision })
      else return this.#deny(decision, actions, record)
    }
    if (asked.length > 0) return this.#ask(asked, actions, record, waits)
    this.#statement('allow', last, actions, record)
    return { allowed: true, decision: last, ...allowedWords }
  }

  #deny(
    decision: Decision<'action'>,
    actions: readonly ActionFacts[],
    record: Parameters<Gate['judge']>[1],
    words = denialWords(decision),
  ): Verdict {
    this.#statement('deny', decision, actions, record)
    return { allowed: false, decision, ...words }
  }

  /** Policy asks for an approval: what may wait does; the rest of a run that was approved goes on; all else is denied. */
  #ask(
    asked: readonly Asked[],
    actions: readonly ActionFacts[],
    record: Parameters<Gate['judge']>[1],
    waits: Waits | undefined,
  ): Verdict {
    const [{ decision }] = asked as [Asked]
    if (waits?.prepares) {
      this.#statement('allow', decision, actions, record)
      return { allowed: true, decision, ...allowedWords }
    }
    const before = waits?.under && this.#released.get(waits.under)
    if (before !== undefined && before.actions === textOf(actions)) {
      const { decision: last, allowed } = this.#again(actions, before.request, before.votes)
      if (!allowed) return this.#deny(last, actions, record)
      this.#statement('allow', last, actions, record, before.request)
      return { allowed: true, decision: last, ...allowedWords }
    }
    const cannot = (why: string) => this.#deny(decision, actions, record, cannotWait(decision, why))
    if (waits === undefined) return cannot('cannot wait for one')
    const terms = decision.result?.approval
    if (terms === undefined) return cannot('has no approvers')
    const text = canonical(terms as unknown as Json)
    if (asked.some(each => canonical(each.decision.result?.approval as unknown as Json) !== text))
      return cannot('asks different people at once: send them one by one')
    const full = this.#ports.holds.whyNot(this.#session)
    if (full !== undefined) return cannot(`cannot wait now: ${full}`)
    const why = new Set(asked.flatMap(each => reasonLines(each.decision)))
    const seen = exhibit(waits, this.#session.settings.level === 'full' ? record.text : null, [...why])
    const { subject, resource, role } = this.#session.about
    const held = { subject, resource, role, actions: asked.map(each => each.action) }
    if (seen === undefined || canonical(held as unknown as Json).length > mostHeld)
      return cannot('is too long for anybody to read before it runs: send it in smaller parts')
    const about = (request: string) => ({ record, actions, request })
    const hold = this.#ports.holds.place(
      {
        session: this.#session,
        ended: this.#ports.ended,
        decision,
        terms,
        again: (request, votes) => this.#again(actions, request, [...votes]),
        voted: (request, words) => this.record('approval', { hold: request, words }),
        allow: (request, votes, last) => {
          this.#statement('allow', last, actions, record, request)
          const verdict = { allowed: true, decision: last, ...allowedWords }
          this.#released.set(verdict, { request, votes: [...votes], actions: textOf(actions) })
          return verdict
        },
        refuse: (request, why, last) => this.#refused(about(request), why, last),
      },
      {
        session_id: this.#session.id,
        connection_id: this.#connection,
        ...seen,
        held,
        terms,
        decision_id: decision.id,
        access_decision_id: this.#ports.access_decision_id,
        client: this.#ports.client,
      },
    )
    this.record('held', { hold: hold.id, decision: decision.id, title: seen.title, ...this.#text(record.text) })
    return { allowed: false, held: hold, decision, ...cannotWait(decision, 'waits for one') }
  }

  #refused(
    about: { readonly record: Parameters<Gate['judge']>[1]; actions: readonly ActionFacts[]; request: string },
    why: string,
    decision: Decision<'action'>,
  ): Verdict {
    const { record, actions, request } = about
    this.#statement('deny', decision, actions, record, request)
    const { detail } = denialWords(decision)
    return {
      allowed: false,
      decision,
      message: `refused: this needs an approval, and ${why}`,
      detail: `${detail}, request ${request}`,
      remedy: 'ask the approvers, then send it again',
    }
  }

  /** INVARIANT: each action anew, under the revision of now; votes count only where it still asks. */
  #again(actions: readonly ActionFacts[], request: string, votes: Released['votes']): Answered {
    const { engine, append } = this.#ports
    const { subject, resource, role } = this.#session.about
    let last: Answered | undefined
    for (const action of actions) {
      last = this.#decide(action)
      if (!append(last.decision)) return { ...last, allowed: false }
      if (last.allowed) continue
      if (last.decision.effect !== 'ask') return last
      const input = { subject, resource, role, action, hold: { request, votes: [...votes] } }
      const { decision, permit } = engine.decide('action', input, { session_id: this.#session.id, request_id: request })
      last = { decision, allowed: append(decision) && Permit.is(permit) }
      if (!last.allowed) return last
    }
    if (last === undefined) throw new TypeError('nothing to decide')
    return last
  }

  refuse(reason: Parameters<Gate['refuse']>[0]): void {
    this.record('refused', { rule: reason.rule, message: reason.message, ...this.#text(reason.text) })
  }

  record(kind: string, body: Record<string, unknown>, packed?: PackedMember): void {
    this.#session.turn.record({ conn: this.#connection, kind, body, packed })
  }

  recordOriginal(kind: string, body: Record<string, unknown>): void {
    const { settings, turn } = this.#session
    if (settings.originals === 'sealed') turn.recordOriginal({ conn: this.#connection, kind, body })
  }

  whenRecorded(forwarding: Forwarding): void {
    this.#session.turn.whenRecorded(forwarding)
  }

  commit(): boolean | Promise<boolean> {
    return this.#session.turn.commit()
  }

  behind(): Promise<void> | undefined {
    return this.#session.recorder?.behind()
  }

  /** The last event, also of a session that has ended: how it ended belongs into its recording. */
  finish(reason: string): void {
    this.record('disconnected', { reason })
    this.#session.turn.finish()
  }

  /** The engine remembers by canonical input; this remembers by the very object, which templates share, and spares its making. */
  #decide(action: ActionFacts): { readonly decision: Decision<'action'>; readonly allowed: boolean } {
    const { engine } = this.#ports
    const generation = engine.revision?.generation ?? null
    const found = this.#remembered.get(action)
    if (found !== undefined && found.generation === generation && engine.stale === null) return found
    const { subject, resource, role } = this.#session.about
    const decided = engine.decide('action', { subject, resource, role, action }, { session_id: this.#session.id })
    const answer = { generation, decision: decided.decision, allowed: Permit.is(decided.permit) }
    if (engine.cachesActions) this.#remembered.set(action, answer)
    return answer
  }

  #statement(
    effect: 'allow' | 'deny',
    decision: Decision | null,
    actions: readonly ActionFacts[],
    record: Parameters<Gate['judge']>[1],
    request?: string,
  ): void {
    const body: Record<string, unknown> = {
      effect,
      decision: decision?.id ?? null,
      ...(request === undefined ? {} : { hold: request }),
      actions: actions.length === 1 ? actions[0]!.kind : actions.map(a => a.kind).join(', '),
    }
    if (effect === 'deny' && decision !== null) Object.assign(body, whyDenied(decision))
    if (this.#session.settings.level === 'full') {
      if (record.text !== null) body['text'] = record.text
      Object.assign(body, record.extra)
    }
    this.record('statement', body)
  }

  #text(text: string | null): { text?: string } {
    return text === null || this.#session.settings.level !== 'full' ? {} : { text }
  }

  /** Behind a protocol that cannot wait, and before one that did not: what nobody watches is not done. */
  #unwatched(record: Parameters<Gate['judge']>[1]): Verdict {
    const { message } = this.#session.moderation
    this.refuse({ rule: 'moderation', message, text: record.text })
    const remedy = 'try again when a moderator watches'
    return { allowed: false, decision: null, message, detail: 'policy demands a moderator for this session', remedy }
  }

  #logFull(decision: Decision, record: Parameters<Gate['judge']>[1]): Verdict {
    this.#statement('deny', decision, [], record)
    const message = 'the decision log takes no more entries now'
    return { allowed: false, decision, message, detail: `decision ${decision.id}`, remedy: 'try again in a moment' }
  }
}

/** Session facts and actions of one hold: control decides them again. */
const mostHeld = 256 * 1024

const textOf = (actions: readonly ActionFacts[]): string => canonical(actions as unknown as Json)
