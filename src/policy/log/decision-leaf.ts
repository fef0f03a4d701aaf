import { canonical, digest } from '../../canonical.ts'
import type { StoredDecision } from './decision-filter.ts'

/**
 * What a batch leaf commits to of one decision: everything but its count, which still grows. The input enters by the digest
 * of what was judged, whether it is stored whole or not.
 */
export function decisionLeaf(row: StoredDecision): string {
  return canonical({
    about: {
      request_id: row.request_id,
      resource: row.resource,
      session_id: row.session_id,
      subject_id: row.subject_id,
    },
    at_ms: row.at_ms,
    code: row.code,
    commit: row.commit,
    digest: row.digest,
    effect: row.effect,
    generation: row.generation,
    id: row.id,
    input_digest: row.input_digest,
    point: row.point,
    result_digest: digest(row.result),
  })
}
