import type { Verdict } from '../../gateway/protocol.ts'
import type { Described } from './descriptions.ts'
import type { RowMask, Statement } from './sql/contract.ts'

/** What a Parse message defined. */
export interface Prepared {
  /** Null where SQL's PREPARE defined it. */
  readonly sql: string | null
  /** As it may stand in the journal. */
  readonly text: string
  readonly statement: Statement | null // null for an empty query
  /** Version of the catalog that it was analysed with; another one means: analyse again. */
  readonly catalog: number
  /** Policy asked for an approval when it was prepared, or that is not known. */
  readonly asks: boolean
}

/** What a Bind message or SQL's DECLARE made. */
export interface Portal {
  readonly prepared: Prepared
  readonly formats: readonly number[]
  readonly parameters: readonly (string | null)[] | null
  /** Parameters that these do not show whole. */
  readonly unread: number
  /** What its RowDescription said, and the plan it was held against. */
  description: { readonly plan: object; readonly described: Described; readonly mask: RowMask | null } | null
  /** The plan for which a Describe is under way. */
  describing: object | null
  /** Set where SQL's DECLARE made it. `held`: WITH HOLD, it outlives its transaction. */
  readonly cursor: { readonly held: boolean } | null
  /** What let its run begin; the rest of that run needs no other approval. */
  released: Verdict | undefined
}

/** What SQL's DECLARE makes, as a message may address it: rows in text format, its plan fixed from now on. */
export function cursor(name: string, statement: Statement, catalog: number, held: boolean): Portal {
  const prepared = { sql: null, text: `cursor ${JSON.stringify(name)}`, statement, catalog, asks: false }
  return {
    prepared,
    formats: [],
    parameters: null,
    unread: 0,
    description: null,
    describing: null,
    cursor: { held },
    released: undefined,
  }
}

/** Roughly what a value keeps in memory. */
export const weightOf = {
  prepared: (p: Prepared): number => (p.sql?.length ?? 0) + p.text.length,
  portal: (p: Portal): number =>
    (p.parameters ?? []).reduce((sum, value) => sum + (value?.length ?? 0), weightOf.prepared(p.prepared)),
}

/** What a message that went to the target makes of a name, as long as the target has not answered. */
export interface Change {
  /** The target has done it. */
  confirm(): void
  /** The target skipped or refused it. Called in the reverse order. */
  undo(): void
}

interface Slot<V> {
  readonly value: V | undefined
  /** The group (messages up to a Sync) that set it, until the target has confirmed it; then 0. */
  group: number
  /** Counts up over all that was set. */
  readonly serial: number
}

const most = 10_000
const heavy = 4096
const maxWeight = 64 * 1024 * 1024

/**
 * Names of statements or portals as the target will know them once it has answered everything sent so far.
 * INVARIANT: a name is only used where its meaning is certain: confirmed, or set in the same group (there an error in
 * between makes the target skip the use as well). Otherwise a pipelined client could have one statement judged and
 * another one run. Certain is *what* stands behind a name, not that anything does: where the target has dropped it
 * meanwhile (a transaction rolled back), a use fails there.
 */
export class Names<V> {
  readonly #slots = new Map<string, Slot<V>>()
  #serial = 0

  /** No room for this one: too many names, or too much text and too many values behind them. Light ones are not weighed. */
  full(name: string, weight: number, of: (value: V) => number): boolean {
    if (this.#slots.size >= most && !this.#slots.has(name)) return true
    if (weight < heavy) return false
    let sum = weight
    for (const [each, { value }] of this.#slots) if (value !== undefined && each !== name) sum += of(value)
    return sum > maxWeight
  }

  get(name: string): V | undefined {
    return this.#slots.get(name)?.value
  }

  /** Something stands behind it, or may still, that `is` holds for. */
  has(name: string, is: (value: V) => boolean): boolean {
    const slot = this.#slots.get(name)
    return slot !== undefined && (slot.value === undefined || is(slot.value))
  }

  /** It is being closed: whether the target has, is not known yet. */
  closing(name: string): boolean {
    const slot = this.#slots.get(name)
    return slot !== undefined && slot.value === undefined
  }

  certain(name: string, group: number): boolean {
    const slot = this.#slots.get(name)
    return slot === undefined || slot.group === 0 || slot.group === group
  }

  /** What a message that goes to the target now will make of the name. */
  set(name: string, value: V | undefined, group: number): Change {
    const slots = this.#slots
    const before = slots.get(name)
    const after = { value, group, serial: ++this.#serial }
    slots.set(name, after)
    return {
      confirm() {
        after.group = 0
        if (value === undefined && slots.get(name) === after) slots.delete(name)
      },
      undo() {
        if (slots.get(name) !== after) return // forgotten meanwhile
        if (before === undefined) slots.delete(name)
        else slots.set(name, before)
      },
    }
  }

  /** SQL that drops that name (null: all) is sent now: done when the target says so, and what is set later stays. */
  drop(name: string | null): Change {
    const slots = this.#slots
    const then = this.#serial
    return {
      confirm() {
        for (const [each, slot] of name === null ? slots : [[name, slots.get(name)] as const])
          if (slot !== undefined && slot.serial <= then) slots.delete(each)
      },
      undo() {},
    }
  }

  /** What is certain is gone (a transaction's end closes its portals), but what `keeps`; what was sent behind it stays. */
  forgetCertain(keeps: (value: V) => boolean): void {
    for (const [name, { group, value }] of this.#slots)
      if (group === 0 && (value === undefined || !keeps(value))) this.#slots.delete(name)
  }
}
