import { Readable } from 'node:stream'
import type { FastifyRequest } from 'fastify'
import { Type as T } from 'typebox'
import type { AuditWriter } from '../audit/events.ts'
import { replayPage } from '../evidence/replay-page.ts'
import type { Registry } from '../gateway/registry.ts'
import type { Caller } from '../identity/facts.ts'
import { asciicast } from '../recording/asciicast.ts'
import {
  findRecording,
  type ListedRecording,
  listRecordings,
  type RecordingFilter,
  sealIsInLog,
} from '../recording/listing.ts'
import { replayLines } from '../recording/render.ts'
import type { ReplayClient } from '../recording/replay-client.ts'
import { channelAddress } from '../recording/terminal.ts'
import type { Api, BaseDeps } from './deps.ts'
import { sendError } from './errors.ts'
import { callerOf } from './guard.ts'
import { Instant as PageInstant } from './pages.ts'
import { withReadings } from './replay-readings.ts'

export interface RecordingDeps extends BaseDeps {
  readonly audit: AuditWriter
  readonly replay: ReplayClient
  readonly registry: Pick<Registry, 'readingsOf'>
}

const closed = { additionalProperties: false }
export const Session = T.String({ pattern: '^ses_[0-9a-z]{26}$' })
const Named = T.Optional(T.String({ maxLength: 128 }))
const Instant = T.Union([T.Integer(), T.Null()])
const Flag = T.Optional(T.Boolean())
const params = T.Object({ session: Session }, closed)

const Filter = T.Object(
  {
    subject_id: Named,
    resource: Named,
    state: T.Optional(
      T.Union([T.Literal('open'), T.Literal('sealed'), T.Literal('interrupted'), T.Literal('deleted')]),
    ),
    from_ms: PageInstant,
    to_ms: PageInstant,
    before: T.Optional(T.String({ pattern: '^rec_[0-9a-z]{26}$' })),
    limit: T.Optional(T.Integer({ minimum: 1, maximum: 1000 })),
  },
  closed,
)
const Item = T.Object({
  id: T.String(),
  session_id: T.String(),
  subject: T.Object({ id: T.String(), name: T.String() }),
  resource: T.String(),
  role: T.String(),
  protocol: T.String(),
  state: T.String(),
  started_at_ms: T.Integer(),
  ended_at_ms: Instant,
  sealed_at_ms: Instant,
  deleted_at_ms: Instant,
  bytes: T.Integer(),
  holds: T.Integer(),
})
const Details = T.Object({
  recording: Item,
  settings: T.Unknown(),
  decision_id: T.String(),
  seal: T.Unknown(),
  seal_hash: T.Union([T.String(), T.Null()]),
  seal_in_log: T.Boolean(),
  receipt: T.Unknown(),
  verified: T.Unknown(),
})
const View = T.Object(
  {
    follow: Flag,
    view: T.Optional(T.Union([T.Literal('masked'), T.Literal('clear')])),
    verb: T.Optional(T.Union([T.Literal('open'), T.Literal('download'), T.Literal('export')])),
    reason: T.Optional(T.String({ maxLength: 500 })),
    /** Without the bytes of terminals and files; in the place of facts, how an event reads. */
    outline: Flag,
  },
  closed,
)
const Cast = T.Object(
  {
    /** `CHANNEL`, or `CONNECTION:CHANNEL` with the end of the connection's id. */
    channel: T.Optional(T.String({ pattern: '^(\\w{1,64}:)?\\d{1,10}$' })),
    follow: Flag,
    view: View.properties.view,
    /** `open`: to be looked at, and not to be kept. */
    verb: View.properties.verb,
    reason: View.properties.reason,
  },
  closed,
)

/** Whose recording a call is about, as its guard asks. */
export function recordingGuards({ database }: RecordingDeps) {
  const about = async (request: FastifyRequest) => findRecording(database.db, sessionOf(request))
  const target = async (request: FastifyRequest): Promise<Record<string, string>> => {
    const found = await about(request)
    return {
      session: sessionOf(request),
      ...(found === undefined ? {} : { resource: found.recording.resource, subject: found.recording.subject_id }),
    }
  }
  const own = async (request: FastifyRequest, caller: Caller) =>
    (await about(request))?.recording.subject_id === caller.facts.id
  return { about, target, own }
}

/** Recordings. What was recorded comes from the replay process, which decides `replay` itself. */
export function recordingRoutes(app: Api, deps: RecordingDeps): void {
  const { database, replay, registry } = deps
  const { about, target, own } = recordingGuards(deps)

  app.get(
    '/api/recordings',
    {
      config: { guard: { point: 'admin', call: 'recordings.list', target: filterOf, own: ownList } },
      schema: {
        summary: 'Recordings, newest first',
        querystring: Filter,
        response: { 200: T.Object({ items: T.Array(Item), next: T.Union([T.String(), T.Null()]) }) },
      },
    },
    async request => {
      const limit = request.query.limit ?? 100
      const rows = await listRecordings(database.db, { ...(request.query as RecordingFilter), limit })
      return { items: rows.map(item), next: rows.length === limit ? (rows.at(-1)?.recording.id ?? null) : null }
    },
  )

  app.get(
    '/api/recordings/:session',
    {
      config: { guard: { point: 'admin', call: 'recordings.read', target, own } },
      schema: {
        summary: 'Facts, seal and receipt of a recording; with `verify`, whether all of it verifies now',
        params,
        querystring: T.Object({ verify: Flag }, closed),
        response: { 200: Details },
      },
    },
    async (request, reply) => {
      const found = await about(request)
      if (found === undefined) return sendError(reply, 'not_found', 'there is no recording of this session')
      const { settings, decision_id, seal, seal_hash, receipt, state } = found.recording
      const verify = request.query.verify === true && state !== 'deleted'
      return {
        recording: item(found),
        settings,
        decision_id,
        seal,
        seal_hash,
        seal_in_log: await sealIsInLog(database.db, found.recording),
        receipt,
        verified: verify ? await replay.verify(callerOf(request), sessionOf(request)) : null,
      }
    },
  )

  app.get(
    '/api/recordings/:session/events',
    {
      config: { guard: { point: 'replay' } },
      schema: {
        summary:
          'The events of a recording as JSON Lines; with `follow`, a live one as it grows; with `outline`, as a page shows them',
        params,
        querystring: View,
      },
    },
    async (request, reply) => {
      const gone = new AbortController()
      reply.raw.once('close', () => gone.abort())
      const { outline, ...asked } = request.query
      const query = textsOf(asked)
      const what = outline === true ? 'outline' : 'events'
      const lines = await replay.events(callerOf(request), sessionOf(request), query, gone.signal, what)
      const sent = outline === true ? Readable.from(withReadings(lines as AsyncIterable<Uint8Array>, registry)) : lines
      return reply.type('application/x-ndjson').header('cache-control', 'no-store').send(sent)
    },
  )

  app.get(
    '/api/recordings/:session/asciicast',
    {
      config: { guard: { point: 'replay' } },
      schema: {
        summary: 'One terminal of a recording as asciicast v2',
        params,
        querystring: Cast,
      },
    },
    async (request, reply) => {
      const gone = new AbortController()
      reply.raw.once('close', () => gone.abort())
      const { channel, ...view } = request.query
      const query = { verb: 'export', ...textsOf(view) }
      const lines = await replay.events(callerOf(request), sessionOf(request), query, gone.signal)
      const cast = asciicast(replayLines(lines as AsyncIterable<Uint8Array>), {
        channel: channel === undefined ? undefined : channelAddress(channel),
      })
      // The first line is awaited, so that a recording without a terminal is an answer and not half of one.
      const first = await cast.next()
      const whole = async function* () {
        if (!first.done) yield first.value
        yield* cast
      }
      return reply
        .type('application/x-asciicast')
        .header('cache-control', 'no-store')
        .header(
          'content-disposition',
          query.verb === 'open' ? 'inline' : `attachment; filename="${sessionOf(request)}.cast"`,
        )
        .send(Readable.from(whole()))
    },
  )

  app.get(
    '/api/recordings/:session/html',
    {
      config: { guard: { point: 'replay' } },
      schema: {
        summary: 'A recording as one HTML page that runs and loads nothing',
        params,
        querystring: T.Object({ view: View.properties.view, reason: View.properties.reason }, closed),
      },
    },
    async (request, reply) => {
      const gone = new AbortController()
      reply.raw.once('close', () => gone.abort())
      const query = { verb: 'export', ...textsOf(request.query) }
      const lines = await replay.events(callerOf(request), sessionOf(request), query, gone.signal)
      return reply
        .type('text/html; charset=utf-8')
        .header('cache-control', 'no-store')
        .header('content-disposition', `attachment; filename="${sessionOf(request)}.html"`)
        .send(
          Readable.from(replayPage(replayLines(lines as AsyncIterable<Uint8Array>), name => registry.readingsOf(name))),
        )
    },
  )
}

const textsOf = (query: object): Record<string, string> =>
  Object.fromEntries(Object.entries(query).map(([name, value]) => [name, String(value)]))

export const sessionOf = (request: FastifyRequest): string => (request.params as { session: string }).session

export function filterOf(request: FastifyRequest): Record<string, string> {
  const target: Record<string, string> = {}
  for (const [name, value] of Object.entries(request.query as Record<string, unknown>)) target[name] = String(value)
  return target
}

const ownList = (request: FastifyRequest, caller: Caller): boolean =>
  (request.query as { subject_id?: string }).subject_id === caller.facts.id

function item({ recording, holds }: ListedRecording) {
  const { id, session_id, subject_id, subject_name, resource, role, protocol, state, bytes } = recording
  return {
    id,
    session_id,
    subject: { id: subject_id, name: subject_name },
    resource,
    role,
    protocol,
    state,
    started_at_ms: recording.started_at.getTime(),
    ended_at_ms: recording.ended_at?.getTime() ?? null,
    sealed_at_ms: recording.sealed_at?.getTime() ?? null,
    deleted_at_ms: recording.deleted_at?.getTime() ?? null,
    bytes,
    holds,
  }
}
