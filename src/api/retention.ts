import type { FastifyRequest } from 'fastify'
import { Type as T } from 'typebox'
import type { AuditWriter } from '../audit/events.ts'
import type { Erasure } from '../recording/erasure.ts'
import { checkFloor, type FloorClass, floorClasses, raiseFloor, readFloors } from '../recording/floors.ts'
import { listProposals, type Proposal, type Proposals } from '../recording/proposals.ts'
import type { Retention } from '../recording/retention.ts'
import type { Api, BaseDeps } from './deps.ts'
import { callerOf, permitOf } from './guard.ts'
import { Instant } from './pages.ts'

export interface RetentionDeps extends BaseDeps {
  readonly audit: AuditWriter
  readonly retention: Pick<Retention, 'preview'>
  readonly erasure: Pick<Erasure, 'check' | 'preview'>
  readonly proposals: Proposals
}

const closed = { additionalProperties: false }
const Reason = T.String({ minLength: 1, maxLength: 1000 })
const Subject = T.String({ pattern: '^sub_[0-9a-z]{26}$' })
const Class = T.Union(floorClasses.map(name => T.Literal(name)))
const OrNull = <S extends T.TSchema>(schema: S) => T.Union([schema, T.Null()])
const Person = T.Object({ id: T.String(), name: T.String() })
const byId = { params: T.Object({ id: T.String({ pattern: '^prp_[0-9a-z]{26}$' }) }, closed) }
const Shown = T.Object({
  id: T.String(),
  kind: T.String(),
  body: T.Record(T.String(), T.Unknown()),
  reason: T.String(),
  state: T.String(),
  proposed_by: Person,
  proposed_at_ms: T.Integer(),
  expires_at_ms: T.Integer(),
  answered_by: OrNull(Person),
  answered_at_ms: OrNull(T.Integer()),
  progress: T.Record(T.String(), T.Unknown()),
  done_at_ms: OrNull(T.Integer()),
})
const Going = T.Object({
  recording_id: T.String(),
  session_id: T.String(),
  subject: Person,
  resource: T.String(),
  bytes: T.Integer(),
  sealed_at_ms: T.Integer(),
  expires_at_ms: T.Integer(),
  keep_s: T.Integer(),
  locked_until_ms: OrNull(T.Integer()),
})

/** How long things are kept, what would go, and what two people decide together: floors and erasures. */
export function retentionRoutes(app: Api, deps: RetentionDeps): void {
  const { database, audit, retention, erasure, proposals } = deps

  const nameOf = async (id: string) => ({ id, name: (await deps.identity.subject(id))?.name ?? id })
  const shown = async (row: Proposal) => ({
    id: row.id,
    kind: row.kind,
    body: row.body,
    reason: row.reason,
    state: row.state,
    proposed_by: await nameOf(row.proposed_by),
    proposed_at_ms: row.proposed_at.getTime(),
    expires_at_ms: row.expires_at.getTime(),
    answered_by: row.answered_by === null ? null : await nameOf(row.answered_by),
    answered_at_ms: row.answered_at?.getTime() ?? null,
    progress: row.progress,
    done_at_ms: row.done_at?.getTime() ?? null,
  })

  app.get(
    '/api/retention',
    {
      config: { guard: { point: 'admin', call: 'retention.read' } },
      schema: {
        summary: 'The floors: what is kept at least, whatever policy says (seconds)',
        response: { 200: T.Object({ floors: T.Record(T.String(), T.Integer()) }) },
      },
    },
    async () => ({ floors: { ...(await readFloors(database.db)) } }),
  )

  app.get(
    '/api/retention/preview',
    {
      config: { guard: { point: 'admin', call: 'retention.preview' } },
      schema: {
        summary: 'What the next run would delete, or one at a later time; nothing is deleted',
        querystring: T.Object(
          { at_ms: Instant, limit: T.Optional(T.Integer({ minimum: 1, maximum: 10_000 })) },
          closed,
        ),
        response: {
          200: T.Object({
            at_ms: T.Integer(),
            floors: T.Record(T.String(), T.Integer()),
            recordings: T.Array(Going),
            more: T.Boolean(),
            kept: T.Record(T.String(), T.Integer()),
            logs: T.Record(T.String(), T.Unknown()),
          }),
        },
      },
    },
    async request => {
      const { recordings, kept, floors, logs, ...rest } = await retention.preview(request.query)
      const going = recordings.map(({ subject_id, subject_name, ...each }) => ({
        ...each,
        subject: { id: subject_id, name: subject_name },
      }))
      return { ...rest, recordings: going, kept: { ...kept }, floors: { ...floors }, logs: { ...logs } }
    },
  )

  app.post(
    '/api/retention/floors',
    {
      config: { guard: { point: 'admin', call: 'retention.floor', target: floorOf } },
      schema: {
        summary: 'Raise a floor at once, or propose to lower it',
        body: T.Object(
          { class: Class, keep_s: T.Integer({ minimum: 0, maximum: 3_153_600_000 }), reason: Reason },
          closed,
        ),
        response: { 200: T.Object({ proposal: OrNull(T.String()) }) },
      },
    },
    async request => {
      const { reason, ...change } = request.body as { class: FloorClass; keep_s: number; reason: string }
      const { decision_id } = permitOf(request)
      const by = callerOf(request).facts
      checkFloor(change)
      if (await raiseFloor({ database, audit, ...change, by: by.id, reason, decision_id })) return { proposal: null }
      const row = await proposals.propose(by, { kind: 'floor', body: { ...change }, reason, decision_id })
      return { proposal: row.id }
    },
  )

  app.get(
    '/api/erasures/preview',
    {
      config: { guard: { point: 'admin', call: 'erasures.preview', target: subjectOf } },
      schema: {
        summary: 'What an erasure of this person would erase; nothing is erased',
        querystring: T.Object({ subject_id: Subject }, closed),
        response: { 200: T.Record(T.String(), T.Unknown()) },
      },
    },
    async request => ({ ...(await erasure.preview(request.query.subject_id)) }),
  )

  app.post(
    '/api/erasures',
    {
      config: { guard: { point: 'admin', call: 'erasures.propose', target: subjectOf } },
      schema: {
        summary: "Propose to erase one person's content; a second person confirms it",
        body: T.Object({ subject_id: Subject, reason: Reason }, closed),
        response: { 201: Shown },
      },
    },
    async (request, reply) => {
      const { subject_id, reason } = request.body
      await erasure.check(database.db, subject_id)
      const { decision_id } = permitOf(request)
      const row = await proposals.propose(callerOf(request).facts, {
        kind: 'erasure',
        body: { subject_id },
        reason,
        decision_id,
      })
      return reply.code(201).send(await shown(row))
    },
  )

  app.get(
    '/api/proposals',
    {
      config: { guard: { point: 'admin', call: 'proposals.list' } },
      schema: {
        summary: 'What one person proposed and another confirms, newest first',
        querystring: T.Object({ pending: T.Optional(T.Boolean()) }, closed),
        response: { 200: T.Object({ items: T.Array(Shown), next: T.Null() }) },
      },
    },
    async request => ({
      items: await Promise.all((await listProposals(database.db, request.query)).map(shown)),
      next: null,
    }),
  )

  app.post(
    '/api/proposals/:id/confirm',
    {
      config: { guard: { point: 'admin', call: 'proposals.confirm', target: proposalOf } },
      schema: {
        summary: 'Confirm what somebody else proposed',
        ...byId,
        body: T.Object({}, closed),
        response: { 200: Shown },
      },
    },
    async request =>
      shown(await proposals.confirm(callerOf(request).facts, request.params.id, permitOf(request).decision_id)),
  )

  app.post(
    '/api/proposals/:id/refuse',
    {
      config: { guard: { point: 'admin', call: 'proposals.refuse', target: proposalOf } },
      schema: {
        summary: 'Refuse what was proposed, or take it back',
        ...byId,
        body: T.Object({ reason: T.Optional(Reason) }, closed),
        response: { 200: Shown },
      },
    },
    async request =>
      shown(
        await proposals.refuse(
          callerOf(request).facts,
          request.params.id,
          permitOf(request).decision_id,
          request.body.reason,
        ),
      ),
  )
}

const proposalOf = (request: FastifyRequest) => ({ proposal: (request.params as { id: string }).id })

const floorOf = (request: FastifyRequest) => {
  const { class: name, keep_s } = request.body as { class: string; keep_s: number }
  return { class: name, keep_s: String(keep_s) }
}

const subjectOf = (request: FastifyRequest) => {
  const { subject_id } = { ...(request.query as object), ...(request.body as object | null) } as { subject_id: string }
  return { subject: subject_id }
}
