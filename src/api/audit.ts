import type { FastifyRequest } from 'fastify'
import { Type as T } from 'typebox'
import type { LogProblem } from '../audit/guard.ts'
import { listEvents } from '../audit/list.ts'
import { publishedCheckpoint } from '../audit/places/published.ts'
import { prove, proveConsistency } from '../audit/prove.ts'
import { keysOf } from '../audit/statements.ts'
import { leaves, tileHashes } from '../audit/store.ts'
import { entryBundle, parseTilePath, tileWidth } from '../audit/tiles.ts'
import type { Api, BaseDeps } from './deps.ts'
import { sendError } from './errors.ts'
import { Instant } from './pages.ts'

const closed = { additionalProperties: false }
const Id = T.Optional(T.String({ minLength: 1, maxLength: 128 }))
const Size = T.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
const Query = T.Object(
  {
    type: Id,
    subject_id: Id,
    session_id: Id,
    resource: Id,
    from_ms: Instant,
    to_ms: Instant,
    before: T.Optional(T.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })), // a place in the log
    limit: T.Optional(T.Integer({ minimum: 1, maximum: 1000 })),
  },
  closed,
)
const Nullable = T.Union([T.String(), T.Null()])
const EventAnswer = T.Object({
  id: T.String(),
  at_ms: T.Integer(),
  type: T.String(),
  index: T.Union([T.Integer(), T.Null()]),
  writer: T.String(),
  body: T.Union([T.Record(T.String(), T.Unknown()), T.Null()]),
  subject_id: Nullable,
  session_id: Nullable,
  resource: Nullable,
})

export interface AuditDeps extends BaseDeps {
  /** `vkey`: a key of the log, which leads to the one that signs now. */
  readonly log: { readonly vkey: string; readonly problem?: () => LogProblem | null }
}

/** The audit log: events for people, checkpoint and tiles (C2SP tlog-tiles) for tools that were not written here. */
export function auditRoutes(app: Api, deps: AuditDeps): void {
  const { database } = deps

  app.get(
    '/api/audit/events',
    {
      config: { guard: { point: 'admin', call: 'audit.list', target: targetOf } },
      schema: {
        summary: 'Events of the audit log, newest first',
        querystring: Query,
        response: { 200: T.Object({ items: T.Array(EventAnswer), next: T.Union([T.Integer(), T.Null()]) }) },
      },
    },
    request => listEvents(database, request.query),
  )

  app.get(
    '/api/audit/proof/:event',
    {
      config: {
        guard: {
          point: 'admin',
          call: 'audit.prove',
          target: request => ({ event: (request.params as { event: string }).event }),
        },
      },
      schema: {
        summary: 'A proof file: the event is in the log; `sallyport verify` checks it with no network',
        params: T.Object({ event: T.String({ minLength: 1, maxLength: 64 }) }, closed),
      },
    },
    request => prove(database, deps.log.vkey, request.params.event),
  )

  app.get(
    '/api/audit/checkpoint',
    {
      config: { guard: { point: 'admin', call: 'audit.checkpoint' } },
      schema: {
        summary:
          'The newest checkpoint, a C2SP signed note, the key that verifies it, and how the log came to that key',
      },
    },
    async (_request, reply) => {
      const checkpoint = await publishedCheckpoint(database.sql)
      if (!checkpoint) return sendError(reply, 'not_ready', 'the log has no entry yet')
      const { current, notes } = await keysOf(database.sql, deps.log.vkey)
      return {
        checkpoint: checkpoint.note,
        vkey: current,
        handovers: notes,
        size: checkpoint.size,
        at_ms: checkpoint.at_ms,
      }
    },
  )

  app.get(
    '/api/audit/consistency',
    {
      config: { guard: { point: 'admin', call: 'audit.prove', target: targetOf } },
      schema: {
        summary: 'Shows that the log of one size is the beginning of the log of another; `sallyport verify` checks it',
        querystring: T.Object({ from: Size, to: T.Optional(Size) }, closed),
      },
    },
    request => proveConsistency(database, deps.log.vkey, request.query),
  )

  // the two routes that C2SP tlog-tiles asks for, with the log's prefix /log
  app.get(
    '/log/checkpoint',
    {
      config: { guard: { point: 'admin', call: 'audit.checkpoint' } },
      schema: { summary: 'The newest checkpoint as it is (tlog-tiles)' },
    },
    async (_request, reply) => {
      const checkpoint = await publishedCheckpoint(database.sql)
      if (!checkpoint) return sendError(reply, 'not_ready', 'the log has no entry yet')
      return reply.type('text/plain; charset=utf-8').header('cache-control', 'no-store').send(checkpoint.note)
    },
  )

  app.get(
    '/log/tile/*',
    {
      // who checks the whole log fetches a tile for each 256 entries
      config: {
        guard: { point: 'admin', call: 'audit.checkpoint' },
        rateLimit: { max: 12_000, timeWindow: '1 minute' },
      },
      schema: { summary: 'Hash tiles and entry bundles (tlog-tiles); entries are leaves and hold no bodies' },
    },
    async (request, reply) => {
      const address = parseTilePath(`tile/${(request.params as { '*': string })['*']}`)
      if (!address) return sendError(reply, 'not_found', 'this is no path of a tile')
      const { level, n, width } = address
      const bytes = level === 'entries' ? await entries(n, width) : await tileHashes(database.sql, level, n, width)
      if (!bytes) return sendError(reply, 'not_found', 'the log has no such tile yet')
      return reply
        .type('application/octet-stream')
        .header('cache-control', 'private, max-age=31536000, immutable')
        .send(bytes)
    },
  )

  async function entries(n: number, width: number): Promise<Buffer | null> {
    const found = await leaves(database.sql, n * tileWidth, width)
    return found && entryBundle(found)
  }
}

function targetOf(request: FastifyRequest): Record<string, string> {
  return Object.fromEntries(
    Object.entries(request.query as Record<string, unknown>).map(([name, value]) => [name, String(value)]),
  )
}
