import { canonical, type Json } from '../../canonical.ts'
import type { Decision } from '../decision.ts'
import type { Answer } from '../judge.ts'
import type { DecisionCode, Point } from '../points.ts'

/**
 * What a change of policy does to one question. `denied`, `allowed`, `asked`: it has this effect now and had another;
 * `terms`: the same effect under other terms; the rest are data that differ.
 */
export const changes = [
  'denied',
  'allowed',
  'asked',
  'terms',
  'masking',
  'recording',
  'retention',
  'alerts',
  'decision_log',
] as const
export type Change = (typeof changes)[number]

/** One revision's side of a change: the rules that made the answer, with file:line@commit. */
export interface Side {
  readonly effect: Decision['effect']
  readonly code: DecisionCode
  readonly reasons: readonly { readonly rule: string; readonly at: string; readonly message: string }[]
}

export interface Difference {
  readonly change: Change
  readonly before: Side
  readonly after: Side
  /** For terms and data: what differs, in words. */
  readonly details: readonly string[]
}

const keptReasons = 3
const keptDetails = 8
const keptChars = 300

/** @returns what changed; `reworded` where the effect and its terms are the same and only the reasons differ. */
export function compare(point: Point, before: Answer, after: Answer): Difference | 'same' | 'reworded' {
  const change = changeOf(point, before, after)
  if (change === 'same' || change === 'reworded') return change
  const details = ['denied', 'allowed', 'asked'].includes(change)
    ? []
    : differences(termsOf(before), termsOf(after)).slice(0, keptDetails)
  return { change, before: sideOf(before), after: sideOf(after), details }
}

function changeOf(point: Point, before: Answer, after: Answer): Change | 'same' | 'reworded' {
  if (before.effect !== after.effect) {
    if (after.effect === 'deny') return 'denied'
    return after.effect === 'ask' ? 'asked' : 'allowed'
  }
  if (canonical(termsOf(before)) !== canonical(termsOf(after)))
    return before.effect === 'data' ? dataOf(point) : 'terms'
  return rulesOf(before) === rulesOf(after) ? 'same' : 'reworded'
}

function dataOf(point: Point): Change {
  return (changes as readonly string[]).includes(point) ? (point as Change) : 'terms'
}

/** What an answer gives besides its effect and its reasons; a denial gives nothing, whatever stands beside it. */
function termsOf(answer: Answer): Json {
  if (answer.effect === 'deny' || answer.result === null) return null
  const { reasons: _, effect: __, ...terms } = answer.result as unknown as { [name: string]: Json }
  return terms
}

function rulesOf(answer: Answer): string {
  return answer.code + answer.reasons.map(reason => ` ${reason.rule}`).join('')
}

function sideOf(answer: Answer): Side {
  const reasons = answer.reasons.slice(0, keptReasons)
  return {
    effect: answer.effect,
    code: answer.code,
    reasons: reasons.map(({ rule, at, message }) => ({ rule, at: at ?? '', message: shortened(message) })),
  }
}

/** Where two terms differ, one line each: `session.max_s: 3600 → 600`, `+ masking.phone …`, `- …`. */
export function differences(before: Json, after: Json, path = ''): string[] {
  if (canonical(before) === canonical(after)) return []
  if (Array.isArray(before) && Array.isArray(after)) return ofLists(before as Json[], after as Json[], path)
  if (isObject(before) && isObject(after)) {
    const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort()
    return names.flatMap(name =>
      differences(before[name] ?? null, after[name] ?? null, path === '' ? name : `${path}.${name}`),
    )
  }
  return [`${path}: ${shown(before)} → ${shown(after)}`]
}

/** Lists are sets here, but for `stages`, which are compared place by place. */
function ofLists(before: readonly Json[], after: readonly Json[], path: string): string[] {
  if (path.endsWith('stages') && before.length === after.length)
    return before.flatMap((one, i) => differences(one, after[i]!, `${path}[${i}]`))
  const [old, now] = [new Set(before.map(each => canonical(each))), new Set(after.map(each => canonical(each)))]
  const gone = before.filter(each => !now.has(canonical(each))).map(each => `- ${path} ${shown(each)}`)
  const come = after.filter(each => !old.has(canonical(each))).map(each => `+ ${path} ${shown(each)}`)
  return [...gone, ...come]
}

function shown(value: Json): string {
  if (typeof value === 'string') return shortened(value)
  if (
    isObject(value) &&
    typeof value['rule'] === 'string' &&
    isObject(value['match']) &&
    isObject(value['transform'])
  ) {
    const { schema, table, column } = value['match']
    return `${value['rule']}: ${String(value['transform']['kind'])} ${String(schema)}.${String(table)}.${String(column)}`
  }
  return shortened(canonical(value))
}

/** A cut through a pair of surrogates leaves no half of it, which no JSON could carry. */
function shortened(text: string): string {
  return text.slice(0, keptChars).toWellFormed()
}

function isObject(value: Json | undefined): value is { readonly [name: string]: Json | undefined } & object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
