import { Type as T } from 'typebox'
import type { StoredDecision } from '../policy/log/decision-store.ts'

const Nullable = T.Union([T.String(), T.Null()])

/** What every answer about a decision says of it first. */
export const decisionHead = {
  id: T.String(),
  at_ms: T.Integer(),
  point: T.String(),
  effect: T.String(),
  code: T.String(),
  generation: T.Union([T.Integer(), T.Null()]),
  commit: Nullable,
  resource: Nullable,
  session_id: Nullable,
  request_id: Nullable,
  count: T.Integer(),
  erased: T.Array(T.String()),
  masked: T.Array(T.String()),
}

export function headOf(row: StoredDecision) {
  const { id, at_ms, point, effect, code, generation, commit, resource, session_id, request_id, count } = row
  const { erased, masked } = row
  return { id, at_ms, point, effect, code, generation, commit, resource, session_id, request_id, count, erased, masked }
}
