import { canonical, type Json } from '../canonical.ts'
import type { Decision } from './decision.ts'
import type { Engine } from './engine.ts'

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
}

const masked = '[masked]'

/**
 * The row of a decision. What the `decision_log` point names is left out or masked (paths as OPA's decision masking
 * writes them: `/input/subject/email`, `/result/…`); `input_digest` stays that of the input that was judged. A point
 * without a usable answer erases nothing, so that a broken policy cannot hide what it did.
 */
export function decisionRow(decision: Decision, count: number, engine: Engine): DecisionRow {
  const { about } = decision
  const question = { effect: decision.effect, point: decision.point, resource: about.resource }
  const answer = engine.decide('decision_log', question).decision.result
  const hides = answer !== null && answer.erase.length + answer.mask.length > 0
  const shown = hides
    ? hide(decision, answer.erase, answer.mask)
    : { input: decision.input, result: canonical(decision.result as Json) }
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
    ...shown,
    reasons: storable(JSON.stringify(decision.reasons)),
    ...about,
    count,
  }
}

/** PostgreSQL's jsonb takes no NUL: one in a message must not keep its batch out of the log. `result` has the exact text. */
function storable(json: string): string {
  return json.replace(/\\(\\|u0000)/g, (found, kind) => (kind === 'u0000' ? '\ufffd' : found))
}

function hide(
  decision: Decision,
  erase: readonly string[],
  mask: readonly string[],
): { input: string; result: string } {
  const document = { input: JSON.parse(decision.input) as unknown, result: structuredClone(decision.result) as unknown }
  for (const path of mask) change(document, path, (parent, key) => (parent[key] = masked))
  for (const path of erase) change(document, path, (parent, key) => delete parent[key])
  return { input: canonical(document.input as Json), result: canonical(document.result as Json) }
}

/** Follows a JSON Pointer (RFC 6901) below `/input` or `/result`; a path that leads nowhere changes nothing. */
function change(document: object, path: string, run: (parent: Record<string, unknown>, key: string) => void): void {
  const steps = path
    .split('/')
    .slice(1)
    .map(step => step.replaceAll('~1', '/').replaceAll('~0', '~'))
  const key = steps.pop()
  if (key === undefined || steps.length === 0) return
  let at: unknown = document
  for (const step of steps) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, step)) return
    at = (at as Record<string, unknown>)[step]
  }
  if (typeof at === 'object' && at !== null && Object.hasOwn(at, key)) run(at as Record<string, unknown>, key)
}
