import type { FastifyRequest } from 'fastify'
import { Type as T } from 'typebox'
import { liftHold, listHolds, setHold, standingHolds } from '../recording/holds.ts'
import type { Api } from './deps.ts'
import { callerOf, permitOf } from './guard.ts'
import { filterOf, type RecordingDeps, recordingGuards, Session, sessionOf } from './recordings.ts'

const closed = { additionalProperties: false }
const Instant = T.Union([T.Integer(), T.Null()])
const params = T.Object({ session: Session }, closed)
const Case = T.String({ minLength: 1, maxLength: 128 })
const Hold = T.Object({
  id: T.String(),
  session_id: T.String(),
  case: T.Union([T.String(), T.Null()]),
  reason: T.String(),
  set_by: T.String(),
  set_at_ms: T.Integer(),
  lifted_by: T.Union([T.String(), T.Null()]),
  lifted_at_ms: Instant,
})

/** Legal holds: of one recording, or by case. */
export function holdRoutes(app: Api, deps: RecordingDeps): void {
  const { database, audit } = deps
  const { target, own } = recordingGuards(deps)

  app.get(
    '/api/holds',
    {
      config: { guard: { point: 'admin', call: 'holds.list', target: filterOf } },
      schema: {
        summary: 'Legal holds that stand now, of one case or of all',
        querystring: T.Object({ case: T.Optional(Case) }, closed),
        response: { 200: T.Object({ items: T.Array(Hold), next: T.Null() }) },
      },
    },
    async request => ({ items: await standingHolds(database.db, request.query.case), next: null }),
  )

  app.get(
    '/api/recordings/:session/holds',
    {
      config: { guard: { point: 'admin', call: 'holds.list', target, own } },
      schema: {
        summary: 'Legal holds of a recording, the lifted ones too',
        params,
        response: { 200: T.Object({ items: T.Array(Hold), next: T.Null() }) },
      },
    },
    async request => ({ items: await listHolds(database.db, sessionOf(request)), next: null }),
  )

  app.post(
    '/api/recordings/:session/holds',
    {
      config: { guard: { point: 'admin', call: 'holds.set', target, own } },
      schema: {
        summary: 'Set a legal hold: the recording is not deleted until it is lifted',
        params,
        body: T.Object({ reason: T.String({ minLength: 1, maxLength: 1000 }), case: T.Optional(Case) }, closed),
        response: { 201: Hold },
      },
    },
    async (request, reply) => reply.code(201).send(await setHold({ ...acting(request), ...request.body })),
  )

  app.delete(
    '/api/recordings/:session/holds/:hold',
    {
      config: { guard: { point: 'admin', call: 'holds.lift', target, own } },
      schema: {
        summary: 'Lift a legal hold',
        params: T.Object({ session: Session, hold: T.String({ pattern: '^hld_[0-9a-z]{26}$' }) }, closed),
        querystring: T.Object({ reason: T.Optional(T.String({ minLength: 1, maxLength: 1000 })) }, closed),
        response: { 200: Hold },
      },
    },
    async request => liftHold({ ...acting(request), hold_id: request.params.hold, reason: request.query.reason }),
  )

  function acting(request: FastifyRequest) {
    const by = callerOf(request).facts.id
    return { database, audit, session_id: sessionOf(request), by, decision_id: permitOf(request).decision_id }
  }
}
