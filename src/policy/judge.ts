import type { Bundle } from './bundle.ts'
import type { Decision } from './decision.ts'
import { type DecisionCode, type Input, type Point, points, type Reason, type Result } from './points.ts'
import { remedies } from './remedies.ts'
import { readResult, unsupported } from './results.ts'
import { scopesAllow, subjectOf } from './scopes.ts'
import { tally } from './votes.ts'
import type { Evaluated } from './wasm.ts'

/** Points at which a person wants something now; at the others a session acts that was let in before. */
const bySomebodyNow: ReadonlySet<Point> = new Set<Point>(['access', 'approve', 'admin', 'replay'])

/** A revision as a question is judged under it. */
export interface Ground {
  readonly evaluator: { evaluate(point: Point, input: string): Evaluated }
  readonly meta: Bundle['meta']
  readonly commit: string
  /** Groups of a person older than this give no new access; Infinity where the setting is not known. */
  readonly max_groups_age_s: number
}

/** The answer to a question, before it becomes a Decision. `fault`: policy itself failed, and somebody must be told. */
export interface Answer<P extends Point = Point> {
  readonly effect: Decision['effect']
  readonly code: DecisionCode
  readonly reasons: readonly Reason[]
  readonly result: Result<P> | null
  readonly fault?: string
}

/**
 * Answers one question that has its point's shape: a pure function of the question, the revision and one setting, so that
 * an old decision can be computed again, and a candidate beside the active revision. It allows nothing by itself:
 * `decide()` alone makes a Permit of what comes out.
 * @param text canonical text of the input.
 */
export function judge<P extends Point>(point: P, input: Input<P>, text: string, ground: Ground): Answer<P> {
  const before = refusedUnasked(point, input, ground.max_groups_age_s)
  if (before !== undefined) return before
  return conclude(point, input, ground.evaluator.evaluate(point, text), ground)
}

/** What is denied before policy is asked: a token whose scopes do not cover it, groups that are too old. */
export function refusedUnasked<P extends Point>(
  point: P,
  input: Input<P>,
  max_groups_age_s: number,
): Answer<P> | undefined {
  const subject = subjectOf(input)
  if (subject?.token && !scopesAllow(subject.token.scopes, point, input))
    return denied('token_scope', `the scopes of token ${subject.token.id} do not cover this`)
  if (groupsAreOld(point, input, max_groups_age_s))
    return denied('groups_stale', 'the groups of this person are older than the deployment allows')
  return undefined
}

/** What follows from an evaluation: its shape, what this build can carry out, the votes. */
export function conclude<P extends Point>(point: P, input: Input<P>, evaluated: Evaluated, ground: Ground): Answer<P> {
  if (!evaluated.ok) return fault(evaluated.code, evaluated.message)
  if (evaluated.value === undefined) return fault('policy_undefined', `data.sallyport.${point}.result is undefined`)
  const read = readResult(point, evaluated.value)
  return 'problem' in read ? fault('policy_shape', read.problem) : carryOut(point, input, read.result, ground)
}

export function denied<P extends Point>(code: DecisionCode, message: string): Answer<P> {
  const remedy = remedies[code] ?? remedies.policy_error!
  return { effect: 'deny', code, reasons: [{ rule: `engine.${code}`, message, remedy }], result: null }
}

function fault<P extends Point>(code: DecisionCode, message: string): Answer<P> {
  return { ...denied<P>(code, message), fault: message }
}

function carryOut<P extends Point>(point: P, input: Input<P>, result: Result<P>, ground: Ground): Answer<P> {
  const cannot = unsupported(point, result)
  if (cannot !== undefined) return { ...denied<P>('unsupported', cannot), result }
  if (points[point].effects.length === 0) return { effect: 'data', code: 'policy', reasons: [], result }
  const { effect, reasons, approval } = result as Result<'access'>
  const placed = place(reasons, point, ground, effect)
  if (placed === undefined) return fault('policy_shape', 'a reason names a rule that no rule declares')
  if (effect !== 'ask') return { effect, code: 'policy', reasons: placed, result }
  if (approval === undefined) return fault('policy_shape', '/approval: ask needs approval terms')
  const { votes, first } = votesOn(point, input)
  const { subject } = input as Input<'access' | 'action'>
  const { satisfied } = tally(approval, votes, [subject.id, subject.on_behalf_of])
  if (satisfied) return { effect: 'allow', code: 'policy', reasons: placed, result }
  return { effect: 'ask', code: first ? 'policy' : 'votes_unsatisfied', reasons: placed, result }
}

/** The votes that an ask is held against. `first`: it is only asked, and nobody could have answered. */
function votesOn<P extends Point>(point: P, input: Input<P>): { votes: Input<'access'>['votes']; first: boolean } {
  if (point === 'action') {
    const { hold } = input as Input<'action'>
    return { votes: hold?.votes ?? [], first: hold === undefined }
  }
  const { votes, stage } = input as Input<'access'>
  return { votes, first: stage === 'request' }
}

/** Old groups mean no new access, no vote, no call and no replay; what lives already is refreshed or ended by identity. */
function groupsAreOld<P extends Point>(point: P, input: Input<P>, max_groups_age_s: number): boolean {
  if (!bySomebodyNow.has(point)) return false
  const { subject, time } = input as Input<'access' | 'approve' | 'admin' | 'replay'>
  if (subject.kind !== 'person' || (input as Input<'access'>).stage === 'live') return false
  return time.now_at_ms - subject.groups_at_ms > max_groups_age_s * 1000
}

/** Reasons with file:line@commit; a denial without one names the default rule. Undefined for an undeclared rule. */
function place(reasons: readonly Reason[], point: Point, ground: Ground, effect: string): Reason[] | undefined {
  const { rules, defaults } = ground.meta
  const fallback = { rule: defaults[point] ?? '', message: 'no rule of the policy allows this' }
  const out: Reason[] = []
  for (const reason of reasons.length === 0 && effect === 'deny' ? [fallback] : reasons) {
    const found = Object.hasOwn(rules, reason.rule) ? rules[reason.rule] : undefined
    if (found === undefined) return undefined
    out.push({ ...reason, at: `${found.file}:${found.line}@${ground.commit}` })
  }
  return out
}
