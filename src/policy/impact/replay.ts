import { conclude, type Ground, refusedUnasked } from '../judge.ts'
import { withNeeds } from '../question.ts'
import { timeFacts } from '../time.ts'
import { type EvaluatedText, Evaluator, readAnswers } from '../wasm.ts'
import { type Change, changes, compare } from './compare.ts'
import { partyOf, type Recorded, readEvent, type Unusable } from './events.ts'
import { type Group, Groups } from './groups.ts'
import type { Candidate } from './revision.ts'

export interface ReplayOptions {
  readonly base: Candidate
  readonly head: Candidate
  /** Zone of `input.time` where a revision wants the time of an action that was recorded without it. */
  readonly zone: string
  readonly groups: number
}

/** What was counted, of one half or of the whole. */
export interface Counted {
  read: number
  judged: number
  same: number
  reworded: number
  partial: number
  readonly skipped: Record<Unusable, number>
  readonly changes: Record<Change, number>
  first_at_ms: number | null
  last_at_ms: number | null
  groups: readonly Group[]
  left: number
}

export function nothingCounted(): Counted {
  return {
    read: 0,
    judged: 0,
    same: 0,
    reworded: 0,
    partial: 0,
    skipped: { unreadable: 0, not_recorded: 0, misfit: 0 },
    changes: Object.fromEntries(changes.map(change => [change, 0])) as Record<Change, number>,
    first_at_ms: null,
    last_at_ms: null,
    groups: [],
    left: 0,
  }
}

type Judged = Ground & { readonly evaluator: Evaluator }

/** Judges recorded questions under two revisions and gathers what differs. Its memory does not grow with their number. */
export class Replay {
  readonly #base: Judged
  readonly #head: Judged
  readonly #zone: string
  readonly #groups: Groups
  readonly #counted = nothingCounted()
  /** Rules that only one of the two declares: an answer that names one may be good under one alone. */
  readonly #moved: readonly string[]

  constructor({ base, head, zone, groups }: ReplayOptions) {
    this.#base = groundOf(base)
    this.#head = groundOf(head)
    this.#zone = zone
    this.#groups = new Groups(groups)
    const [old, now] = [base.meta.rules, head.meta.rules]
    this.#moved = [
      ...Object.keys(old).filter(id => !Object.hasOwn(now, id)),
      ...Object.keys(now).filter(id => !Object.hasOwn(old, id)),
    ].map(id => JSON.stringify(id))
  }

  line(text: string): void {
    const counted = this.#counted
    counted.read++
    const event = readEvent(text)
    if (typeof event === 'string') {
      counted.skipped[event]++
      return
    }
    counted.judged++
    if (event.partial) counted.partial++
    if (event.at_ms > 0) {
      counted.first_at_ms = Math.min(counted.first_at_ms ?? event.at_ms, event.at_ms)
      counted.last_at_ms = Math.max(counted.last_at_ms ?? event.at_ms, event.at_ms)
    }
    this.#judge(event)
  }

  done(): Counted {
    return { ...this.#counted, groups: this.#groups.list(), left: this.#groups.left }
  }

  #judge(event: Recorded): void {
    const { point, input } = event
    const counted = this.#counted
    // Ages of groups are judged by a setting that is no part of a policy; scopes are the same on both sides.
    if (refusedUnasked(point, input, Number.POSITIVE_INFINITY) !== undefined) {
      counted.same++
      return
    }
    const [before, after] = this.#ask(event)
    if (before.ok && after.ok && before.text === after.text && !this.#moved.some(id => before.text.includes(id))) {
      counted.same++
      return
    }
    const difference = compare(
      point,
      conclude(point, input, readAnswers(before), this.#base),
      conclude(point, input, readAnswers(after), this.#head),
    )
    if (typeof difference === 'string') {
      counted[difference]++
      return
    }
    counted.changes[difference.change]++
    this.#groups.add(event, partyOf(point, input), difference)
  }

  #ask({ point, input, at_ms }: Recorded): [EvaluatedText, EvaluatedText] {
    const [base, head] = [this.#base, this.#head].map(({ meta }) =>
      'time' in input ? input : withNeeds(point, input, meta.needs, () => timeFacts(at_ms, this.#zone)),
    )
    const text = JSON.stringify(base)
    return [
      this.#base.evaluator.textOf(point, text),
      this.#head.evaluator.textOf(point, base === head ? text : JSON.stringify(head)),
    ]
  }
}

function groundOf({ wasm, data, meta, commit }: Candidate): Judged {
  return { evaluator: new Evaluator(wasm, data), meta, commit, max_groups_age_s: Number.POSITIVE_INFINITY }
}
