import type { Static } from 'typebox'
import { bounds } from '../../approvals/bounds.ts'
import type { HoldState } from '../../approvals/hold.ts'
import type { Decision } from '../../policy/decision.ts'
import type { ApprovalTerms, VoteFacts } from '../../policy/points.ts'
import type { LiveSession } from '../live-session.ts'
import type { Hold, Verdict } from '../protocol.ts'
import { reasonLines } from './shown.ts'

type Votes = readonly Static<typeof VoteFacts>[]

/** What the gate does for an action that waits. Each journals what it says. */
export interface HeldGate {
  readonly session: LiveSession
  /** Of the connection: its end is the end of the wait. */
  readonly ended: AbortSignal
  readonly decision: Decision<'action'>
  readonly terms: ApprovalTerms
  /** Policy's answer as it is now, with these votes. */
  again(request: string, votes: Votes): { readonly decision: Decision<'action'>; readonly allowed: boolean }
  voted(request: string, words: string): void
  allow(request: string, votes: Votes, decision: Decision<'action'>): Verdict
  refuse(request: string, why: string, decision: Decision<'action'>): Verdict
}

/** What the process does for it: the database. */
export interface HeldStore {
  readonly origin: string
  /** Idempotent. @returns why it may not go on. */
  release(id: string): Promise<string | undefined>
  /** Writes down that nobody waits any more; tried until it is written. */
  withdrawn(id: string, why: string): void
  refused(id: string, why: string): void
  settled(hold: WaitingAction): void
}

/** One action that waits for approvers. INVARIANT: it settles once; what was withdrawn, or is over, never goes on. */
export class WaitingAction implements Hold {
  readonly id: string
  readonly settled: Promise<Verdict>
  readonly session: LiveSession
  readonly #gate: HeldGate
  readonly #store: HeldStore
  readonly #late: NodeJS.Timeout
  readonly #listeners = new Set<(line: string) => void>()
  readonly #lines: string[] = []
  readonly #onEnded = () => this.withdraw('the session has ended')
  #settle: (verdict: Verdict) => void = () => {}
  #over = false
  #releasing = false
  #told = 0
  #stage = 0

  constructor(id: string, gate: HeldGate, store: HeldStore) {
    this.id = id
    this.session = gate.session
    this.#gate = gate
    this.#store = store
    this.settled = new Promise(resolve => (this.#settle = resolve))
    // Control ends what expired; where no control runs, it ends all the same.
    this.#late = setTimeout(
      () => this.withdraw('nobody answered in time'),
      Math.min(gate.terms.expires_s, bounds.hold_s) * 1000 + 5_000,
    ).unref()
    gate.ended.addEventListener('abort', this.#onEnded, { once: true })
    if (gate.ended.aborted) queueMicrotask(this.#onEnded)
  }

  get isOver(): boolean {
    return this.#over
  }

  onProgress(run: (line: string) => void): Disposable {
    this.#listeners.add(run)
    for (const line of this.#lines) run(line)
    return { [Symbol.dispose]: () => this.#listeners.delete(run) }
  }

  withdraw(reason: string): void {
    if (this.#over) return
    this.#store.withdrawn(this.id, reason)
    this.#end(() => this.#gate.refuse(this.id, reason, this.#gate.decision))
  }

  /** It is written down: approvers can see it. */
  placed(): void {
    for (const line of reasonLines(this.#gate.decision)) this.#say(line)
    this.#say(`waits for an approval${whoAnswers(this.#gate.terms)}: ${this.#store.origin}/requests/${this.id}`)
  }

  /** It could not be written down, or is not to be. */
  failed(why: string): void {
    this.#end(() => this.#gate.refuse(this.id, why, this.#gate.decision))
  }

  /** How it stands in the database. */
  look(now: HoldState): void {
    if (this.#over || this.#releasing) return
    this.#tellVotes(now)
    switch (now.state) {
      case 'pending':
        return
      case 'approved':
        this.#releasing = true
        void this.#release(now).catch((error: Error) => {
          this.#store.refused(this.id, error.message)
          this.failed('the approval could not be used: the database is away')
        })
        return
      default:
        this.failed(now.outcome ?? now.state)
    }
  }

  #tellVotes(now: HoldState): void {
    for (const vote of now.votes.slice(this.#told)) {
      const stages = now.terms?.stages ?? []
      const here = now.votes.filter(each => each.stage === vote.stage && each.answer === 'approve').length
      const of = stages[vote.stage]?.quorum
      const where = stages.length > 1 ? `, stage ${vote.stage + 1} of ${stages.length}` : ''
      const who = now.names[vote.approver] ?? vote.approver
      const words =
        vote.answer === 'approve' ? `approved by ${who} (${here} of ${of ?? '?'}${where})` : `denied by ${who}${where}`
      this.#gate.voted(this.id, words)
      this.#say(words)
    }
    this.#told = Math.max(this.#told, now.votes.length)
    const stage = now.terms === null ? 0 : firstOpen(now.terms, now.votes)
    if (now.state !== 'pending' || now.terms === null || stage <= this.#stage) return
    this.#stage = stage
    this.#say(
      `stage ${stage + 1} waits${whoAnswers({ ...now.terms, stages: now.terms.stages.slice(stage, stage + 1) })}`,
    )
  }

  /** INVARIANT: decided again by the terms of now before it is released, and once more when it is. */
  async #release({ votes }: HoldState): Promise<void> {
    const before = this.#gate.again(this.id, votes)
    if (!before.allowed) return this.#refused(before.decision)
    await this.#watched()
    if (this.#over) return
    const why = await this.#store.release(this.id)
    if (this.#over) return this.#store.refused(this.id, 'nobody waited for it any more')
    if (why !== undefined) {
      this.#store.refused(this.id, why)
      return this.failed(why)
    }
    while (this.session.moderation.state() === 'waiting' && !this.#over) await this.#watched() // who watched left meanwhile
    if (this.#over) return this.#store.refused(this.id, 'nobody waited for it any more')
    const { decision, allowed } = this.#gate.again(this.id, votes)
    if (!allowed) return this.#refused(decision)
    this.#say('it goes on')
    this.#end(() => this.#gate.allow(this.id, votes, decision))
  }

  #refused(decision: Decision<'action'>): void {
    const why = 'it was approved, but policy as it is now does not allow it by these approvals'
    this.#store.refused(this.id, why)
    this.#end(() => this.#gate.refuse(this.id, why, decision))
  }

  /** Where somebody must watch, what was approved goes on when somebody does. */
  #watched(): Promise<void> {
    const { moderation } = this.session
    if (moderation.state() === 'watched') return Promise.resolve()
    this.#say(moderation.message)
    return new Promise(resolve => {
      const look = () => {
        if (!this.#over && moderation.state() === 'waiting') return
        clearInterval(timer)
        resolve()
      }
      const timer = setInterval(look, 250)
    })
  }

  #say(line: string): void {
    this.#lines.push(line)
    for (const run of [...this.#listeners]) run(line)
  }

  #end(verdict: () => Verdict): void {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#late)
    this.#gate.ended.removeEventListener('abort', this.#onEnded)
    this.#settle(verdict())
    this.#listeners.clear()
    this.#store.settled(this)
  }
}

/** ` by 1 of dbas`. */
function whoAnswers({ stages }: ApprovalTerms): string {
  return ` by ${stages.map(({ quorum, approvers }) => `${quorum} of ${approvers.join(', ') || 'nobody'}`).join(', then ')}`
}

/** For display: the votes themselves are judged by policy. */
function firstOpen({ stages }: ApprovalTerms, votes: Votes): number {
  const open = stages.findIndex(
    ({ quorum }, stage) => votes.filter(v => v.stage === stage && v.answer === 'approve').length < quorum,
  )
  return open < 0 ? stages.length - 1 : open
}
