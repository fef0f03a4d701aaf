import { compare } from '../impact/compare.ts'
import { partyOf } from '../impact/events.ts'
import { type Group, Groups } from '../impact/groups.ts'
import type { Candidate } from '../impact/revision.ts'
import { type Answer, type Ground, judge } from '../judge.ts'
import type { Input, Point } from '../points.ts'
import { withNeeds } from '../question.ts'
import { timeFacts } from '../time.ts'
import { Evaluator } from '../wasm.ts'
import { hide } from './hide.ts'

/** A decision of the active revision, as the thread takes it. */
export interface Observed {
  readonly id: string
  readonly point: Point
  readonly at_ms: number
  readonly generation: number
  readonly input: string
  readonly answer: Answer
  /** Paths that the decision log leaves out or masks. */
  readonly hidden: readonly string[]
}

export interface WeigherOptions {
  readonly candidate: Candidate
  readonly zone: string
  readonly max_groups_age_s: number
  /** Groups that are kept between two reports. */
  readonly groups: number
}

/** What was weighed since the last report. */
export interface Weighed {
  readonly judged: number
  readonly diverged: number
  readonly left: number
  /** Groups by the generation that decided. */
  readonly groups: readonly (readonly [number, readonly Group[]])[]
}

/** What the thread says of one batch. */
export interface Report {
  readonly weighed: Weighed
  readonly took_ms: number
}

/** Weighs what the active revision decided under a candidate. Nothing that comes of it reaches whoever asked. */
export class Weigher {
  readonly #ground: Ground
  readonly #options: WeigherOptions
  readonly #groups = new Map<number, Groups>()
  #judged = 0
  #diverged = 0

  constructor(options: WeigherOptions) {
    const { wasm, data, meta, commit } = options.candidate
    this.#options = options
    this.#ground = {
      evaluator: new Evaluator(wasm, data),
      meta,
      commit,
      max_groups_age_s: options.max_groups_age_s,
    }
  }

  weigh(observed: Observed): void {
    const { point, at_ms, generation } = observed
    const recorded = JSON.parse(observed.input) as Input<Point>
    const needs = 'time' in recorded ? [] : this.#ground.meta.needs
    const input = withNeeds(point, recorded, needs, () => timeFacts(at_ms, this.#options.zone))
    const text = input === recorded ? observed.input : JSON.stringify(input)
    this.#judged++
    const answer = judge(point, input, text, this.#ground)
    const difference = compare(point, observed.answer, answer)
    if (typeof difference === 'string') return
    this.#diverged++
    const groups = this.#groups.get(generation) ?? new Groups(this.#options.groups)
    this.#groups.set(generation, groups)
    const told = { input: recorded, results: [observed.answer.result, answer.result] }
    const shown = hide(difference, partyOf(point, input), observed.hidden, told)
    groups.add(observed, shown.party, shown.difference)
  }

  /** What there is to report; it starts anew. */
  take(): Weighed {
    const groups = [...this.#groups].map(([generation, each]) => [generation, each.list()] as const)
    const left = [...this.#groups.values()].reduce((sum, each) => sum + each.left, 0)
    const weighed = { judged: this.#judged, diverged: this.#diverged, left, groups }
    this.#groups.clear()
    this.#judged = this.#diverged = 0
    return weighed
  }
}
