import { canonical, type Json } from '../../canonical.ts'
import type { Decision } from '../decision.ts'
import type { Engine } from '../engine.ts'
import type { Reason } from '../points.ts'
import { dayOf } from './decision-days.ts'
import { wordsOf } from './decision-words.ts'
import { maskedText as masked } from './hidden.ts'

/** A row of `decisions` as it is inserted. */
export interface DecisionRow {
  readonly id: string
  readonly at_ms: number
  readonly point: string
  readonly effect: string
  readonly code: string
  readonly generation: number | null
  readonly commit: string | null
  readonly digest: string | null
  readonly input_digest: string
  readonly input: string
  readonly result: string
  readonly reasons: string
  readonly subject_id: string | null
  readonly resource: string | null
  readonly session_id: string | null
  readonly request_id: string | null
  readonly count: number
  readonly erased: string
  readonly masked: string
  /** Separated by `wordSeparator`. */
  readonly words: string
  /** Of the partition, where it has one. */
  readonly day: string
}

/** Of no word: what splits them is nothing that text is made of. */
export const wordSeparator = '\u001f'

/**
 * The row of a decision. What the `decision_log` point names is left out or masked, and listed (paths as OPA's decision
 * masking writes them: `/input/subject/email`, `/result/…`); `input_digest` stays that of the input that was judged. A
 * point without a usable answer erases nothing, so that a broken policy cannot hide what it did.
 */
export function decisionRow(decision: Decision, count: number, engine: Engine): DecisionRow {
  const { about } = decision
  const question = { effect: decision.effect, point: decision.point, resource: about.resource }
  const answer = engine.decide('decision_log', question).decision.result
  const document = { input: JSON.parse(decision.input) as unknown, result: decision.result as unknown }
  const shown = hide(decision, document, answer?.erase ?? [], answer?.mask ?? [])
  const reasons = shownReasons(decision, document.result, [...shown.erased, ...shown.masked])
  return {
    id: decision.id,
    at_ms: decision.at_ms,
    point: decision.point,
    effect: decision.effect,
    code: decision.code,
    generation: decision.generation,
    commit: decision.commit,
    digest: decision.digest,
    input_digest: decision.input_digest,
    input: shown.input,
    result: shown.result,
    reasons: storable(JSON.stringify(reasons)),
    ...about,
    count,
    erased: JSON.stringify(shown.erased),
    masked: JSON.stringify(shown.masked),
    day: dayOf(about.session_id, decision.at_ms),
    words: wordsOf({ resource: about.resource, reasons }, document.input).join(wordSeparator),
  }
}

/** Reasons stand in the result too: what is hidden there is not said here. */
function shownReasons({ reasons }: Decision, result: unknown, hidden: readonly string[]): readonly Reason[] {
  if (!hidden.some(path => /^\/result(\/reasons(\/|$)|$)/.test(path))) return reasons
  const shown = (result as { reasons?: unknown } | null)?.reasons
  if (!Array.isArray(shown)) return []
  if (shown.length === 0) return reasons // the engine's own, where the policy gave none
  return reasons.map(({ rule, message, remedy, at }, i) => {
    const left = (typeof shown[i] === 'object' ? shown[i] : null) as Partial<Reason> | null
    return {
      rule: left?.rule ?? masked,
      message: left?.message ?? masked,
      ...(remedy === undefined || left?.remedy === undefined ? {} : { remedy: left.remedy }),
      ...(at === undefined || left?.rule !== rule || left.message !== message ? {} : { at }),
    }
  })
}

/** PostgreSQL's jsonb takes no NUL: one in a message must not keep its batch out of the log. `result` has the exact text. */
function storable(json: string): string {
  return json.replace(/\\(\\|u0000)/g, (found, kind) => (kind === 'u0000' ? '\ufffd' : found))
}

interface Document {
  input: unknown
  result: unknown
}

/** Changes the document, and says how it is stored and what of it was hidden: only paths that led somewhere. */
function hide(
  decision: Decision,
  document: Document,
  erase: readonly string[],
  mask: readonly string[],
): { input: string; result: string; erased: string[]; masked: string[] } {
  const hidden = { erased: new Set<string>(), masked: new Set<string>() }
  if (erase.length + mask.length > 0) document.result = structuredClone(document.result)
  for (const path of mask) {
    const found = find(document, path)
    if (found === undefined) continue
    found.parent[found.key] = masked
    hidden.masked.add(path)
  }
  for (const path of erase) {
    const found = find(document, path)
    if (found === undefined) continue
    // An element of a list cannot go without moving the others: it stays, masked.
    if (Array.isArray(found.parent)) found.parent[Number(found.key)] = masked
    else if (path === '/input' || path === '/result') found.parent[found.key] = null
    else delete found.parent[found.key]
    hidden[Array.isArray(found.parent) ? 'masked' : 'erased'].add(path)
  }
  const changed = hidden.erased.size + hidden.masked.size > 0
  return {
    input: changed ? canonical(document.input as Json) : decision.input,
    result: canonical(document.result as Json),
    erased: [...hidden.erased].sort(),
    masked: [...hidden.masked].filter(path => !hidden.erased.has(path)).sort(),
  }
}

/** Follows a JSON Pointer (RFC 6901) to `/input`, `/result` or below. @returns undefined for one that leads nowhere. */
function find(document: Document, path: string): { parent: Record<string, unknown>; key: string } | undefined {
  const steps = path
    .split('/')
    .slice(1)
    .map(step => step.replaceAll('~1', '/').replaceAll('~0', '~'))
  const key = steps.pop()
  if (key === undefined) return undefined
  let at: unknown = document
  for (const step of steps) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, step)) return undefined
    at = (at as Record<string, unknown>)[step]
  }
  if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key)) return undefined
  if (Array.isArray(at) && key === 'length') return undefined // what every list has is no element
  return { parent: at as Record<string, unknown>, key }
}
