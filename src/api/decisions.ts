import type { FastifyRequest } from 'fastify'
import { Type as T } from 'typebox'
import type { Caller } from '../identity/facts.ts'
import { type DecisionFilter, getDecision, listDecisions, type StoredDecision } from '../policy/decision-store.ts'
import type { Api, BaseDeps } from './deps.ts'
import { sendError } from './errors.ts'
import { Instant } from './pages.ts'

const closed = { additionalProperties: false }
const Id = T.Optional(T.String({ maxLength: 128 }))
const Query = T.Object(
  {
    subject_id: Id,
    resource: Id,
    session_id: Id,
    request_id: Id,
    point: Id,
    effect: T.Optional(T.Union(['allow', 'deny', 'ask', 'data'].map(e => T.Literal(e as StoredDecision['effect'])))),
    from_ms: Instant,
    to_ms: Instant,
    limit: T.Optional(T.Integer({ minimum: 1, maximum: 1000 })),
  },
  closed,
)
const Nullable = T.Union([T.String(), T.Null()])
const Summary = T.Object({
  id: T.String(),
  at_ms: T.Integer(),
  point: T.String(),
  effect: T.String(),
  code: T.String(),
  generation: T.Union([T.Integer(), T.Null()]),
  commit: Nullable,
  reasons: T.Array(
    T.Object({ rule: T.String(), message: T.String(), remedy: T.Optional(T.String()), at: T.Optional(T.String()) }),
  ),
  subject_id: Nullable,
  resource: Nullable,
  session_id: Nullable,
  request_id: Nullable,
  count: T.Integer(),
})

/** The decision log. A person's own decisions are `own` in the input of `admin`. */
export function decisionRoutes(app: Api, deps: BaseDeps): void {
  const { db } = deps.database

  app.get(
    '/api/decisions',
    {
      config: { guard: { point: 'admin', call: 'decisions.list', target: targetOf, own: isOwn } },
      schema: {
        summary: 'Decisions, newest first',
        querystring: Query,
        response: { 200: T.Object({ items: T.Array(Summary), next: T.Null() }) },
      },
    },
    async request => {
      const rows = await listDecisions(db, request.query as DecisionFilter)
      return { items: rows.map(summary), next: null }
    },
  )

  app.get(
    '/api/decisions/:id',
    {
      config: {
        guard: {
          point: 'admin',
          call: 'decisions.read',
          target: request => ({ id: (request.params as { id: string }).id }),
          own: async (request, caller) =>
            (await getDecision(db, (request.params as { id: string }).id))?.subject_id === caller.facts.id,
        },
      },
      schema: {
        summary: 'One decision with what it needs to be computed again: commit, digest, canonical input, result',
        params: T.Object({ id: T.String({ maxLength: 64 }) }, closed),
        response: {
          200: T.Intersect([
            Summary,
            T.Object({ digest: Nullable, input_digest: T.String(), input: T.String(), result: T.String() }),
          ]),
        },
      },
    },
    async (request, reply) => {
      const row = await getDecision(db, request.params.id)
      if (row === undefined)
        return sendError(reply, 'not_found', 'there is no decision of this id', 'look at the id again')
      const { digest, input_digest, input, result } = row
      return { ...summary(row), digest, input_digest, input, result }
    },
  )
}

/** What a list shows: all but what was judged, what came out whole, and how it was checked. */
function summary({ digest: _, input_digest: __, input: ___, result: ____, batch: _____, ...shown }: StoredDecision) {
  return shown
}

function targetOf(request: FastifyRequest): Record<string, string> {
  const target: Record<string, string> = {}
  for (const [name, value] of Object.entries(request.query as Record<string, unknown>)) target[name] = String(value)
  return target
}

function isOwn(request: FastifyRequest, caller: Caller): boolean {
  return (request.query as { subject_id?: string }).subject_id === caller.facts.id
}
