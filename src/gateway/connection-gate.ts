import type { Decision } from '../policy/decision.ts'
import type { Engine } from '../policy/engine.ts'
import { Permit } from '../policy/permit.ts'
import type { ActionFacts, MaskRule } from '../policy/points.ts'
import type { PackedMember } from '../recording/events.ts'
import type { LiveSession } from './live-session.ts'
import type { Forwarding, Gate, Verdict } from './protocol.ts'

export interface GatePorts {
  readonly engine: Engine
  /** Queues a decision for the log. `false`: it is full, and what was decided must not happen. */
  readonly append: (decision: Decision) => boolean
}

interface Remembered {
  readonly generation: number | null
  readonly decision: Decision<'action'>
  readonly allowed: boolean
}

type Refit = Parameters<Gate['onRules']>[0]

const allowedMessages = { message: '', detail: '', remedy: '' } as const

/** The gate of one connection: decide → record → forward. */
export class ConnectionGate implements Gate {
  readonly #session: LiveSession
  readonly #connection: string
  readonly #ports: GatePorts
  readonly #remembered = new WeakMap<ActionFacts, Remembered>()
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

  judge(actions: readonly ActionFacts[], record: Parameters<Gate['judge']>[1]): Verdict {
    if (this.#session.moderation.state() === 'waiting') return this.#unwatched(record)
    let last: Decision<'action'> | null = null
    for (const action of actions) {
      const { decision, allowed } = this.#decide(action)
      last = decision
      if (!this.#ports.append(decision)) return this.#logFull(decision, record)
      if (!allowed) {
        this.#statement('deny', decision, actions, record)
        return { allowed: false, decision, ...denialWords(decision) }
      }
    }
    this.#statement('allow', last, actions, record)
    return { allowed: true, decision: last, ...allowedMessages }
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
  ): void {
    const body: Record<string, unknown> = {
      effect,
      decision: decision?.id ?? null,
      actions: actions.length === 1 ? actions[0]!.kind : actions.map(a => a.kind).join(', '),
    }
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

/** What a person reads: what was refused, by which rule at which place, and what to do. */
function denialWords(decision: Decision): Pick<Verdict, 'message' | 'detail' | 'remedy'> {
  const message =
    decision.effect === 'ask'
      ? 'policy asks for an approval of this statement, which this build cannot wait for'
      : decision.reasons.map(r => r.message).join('; ') || 'policy refused this'
  const rules = decision.reasons.map(r => `rule ${r.rule}${r.at === undefined ? '' : ` (${r.at})`}`)
  const remedy = decision.reasons.find(r => r.remedy !== undefined)?.remedy
  return {
    message: `refused by policy: ${message}`,
    detail: [...rules, `decision ${decision.id}`].join(', '),
    remedy: remedy ?? 'ask for a role that may do this, or ask the owners of the policy',
  }
}
