import type { Gate } from '../../gateway/protocol.ts'
import { maskFor } from './descriptions.ts'
import type { Judge } from './judging.ts'
import { C, code, frame, int16, readyForQuery } from './messages.ts'
import { Expected, Owed, Pending } from './pending.ts'
import { Names, type Portal, type Prepared } from './prepared.ts'

export const idle = code('I')
export const inTransaction = code('T')
export const failedTransaction = code('E')

/** Fails at the target with 26000 and does nothing else: no such statement exists, and no client can make one. */
const failing = frame(C.bind, 0, 'sallyport_refused', 0, int16(0), int16(0), int16(0))
const sync = frame(C.sync)

/**
 * What both directions of one connection know together. No input or output: bytes to send gather in `up` and `down`.
 *
 * INVARIANT: `pending` holds, in order, what the target owes answers for. A refusal inside of a transaction or behind
 * something unanswered is carried out as a failing message at its place, so that the target's transaction fails as it
 * would have failed by the statement, and the client reads everything in order.
 */
export class Conversation {
  readonly gate: Gate
  readonly judge: Judge
  readonly pending = new Pending()
  readonly statements: Names<Prepared>
  readonly portals = new Names<Portal>()
  up: Buffer[] = []
  down: Buffer[] = []
  status = idle
  /** Counts Syncs and Queries: messages of one group are skipped together by the target after an error. */
  group = 1
  /** Something of this group went to the target: it has an implicit transaction that must fail with a refusal. */
  begun = false
  /** After a refusal or an error everything up to the next Sync is dropped. */
  skipping = false
  /** COPY from the client. `expected`: allowed and sent, the target has not answered yet. */
  copyIn: 'none' | 'expected' | 'active' = 'none'
  copyOwed: Expected | null = null
  /** Set: the connection must end, with these words for the client. */
  fault: { readonly sqlstate: string; readonly message: string } | null = null

  constructor(gate: Gate, judge: Judge, statements: Names<Prepared>) {
    this.gate = gate
    this.judge = judge
    this.statements = statements
  }

  fail(sqlstate: string, message: string): void {
    this.fault ??= { sqlstate, message }
  }

  send(bytes: Buffer, expected: Expected): void {
    this.up.push(bytes)
    this.pending.push(expected)
    this.begun = true
  }

  /** Refuses a message of the simple protocol: exactly one error, then ReadyForQuery. */
  refuseQuery(error: Buffer): void {
    if (this.pending.length === 0 && !this.begun && this.status !== inTransaction) {
      this.down.push(error, readyForQuery(this.status))
      return
    }
    this.up.push(failing, sync)
    this.pending.push(new Expected(Owed.refusedQuery, this.group, [], null, false, error))
    this.endGroup()
  }

  /** Refuses a message of the extended protocol: one error now, silence until the Sync (PG4). */
  refuse(error: Buffer): void {
    this.skipping = true
    if (this.pending.length === 0 && !this.begun && this.status !== inTransaction) {
      this.down.push(error)
      return
    }
    this.up.push(failing)
    this.pending.push(new Expected(Owed.refusal, this.group, [], null, false, error))
  }

  endGroup(): void {
    this.group++
    this.begun = false
    this.skipping = false
  }

  /** A new plan is in force: what is on its way must still fit. @returns why it does not. */
  refit(): string | undefined {
    for (const expected of this.pending) {
      for (const running of expected.running) {
        const judgement = this.judge.plan.judge(running.statement)
        if (!judgement.ok) return judgement.reason
        running.judgement = judgement
      }
      const running = expected.running[expected.index]
      const { result } = expected
      if (running === undefined || result === null) continue
      const { described } = result
      if (described !== null) {
        const formats = expected.portal?.formats ?? described.formats
        result.describe(described, maskFor(described, this.judge.plan, running.judgement, formats))
      } else if (running.judgement.describe)
        return 'rows that must be masked now are on their way without a description'
    }
    return undefined
  }
}
