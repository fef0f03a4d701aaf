import type { FastifyRequest } from 'fastify'
import { Type as T } from 'typebox'
import { isScope } from '../policy/scopes.ts'
import type { Api, BaseDeps } from './deps.ts'
import { sendError, sendRefusal } from './errors.ts'
import { callerOf } from './guard.ts'
import { defaultLimit, pageOf, pageQuery } from './pages.ts'

const closed = { additionalProperties: false }
const Name = T.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}$' })
const Group = T.String({ minLength: 1, maxLength: 256 })
const Nullable = T.Union([T.Integer(), T.Null()])

const NewToken = T.Object(
  {
    name: Name,
    scopes: T.Array(T.String({ maxLength: 128 }), { minItems: 1, maxItems: 32 }),
    expires_s: T.Integer({ minimum: 60, maximum: 366 * 86_400 }),
    machine: T.Optional(T.Object({ name: Name, groups: T.Array(Group, { maxItems: 50 }) }, closed)),
  },
  closed,
)

const Row = T.Object({
  id: T.String(),
  subject_id: T.String(),
  subject_name: T.String(),
  kind: T.String(),
  name: T.String(),
  scopes: T.Array(T.String()),
  created_by: T.String(),
  created_at_ms: T.Integer(),
  expires_at_ms: T.Integer(),
  revoked_at_ms: Nullable,
  used_at_ms: Nullable,
})

const byId = { params: T.Object({ id: T.String({ maxLength: 64 }) }, closed) }
const idOf = (request: FastifyRequest) => (request.params as { id: string }).id

/** API tokens: of the caller, and of machines. All three calls are decided by the `admin` point. */
export function tokenRoutes(app: Api, deps: BaseDeps): void {
  const { identity } = deps

  app.get(
    '/api/tokens',
    {
      config: {
        guard: {
          point: 'admin',
          call: 'tokens.list',
          target: request => ({ whose: (request.query as { all?: boolean }).all === true ? 'all' : 'own' }),
          own: request => (request.query as { all?: boolean }).all !== true,
        },
      },
      schema: {
        summary: 'API tokens of the caller, or of everybody; newest first',
        querystring: T.Object({ all: T.Optional(T.Boolean()), ...pageQuery }, closed),
        response: { 200: T.Object({ items: T.Array(Row), next: T.Union([T.String(), T.Null()]) }) },
      },
    },
    async request => {
      const { all, limit = defaultLimit, cursor } = request.query
      const subject_id = all === true ? undefined : callerOf(request).facts.id
      const rows = await identity.listTokens({ subject_id, limit, before: cursor })
      const items = rows.map(row => ({ ...row, scopes: [...row.scopes] }))
      return pageOf(items, limit)
    },
  )

  app.post(
    '/api/tokens',
    {
      config: {
        guard: {
          point: 'admin',
          call: 'tokens.issue',
          own: request => (request.body as { machine?: unknown }).machine === undefined,
          target: (request, caller) => {
            const { name, scopes, machine, expires_s } = request.body as T.Static<typeof NewToken>
            return {
              name,
              scopes: [...scopes].sort().join(' '),
              expires_s: String(expires_s),
              subject: machine === undefined ? caller.facts.id : `machine:${machine.name}`,
              groups: machine === undefined ? '' : [...machine.groups].sort().join(','),
            }
          },
        },
      },
      schema: {
        summary: 'Issue an API token; its text is in this answer and nowhere else',
        body: NewToken,
        response: {
          201: T.Object({ id: T.String(), token: T.String(), subject_id: T.String(), expires_at_ms: T.Integer() }),
        },
      },
    },
    async (request, reply) => {
      const wrong = request.body.scopes.filter(scope => !isScope(scope))
      if (wrong.length > 0) {
        return sendError(
          reply,
          'bad_request',
          `these are no scopes: ${wrong.join(', ')}`,
          'use point:what, e.g. access:request or admin:sessions.*',
        )
      }
      if (request.body.machine?.groups.some(group => group.includes(','))) {
        return sendError(
          reply,
          'bad_request',
          'a group of a machine holds a comma, so that policy could not tell its groups apart',
        )
      }
      const issued = await identity.issueToken(callerOf(request), request.body)
      if (!issued.ok) return sendRefusal(reply, issued)
      const { id, token, subject_id, expires_at_ms } = issued
      return reply.code(201).send({ id, token, subject_id, expires_at_ms })
    },
  )

  app.delete(
    '/api/tokens/:id',
    {
      config: {
        guard: {
          point: 'admin',
          call: 'tokens.revoke',
          target: request => ({ id: idOf(request) }),
          own: async (request, caller) => (await identity.token(idOf(request)))?.subject_id === caller.facts.id,
        },
      },
      schema: {
        summary: 'Revoke an API token, and those that were issued with it',
        ...byId,
        response: { 200: T.Object({ revoked: T.Boolean() }) },
      },
    },
    async (request, reply) => {
      const revoked = await identity.revokeToken(callerOf(request), request.params.id)
      if (!revoked)
        return sendError(reply, 'not_found', 'there is no live token of this id', 'look at `GET /api/tokens`')
      return { revoked }
    },
  )
}
