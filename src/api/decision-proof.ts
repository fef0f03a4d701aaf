import { Type as T } from 'typebox'
import { proveDecision } from '../policy/log/decision-proof.ts'
import type { AuditDeps } from './audit.ts'
import { ofOneDecision } from './decision-guard.ts'
import type { Api } from './deps.ts'

/** What `sallyport verify-decision` computes a decision again from. */
export function decisionProofRoutes(app: Api, deps: AuditDeps): void {
  app.get(
    '/api/decisions/:id/proof',
    {
      config: {
        guard: ofOneDecision(deps.database.db, 'decisions.read'),
      },
      schema: {
        summary: 'One decision with its revision and its leaf of the audit log: all that it takes to compute it again',
        params: T.Object({ id: T.String({ maxLength: 64 }) }, { additionalProperties: false }),
      },
    },
    request => proveDecision(deps.database, deps.log.vkey, request.params.id),
  )
}
