import type { FastifyRequest } from 'fastify'
import { Type as T } from 'typebox'
import { bounds } from '../approvals/bounds.ts'
import { recordingStates } from '../recording/receipts.ts'
import { endCall, type Sessions } from '../sessions/sessions.ts'
import { listSessions, readSession } from '../sessions/view.ts'
import type { Api, BaseDeps } from './deps.ts'
import { sendError, sendRefused } from './errors.ts'
import { callerOf } from './guard.ts'
import { defaultLimit, lastInstant_ms, pageOf, pageQuery, seesAll } from './pages.ts'

export interface SessionDeps extends BaseDeps {
  readonly sessions: Sessions
}

const closed = { additionalProperties: false }
const OrNull = <S extends T.TSchema>(schema: S) => T.Union([schema, T.Null()])
const byId = { params: T.Object({ id: T.String({ maxLength: 64 }) }, closed) }
const idOf = (request: FastifyRequest) => (request.params as { id: string }).id
const Session = T.Object({
  id: T.String(),
  subject: T.Object({ id: T.String(), name: T.String() }),
  resource: T.String(),
  role: T.String(),
  protocol: T.String(),
  grant_id: T.String(),
  decision_id: T.String(),
  opened_at_ms: T.Integer(),
  ends_at_ms: T.Integer(),
  ended_at_ms: OrNull(T.Integer()),
  end_code: OrNull(T.String()),
  end_reason: OrNull(T.String()),
  open_connections: T.Integer(),
  recording: OrNull(
    T.Object({
      state: T.String(),
      deleted_at_ms: OrNull(T.Integer()),
      deleted_by: OrNull(T.String()),
      locked_until_ms: OrNull(T.Integer()),
    }),
  ),
})

/** Sessions: who was connected to what, and ending one. */
export function sessionRoutes(app: Api, deps: SessionDeps): void {
  const { db } = deps.database
  const about = {
    target: async (request: FastifyRequest) => {
      const found = await readSession(db, idOf(request))
      return {
        session: idOf(request),
        ...(found === undefined ? {} : { resource: found.resource, role: found.role, subject: found.subject.id }),
      }
    },
    own: async (request: FastifyRequest) =>
      (await readSession(db, idOf(request)))?.subject.id === callerOf(request).facts.id,
  }

  const withRecordings = async <S extends { readonly id: string }>(sessions: readonly S[]) => {
    const states = await recordingStates(
      db,
      sessions.map(session => session.id),
    )
    return sessions.map(session => ({ ...session, recording: states.get(session.id) ?? null }))
  }

  app.get(
    '/api/sessions',
    {
      config: { guard: { point: 'admin', call: 'sessions.list', own: () => true } },
      schema: {
        summary: 'Sessions of the caller, or with the right to it of everybody; newest first',
        querystring: T.Object(
          {
            subject: T.Optional(T.String({ maxLength: 256 })), // id, name, e-mail or the identity provider's name
            resource: T.Optional(T.String({ maxLength: 256 })),
            state: T.Optional(T.Union([T.Literal('live'), T.Literal('ended')])),
            since: T.Optional(T.String({ maxLength: 40 })), // ISO 8601
            ...pageQuery,
          },
          closed,
        ),
        response: { 200: T.Object({ items: T.Array(Session), next: OrNull(T.String()) }) },
      },
    },
    async (request, reply) => {
      const { subject, resource, state, since, limit = defaultLimit, cursor } = request.query
      const since_ms = since === undefined ? undefined : Date.parse(since)
      if (since_ms !== undefined && !(since_ms >= 0 && since_ms <= lastInstant_ms))
        return sendError(reply, 'bad_request', 'since is no instant', 'write it as 2026-01-31T12:00:00Z')
      const subject_id = seesAll(deps, request, 'sessions.list') ? undefined : callerOf(request).facts.id
      const found = await listSessions(db, { subject, subject_id, resource, state, since_ms, limit, before: cursor })
      return pageOf(await withRecordings(found), limit)
    },
  )

  app.get(
    '/api/sessions/:id',
    {
      config: { guard: { point: 'admin', call: 'sessions.read', ...about } },
      schema: { summary: 'One session', ...byId, response: { 200: Session } },
    },
    async (request, reply) => {
      const found = await readSession(db, request.params.id)
      if (found === undefined)
        return sendError(reply, 'not_found', 'there is no session of this id', 'look at `sallyport sessions`')
      return (await withRecordings([found]))[0]!
    },
  )

  app.post(
    '/api/sessions/:id/end',
    {
      config: { guard: { point: 'admin', call: endCall, ...about } },
      schema: {
        summary: 'End a session now; its connections close within a second',
        ...byId,
        body: T.Object({ reason: T.Optional(T.String({ minLength: 1, maxLength: bounds.reason })) }, closed),
        response: { 200: T.Object({ id: T.String(), ended: T.Literal(true) }) },
      },
    },
    async (request, reply) => {
      const { reason = 'no reason was given' } = request.body
      const done = await deps.sessions.revoke({
        session_id: request.params.id,
        by: callerOf(request).facts,
        reason,
        permit: request.permit,
      })
      return done.refused ? sendRefused(reply, done) : { id: request.params.id, ended: true as const }
    },
  )
}
