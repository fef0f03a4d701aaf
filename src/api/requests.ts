import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type as T } from 'typebox'
import type { Approvals } from '../approvals/approvals.ts'
import { cancelCall } from '../approvals/approvals.ts'
import { bounds } from '../approvals/bounds.ts'
import { listRequests, type RequestView, readRequest } from '../approvals/view.ts'
import type { Api, BaseDeps } from './deps.ts'
import { sendError, sendRefused } from './errors.ts'
import { callerOf } from './guard.ts'
import { clientOf, defaultLimit, pageOf, pageQuery, seesAll } from './pages.ts'

export interface RequestDeps extends BaseDeps {
  readonly approvals: Approvals
}

const closed = { additionalProperties: false }
const Id = T.String({ maxLength: 64 })
const Name = T.String({ minLength: 1, maxLength: bounds.name })
const byId = { params: T.Object({ id: Id }, closed) }
const State = T.Union((['pending', 'approved', 'denied', 'expired', 'cancelled'] as const).map(s => T.Literal(s)))
const OrNull = <S extends T.TSchema>(schema: S) => T.Union([schema, T.Null()])
const Who = T.Object({ id: T.String(), name: T.String() })

const Stage = T.Object({ approvers: T.Array(T.String()), quorum: T.Integer(), channel: T.String() })
const Held = T.Object({
  session_id: T.String(),
  text: OrNull(T.String()),
  shown: T.Array(T.Object({ label: T.String(), lines: T.Array(T.String()), more: T.Optional(T.Integer()) })),
  released_at_ms: OrNull(T.Integer()),
  unused: OrNull(T.String()),
})
const View = T.Object({
  id: T.String(),
  kind: T.String(),
  hash: T.String(),
  subject: T.Object({ ...Who.properties, email: OrNull(T.String()) }),
  on_behalf_of: OrNull(T.String()),
  resource: T.String(),
  role: T.String(),
  duration_s: T.Integer(),
  reason: T.String(),
  ticket_ref: OrNull(T.String()),
  via: T.String(),
  state: T.String(),
  created_at_ms: T.Integer(),
  expires_at_ms: T.Integer(),
  ended_at_ms: OrNull(T.Integer()),
  outcome: OrNull(T.String()),
  decision_id: T.String(),
  terms: OrNull(T.Object({ stages: T.Array(Stage), expires_s: T.Integer() })),
  votes: T.Array(
    T.Object({ approver: Who, answer: T.String(), stage: T.Integer(), at_ms: T.Integer(), via: T.String() }),
  ),
  hold: OrNull(Held),
  grant: OrNull(T.Object({ id: T.String(), ends_at_ms: T.Integer(), revoked_at_ms: OrNull(T.Integer()) })),
})

/** Asking for access, and answering. */
export function requestRoutes(app: Api, deps: RequestDeps): void {
  const { approvals } = deps
  const { db } = deps.database
  const idOf = (request: FastifyRequest) => (request.params as { id: string }).id
  const ownOr = {
    target: async (request: FastifyRequest) => {
      const found = await readRequest(db, idOf(request))
      return {
        request: idOf(request),
        ...(found === undefined ? {} : { resource: found.resource, role: found.role, subject: found.subject.id }),
      }
    },
    own: async (request: FastifyRequest) => {
      const found = await readRequest(db, idOf(request))
      const { id } = callerOf(request).facts
      return found !== undefined && (found.subject.id === id || found.on_behalf_of === id)
    },
  }

  app.post(
    '/api/requests',
    {
      config: { guard: { point: 'access' } },
      schema: {
        summary: 'Ask for a role on a resource: granted at once, or waiting for the people whom policy names',
        body: T.Object(
          {
            resource: Name,
            role: Name,
            duration_s: T.Integer({ minimum: bounds.min_duration_s, maximum: bounds.max_duration_s }),
            reason: T.String({ minLength: 1, maxLength: bounds.reason }),
            ticket_ref: T.Optional(T.String({ minLength: 1, maxLength: bounds.ticket_ref })),
          },
          closed,
        ),
        response: { 201: View },
      },
    },
    async (request, reply) => {
      const { via, ...client } = clientOf(request)
      const { ticket_ref = null, ...wanted } = request.body
      const answer = await approvals.ask({ ...wanted, ticket_ref, subject: callerOf(request).facts, via, client })
      if (answer.refused) return sendRefused(reply, answer)
      return reply.code(201).send(await shown(answer.request.id))
    },
  )

  app.get(
    '/api/requests',
    {
      config: { guard: { point: 'admin', call: 'requests.list', own: () => true } },
      schema: {
        summary: 'Requests of the caller, those that wait for the caller, and with the right to it all; newest first',
        querystring: T.Object({ state: T.Optional(State), resource: T.Optional(Name), ...pageQuery }, closed),
        response: { 200: T.Object({ items: T.Array(View), next: OrNull(T.String()) }) },
      },
    },
    async request => {
      const { state, resource, limit = defaultLimit, cursor } = request.query
      const of = seesAll(deps, request, 'requests.list') ? undefined : callerOf(request).facts
      const items = await listRequests(db, { state, resource, of, limit, before: cursor })
      return pageOf(items.map(brief), limit)
    },
  )

  app.get(
    '/api/requests/:id',
    {
      config: { guard: { point: 'admin', call: 'requests.read', ...ownOr } },
      schema: { summary: 'One request with its votes', ...byId, response: { 200: View } },
    },
    async (request, reply) => {
      const found = await readRequest(db, request.params.id)
      return found === undefined ? absent(reply) : plain(found)
    },
  )

  app.post(
    '/api/requests/:id/votes',
    {
      config: { guard: { point: 'approve' } },
      schema: {
        summary: 'Approve or deny, naming the hash of what was seen',
        ...byId,
        body: T.Object(
          { answer: T.Union([T.Literal('approve'), T.Literal('deny')]), hash: T.String({ pattern: '^[0-9a-f]{64}$' }) },
          closed,
        ),
        response: { 200: View },
      },
    },
    async (request, reply) => {
      const { answer, hash } = request.body
      const approver = callerOf(request).facts
      const counted = await approvals.vote({
        request_id: request.params.id,
        approver,
        answer,
        via: clientOf(request).via,
        expected_hash: hash,
      })
      return counted.refused ? sendRefused(reply, counted) : await shown(request.params.id)
    },
  )

  app.post(
    '/api/requests/:id/cancel',
    {
      config: { guard: { point: 'admin', call: cancelCall, ...ownOr } },
      schema: { summary: 'Take a request back', ...byId, body: T.Object({}, closed), response: { 200: View } },
    },
    async (request, reply) => {
      const done = await approvals.cancel({
        request_id: request.params.id,
        by: callerOf(request).facts,
        permit: request.permit,
      })
      return done.refused ? sendRefused(reply, done) : await shown(request.params.id)
    },
  )

  async function shown(id: string) {
    const found = await readRequest(db, id)
    if (found === undefined) throw new Error(`request ${id} is gone`)
    return plain(found)
  }
}

function absent(reply: FastifyReply): FastifyReply {
  return sendError(reply, 'not_found', 'there is no request of this id', 'look at `sallyport requests`')
}

const mostInList = 12

/** Among many: of what one by itself shows whole, the beginning. */
function brief(view: RequestView) {
  const { hold, ...rest } = plain(view)
  const shown = hold?.shown.map(({ label, lines, more = 0 }) => {
    const left = more + Math.max(0, lines.length - mostInList)
    return { label, lines: lines.slice(0, mostInList), ...(left > 0 ? { more: left } : {}) }
  })
  return { ...rest, hold: hold === null ? null : { ...hold, shown: shown! } }
}

/** Mutable copies of the read-only lists, as the serializer's types want them. */
function plain(view: RequestView) {
  const { hold } = view
  const shown = hold?.shown.map(part => ({ ...part, lines: [...part.lines] })) ?? []
  return { ...view, votes: [...view.votes], hold: hold === null ? null : { ...hold, shown } }
}
