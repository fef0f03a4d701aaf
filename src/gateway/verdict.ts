import type { Decision } from '../policy/decision.ts'

/** What a protocol is told of the actions that it had judged, and what it says of those that can wait for approvers. */

/** What approvers see of an action that waits. Plain text; bounded and made harmless by the gate. */
export interface Shown {
  readonly label: string
  readonly lines: readonly string[]
  /** Lines that were left out. */
  readonly more?: number
  /** Part of what would run: where it cannot be shown whole, nobody can approve it. */
  readonly whole?: true
}

/** A protocol that can let these actions wait for approvers says so, and what it is about in its own words. */
export interface Waits {
  /** One line, without literals and secrets: `delete in shop.orders`, `push to main of team/app`. */
  readonly title: string
  /** Nothing runs by this message, it only prepares what will be judged again: what asks is allowed. */
  readonly prepares?: true
  /** The verdict that released the beginning of one run that goes on in parts (the rows of a cursor): the same actions are no second run. */
  readonly under?: Verdict | undefined
  /** What would be done, besides the text of the record, which approvers see where policy lets it be recorded. Asked only where something waits. */
  shown(): readonly Shown[]
}

/**
 * Actions that wait for approvers. The protocol keeps what they came in, unread beyond it or bounded, and goes on when
 * `settled` says so; it withdraws as soon as nobody waits any more (cancelled, client gone). The end of the session settles
 * it by itself.
 */
export interface Hold {
  /** Of the request that approvers see. */
  readonly id: string
  /**
   * Once, and never rejected: allowed, or refused with the words for the person. Allowed is for exactly these actions, once,
   * and is recorded already: forward by `whenRecorded` or `commit`, as after `judge`.
   */
  readonly settled: Promise<Verdict>
  /** Lines for the person who waits: where it is decided, and each vote. Those said before are said again at once. */
  onProgress(run: (line: string) => void): Disposable
  /** Nobody waits any more. Idempotent; `settled` is refused at once. */
  withdraw(reason: string): void
}

export interface Verdict {
  readonly allowed: boolean
  /** Not allowed yet: wait for what it settles to. Only where `waits` was given. */
  readonly held?: Hold
  /** The decision that denied, or the last one that allowed. `null` only where there was nothing to decide. */
  readonly decision: Decision | null
  /** What was refused and by which rule. Empty when allowed. */
  readonly message: string
  /** rule, file:line@commit and decision id. Empty when allowed. */
  readonly detail: string
  /** What the reader may do. Empty when allowed. */
  readonly remedy: string
}
