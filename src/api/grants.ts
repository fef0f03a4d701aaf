import type { FastifyRequest } from 'fastify'
import { Type as T } from 'typebox'
import { type Approvals, revokeCall } from '../approvals/approvals.ts'
import { bounds } from '../approvals/bounds.ts'
import { listGrants, ownerOfGrant } from '../approvals/view.ts'
import type { Api, BaseDeps } from './deps.ts'
import { sendRefused } from './errors.ts'
import { callerOf } from './guard.ts'
import { defaultLimit, pageOf, pageQuery, seesAll } from './pages.ts'

export interface GrantDeps extends BaseDeps {
  readonly approvals: Approvals
}

const closed = { additionalProperties: false }
const idOf = (request: FastifyRequest) => (request.params as { id: string }).id
const Grant = T.Object({
  id: T.String(),
  request_id: T.String(),
  subject: T.Object({ id: T.String(), name: T.String() }),
  resource: T.String(),
  role: T.String(),
  starts_at_ms: T.Integer(),
  ends_at_ms: T.Integer(),
  revoked_at_ms: T.Union([T.Integer(), T.Null()]),
  revoke_reason: T.Union([T.String(), T.Null()]),
})

/** Grants: who has which role until when, and ending one before its time. */
export function grantRoutes(app: Api, deps: GrantDeps): void {
  const { db } = deps.database

  app.get(
    '/api/grants',
    {
      config: { guard: { point: 'admin', call: 'grants.list', own: () => true } },
      schema: {
        summary:
          'Live grants of the caller, or with the right to it of everybody; `ended=true` shows those that ended too',
        querystring: T.Object({ ended: T.Optional(T.Boolean()), ...pageQuery }, closed),
        response: { 200: T.Object({ items: T.Array(Grant), next: T.Union([T.String(), T.Null()]) }) },
      },
    },
    async request => {
      const { ended = false, limit = defaultLimit, cursor } = request.query
      const subject_id = seesAll(deps, request, 'grants.list') ? undefined : callerOf(request).facts.id
      return pageOf(await listGrants(db, { subject_id, live: !ended, limit, before: cursor }), limit)
    },
  )

  app.post(
    '/api/grants/:id/revoke',
    {
      config: {
        guard: {
          point: 'admin',
          call: revokeCall,
          target: request => ({ grant: idOf(request) }),
          own: async (request, caller) => (await ownerOfGrant(db, idOf(request))) === caller.facts.id,
        },
      },
      schema: {
        summary: 'End a grant now; its sessions close within a second',
        params: T.Object({ id: T.String({ maxLength: 64 }) }, closed),
        body: T.Object({ reason: T.String({ minLength: 1, maxLength: bounds.reason }) }, closed),
        response: { 200: T.Object({ id: T.String(), revoked: T.Literal(true) }) },
      },
    },
    async (request, reply) => {
      const { reason } = request.body
      const done = await deps.approvals.revoke({
        grant_id: request.params.id,
        by: callerOf(request).facts,
        reason,
        permit: request.permit,
      })
      return done.refused ? sendRefused(reply, done) : { id: request.params.id, revoked: true as const }
    },
  )
}
