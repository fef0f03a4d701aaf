import { derivedId, newId } from '../ids.ts'
import type { DecisionCode, Point } from './points.ts'

/**
 * An action decision is the same decision whichever worker of a session made it, and after its cache entry was dropped:
 * its id derives from session, revision, input and code. All other decisions are events of their own.
 */
export function decisionId(
  point: Point,
  code: DecisionCode,
  generation: number | null,
  session: string | null,
  input_digest: string,
): string {
  return derivedDecisionId(point, code, generation, session, input_digest) ?? newId('dec')
}

/** The id that such a decision must have; undefined where it is an event of its own. */
export function derivedDecisionId(
  point: string,
  code: string,
  generation: number | null,
  session: string | null,
  input_digest: string,
): string | undefined {
  if (point !== 'action' || generation === null || session === null) return undefined
  return derivedId('dec', `${session} ${generation} ${code} ${input_digest}`)
}
