import { Readable } from 'node:stream'
import type { FastifyRequest } from 'fastify'
import { Type as T } from 'typebox'
import { packageVersion } from '../db/package-root.ts'
import type { Caller } from '../identity/facts.ts'
import { decisionEvent } from '../policy/log/decision-event.ts'
import {
  type DecisionFilter,
  type DecisionPlace,
  getDecision,
  readDecisions,
  type StoredDecision,
  searchDecisions,
} from '../policy/log/decision-store.ts'
import { ofOneDecision } from './decision-guard.ts'
import { decisionHead, headOf } from './decision-head.ts'
import type { Api, BaseDeps } from './deps.ts'
import { sendError } from './errors.ts'
import { callerOf } from './guard.ts'
import { defaultLimit, Instant, seesAll } from './pages.ts'

const closed = { additionalProperties: false }
const Id = T.Optional(T.String({ maxLength: 128 }))
const Filter = {
  subject: T.Optional(T.String({ minLength: 1, maxLength: 256 })), // id, name, e-mail address or the identity provider's name
  subject_id: Id,
  resource: Id,
  session_id: Id,
  request_id: Id,
  point: Id,
  effect: T.Optional(T.Union(['allow', 'deny', 'ask', 'data'].map(e => T.Literal(e as StoredDecision['effect'])))),
  rule: T.Optional(T.String({ minLength: 1, maxLength: 128 })),
  revision: T.Optional(T.String({ minLength: 1, maxLength: 64 })), // generation, commit or its beginning
  text: T.Optional(T.String({ minLength: 1, maxLength: 256 })),
  from_ms: Instant,
  to_ms: Instant,
}
const Query = T.Object(
  {
    ...Filter,
    limit: T.Optional(T.Integer({ minimum: 1, maximum: 1000 })),
    cursor: T.Optional(T.String({ maxLength: 96, pattern: '^[0-9]{1,15}\\.dec_[0-9a-z]{1,64}$' })),
  },
  closed,
)
const Nullable = T.Union([T.String(), T.Null()])
const Summary = {
  ...decisionHead,
  reasons: T.Array(
    T.Object({ rule: T.String(), message: T.String(), remedy: T.Optional(T.String()), at: T.Optional(T.String()) }),
  ),
  subject_id: Nullable,
}

/** The decision log: search, one of it, all of it. Everybody sees their own; policy says who sees everybody's. */
export function decisionRoutes(app: Api, deps: BaseDeps): void {
  const { db } = deps.database
  const labels = { app: 'sallyport', id: deps.config.deployment, version: packageVersion() } as const

  /** What a caller asks for, by ids; null where it names nobody who is known. */
  async function filterOf({ subject, ...filter }: DecisionFilter & { subject?: string | undefined }) {
    if (subject === undefined) return filter
    const found = await deps.identity.listSubjects({ name: subject, limit: 20 })
    return { ...filter, subject_ids: found.map(each => each.id) }
  }

  app.get(
    '/api/decisions',
    {
      config: { guard: { point: 'admin', call: 'decisions.list', target: targetOf, own: mayBeOwn } },
      schema: {
        summary: 'Decisions of the caller, or with the right to it of everybody; newest first',
        querystring: Query,
        response: { 200: T.Object({ items: T.Array(T.Object(Summary)), next: Nullable }) },
      },
    },
    async request => {
      const { limit = defaultLimit, cursor, ...asked } = request.query
      const filter = await filterOf(asked)
      const { id } = callerOf(request).facts
      const only = asked.subject_id === id || seesAll(deps, request, 'decisions.list') ? {} : { subject_id: id }
      const { items, next } = await searchDecisions(deps.database, { ...filter, ...only }, limit, placeOf(cursor))
      return { items: items.map(summary), next: next && `${next.at_ms}.${next.id}` }
    },
  )

  app.get(
    '/api/decisions/export',
    {
      config: { guard: { point: 'admin', call: 'decisions.export', target: targetOf } },
      schema: {
        summary: 'Decisions as JSON Lines, oldest first, in the format of OPA’s decision logs',
        querystring: T.Object(Filter, closed),
      },
    },
    async (request, reply) => {
      const filter = await filterOf(request.query)
      const lines = async function* () {
        for await (const rows of readDecisions(db, filter))
          yield rows.map(row => `${decisionEvent(row, labels)}\n`).join('')
      }
      return reply
        .type('application/x-ndjson')
        .header('cache-control', 'no-store')
        .send(Readable.from(lines(), { objectMode: false, highWaterMark: 1 << 20 }))
    },
  )

  app.get(
    '/api/decisions/:id',
    {
      config: {
        guard: ofOneDecision(db, 'decisions.read'),
      },
      schema: {
        summary: 'One decision with what it needs to be computed again: commit, digest, canonical input, result',
        params: T.Object({ id: T.String({ maxLength: 64 }) }, closed),
        response: {
          200: T.Object({
            ...Summary,
            digest: Nullable,
            input_digest: T.String(),
            input: T.String(),
            result: T.String(),
          }),
        },
      },
    },
    async (request, reply) => {
      const row = await getDecision(db, request.params.id)
      if (row === undefined)
        return sendError(reply, 'not_found', 'there is no decision of this id', 'look at `sallyport decisions`')
      const { digest, input_digest, input, result } = row
      return { ...summary(row), digest, input_digest, input, result }
    },
  )
}

/** What a list shows: all but what was judged, what came out whole, and how it was checked. */
function summary(row: StoredDecision) {
  return { ...headOf(row), reasons: row.reasons, subject_id: row.subject_id }
}

/** The cursor's pattern has been checked. */
function placeOf(cursor: string | undefined): DecisionPlace | undefined {
  if (cursor === undefined) return undefined
  const dot = cursor.indexOf('.')
  return { at_ms: Number(cursor.slice(0, dot)), id: cursor.slice(dot + 1) }
}

function targetOf(request: FastifyRequest): Record<string, string> {
  const target: Record<string, string> = {}
  for (const [name, value] of Object.entries(request.query as Record<string, unknown>)) target[name] = String(value)
  return target
}

/** Who names nobody sees what is theirs; who names somebody else asks for more. */
function mayBeOwn(request: FastifyRequest, caller: Caller): boolean {
  const { subject, subject_id } = request.query as { subject?: string; subject_id?: string }
  const { id, name, email } = caller.facts
  if (subject_id !== undefined && subject_id !== id) return false
  return subject === undefined || subject === id || subject === name || subject === email
}
