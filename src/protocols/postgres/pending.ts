import type { Change, Portal } from './prepared.ts'
import type { ResultRecord } from './results.ts'
import type { Judgement, Statement } from './sql/contract.ts'

/** What the target still owes an answer for, in the order in which it was asked. */
export const Owed = {
  query: 0,
  parse: 1,
  bind: 2,
  close: 3,
  describeStatement: 4,
  describePortal: 5,
  execute: 6,
  sync: 7,
  /** A message of ours that fails at the target in the place of what was refused: its error is replaced by `error`. */
  refusal: 8,
  /** The same for the simple protocol, with a Sync of ours behind it. */
  refusedQuery: 9,
} as const

export type OwedKind = (typeof Owed)[keyof typeof Owed]

/** A statement that runs, and what was found about it. */
export interface Running {
  readonly statement: Statement
  /** By the plan in force; renewed when that changes. */
  judgement: Judgement & { readonly ok: true }
}

export class Expected {
  readonly kind: OwedKind
  readonly group: number
  /** Statements of a Query; the one of an Execute. */
  readonly running: readonly Running[]
  readonly portal: Portal | null
  /** Bytes of the message, where it carries text or values that are kept until it is answered. */
  weight = 0
  /** Our own question: the client does not hear the answer. */
  readonly hidden: boolean
  readonly error: Buffer | null
  /** Which statement of a Query answers now. */
  index = 0
  result: ResultRecord | null = null
  change: Change | null = null
  changeToo: Change | null = null
  /** What each statement makes of names, by its index; confirmed as it completes. */
  changes: (Change | undefined)[] | null = null
  /** A Sync that the target ignores if a COPY of the client's is under way by then. */
  ignoredInCopy = false

  constructor(
    kind: OwedKind,
    group: number,
    running: readonly Running[] = nothing,
    portal: Portal | null = null,
    hidden = false,
    error: Buffer | null = null,
  ) {
    this.kind = kind
    this.group = group
    this.running = running
    this.portal = portal
    this.hidden = hidden
    this.error = error
  }
}

const nothing: readonly Running[] = []

/** The target skipped these: whatever they would have defined is as before. */
export function undo(dropped: readonly Expected[]): void {
  for (let i = dropped.length - 1; i >= 0; i--) {
    undoStatements(dropped[i]!)
    dropped[i]!.changeToo?.undo()
    dropped[i]!.change?.undo()
  }
}

/** Those of a message that did not complete made nothing of names. */
export function undoStatements({ changes, index }: Expected): void {
  if (changes !== null) for (let at = changes.length - 1; at >= index; at--) changes[at]?.undo()
}

/** First in, first out, without moving what is behind at every step. */
export class Pending {
  #items: (Expected | undefined)[] = []
  #first = 0
  #weight = 0

  /** Bytes that are kept for what is not answered. */
  get weight(): number {
    return this.#weight
  }

  get length(): number {
    return this.#items.length - this.#first
  }

  get head(): Expected | undefined {
    return this.#items[this.#first]
  }

  push(item: Expected): void {
    this.#weight += item.weight
    this.#items.push(item)
  }

  shift(): void {
    this.#weight -= this.head?.weight ?? 0
    this.#items[this.#first++] = undefined
    if (this.#first === this.#items.length) {
      this.#items = []
      this.#first = 0
    } else if (this.#first > 1024) {
      this.#items = this.#items.slice(this.#first)
      this.#first = 0
    }
  }

  /**
   * Drops everything up to the next Sync, which stays: the target skips these after an error.
   * @returns the dropped, and whether a Sync was there.
   */
  skipToSync(): { readonly dropped: Expected[]; readonly synced: boolean } {
    const dropped: Expected[] = []
    for (let head = this.head; head !== undefined; head = this.head) {
      if (head.kind === Owed.sync) return { dropped, synced: true }
      dropped.push(head)
      this.shift()
    }
    return { dropped, synced: false }
  }

  /** A COPY from the client has begun: the target ignores the Syncs that came before its end. */
  dropIgnoredSyncs(): void {
    this.#items = this.#items.slice(this.#first).filter(item => !item!.ignoredInCopy)
    this.#first = 0
  }

  *[Symbol.iterator](): Generator<Expected> {
    for (let i = this.#first; i < this.#items.length; i++) yield this.#items[i]!
  }
}
