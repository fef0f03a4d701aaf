import { Compile } from 'typebox/compile'
import { canonical, type Json } from '../canonical.ts'
import { freezeDeep } from './frozen.ts'
import { ActionFacts, type Input, type Point, points, type Result } from './points.ts'

/** Compiled checks of every point's input and result, made once. */
const inputs = compileAll('input')
const results = compileAll('result')
const actions = Compile(ActionFacts)
const maxResultChars = 4 << 20

/** Arrays that are sets in the policy: they leave the WASM in hash order, so their canonical text orders them. */
const sets: ReadonlySet<string> = new Set([
  'reasons',
  'approvers',
  'reviewers',
  'rules',
  'alerts',
  'erase',
  'mask',
  'from',
  'moderators',
])

export function isInput<P extends Point>(point: P, value: unknown): value is Input<P> {
  return inputs[point].Check(value)
}

export function isActionFacts(value: unknown): value is ActionFacts {
  return actions.Check(value)
}

export function isResult<P extends Point>(point: P, value: unknown): value is Result<P> {
  return results[point].Check(value)
}

/** What is wrong with a result, for the people who write policies. */
export function resultProblems(point: Point, value: unknown): string[] {
  return results[point]
    .Errors(value)
    .slice(0, 10)
    .map(error => `${error.instancePath || '/'}: ${error.message}`)
}

/**
 * The result as it is judged and stored, whatever a policy answered: sets sorted, of the point's shape, something that
 * canonical JSON carries, of a bounded size. It does not throw.
 * @returns the result, or what is wrong with it.
 */
export function readResult<P extends Point>(point: P, value: unknown): { result: Result<P> } | { problem: string } {
  try {
    const result = sortSets(value)
    if (!isResult(point, result)) return { problem: resultProblems(point, result).join('; ') || 'it has another shape' }
    const { length } = canonical(result as Json)
    if (length > maxResultChars) return { problem: `it has ${length} characters; ${maxResultChars} are read` }
    return { result: freezeDeep(result) }
  } catch (error) {
    return { problem: error instanceof Error ? error.message : 'it cannot be read' }
  }
}

/** Sorts what was a set; `stages` and everything else keep their order. @throws for what canonical JSON cannot carry. */
export function sortSets(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortSets)
  if (typeof value !== 'object' || value === null) return value
  // As properties of its own: an assignment to `__proto__` would hide a member from the check and lend it to all others.
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => [
      key,
      sets.has(key) && Array.isArray(member) ? sortedByText(member.map(sortSets)) : sortSets(member),
    ]),
  )
}

/** Why this build cannot carry out a result, or undefined. INVARIANT: what it cannot do is a denial, never left out. */
export function unsupported<P extends Point>(point: P, result: Result<P>): string | undefined {
  const r = result as {
    effect?: string
    approval?: { step_up?: boolean }
    rules?: Result<'masking'>['rules']
  }
  if (r.effect === 'ask' && r.approval?.step_up === true) return 'approval.step_up is not available in this version'
  if (point !== 'masking') return undefined
  for (const rule of r.rules ?? []) {
    if (rule.on_derived === 'mask') return `${rule.rule}: on_derived: mask is not available in this version`
    if (rule.predicates === 'allow') return `${rule.rule}: predicates: allow is not available in this version`
  }
  return undefined
}

function sortedByText(items: unknown[]): unknown[] {
  if (items.length < 2) return items
  const keyed = items.map(item => ({ item, key: canonical(item as Json) }))
  keyed.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))
  return keyed.map(({ item }) => item)
}

function compileAll(side: 'input' | 'result') {
  return Object.fromEntries(
    Object.entries(points).map(([name, point]) => [name, Compile(point[side])]),
  ) as unknown as Record<
    Point,
    { Check(value: unknown): boolean; Errors(value: unknown): { instancePath: string; message: string }[] }
  >
}
