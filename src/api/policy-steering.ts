import type { FastifyRequest } from 'fastify'
import { Type as T } from 'typebox'
import { SallyportError } from '../errors.ts'
import type { Hand, Steered } from '../policy/repository/steering.ts'
import { sourcesArchive } from '../policy/revision-sources.ts'
import { listRevisions } from '../policy/revision-store.ts'
import type { Api, BaseDeps } from './deps.ts'
import { callerOf } from './guard.ts'

export interface SteeringDeps extends BaseDeps {
  /** The policy repository, as far as a hand may steer it. */
  readonly repository: {
    pin(commit: string, by: Hand): Promise<Steered>
    rollback(generation: number | undefined, by: Hand): Promise<Steered>
    unpin(by: Hand): Promise<{ readonly ended: 'recovery' | 'pin' }>
  }
  /** Makes whoever follows the repository look at it. */
  readonly webhooks: { readonly look: () => Promise<void> }
}

const maxHistory = 200
const Reason = T.String({ minLength: 1, maxLength: 1000, description: 'why; everybody reads it' })
const Generation = T.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })
const InForce = T.Object({ generation: T.Integer(), commit: T.String() })
const Revision = T.Object({
  generation: T.Integer(),
  commit: T.String(),
  digest: T.String(),
  opa_version: T.String(),
  author: T.String(),
  signer: T.Union([T.String(), T.Null()]),
  subject_line: T.String(),
  kind: T.String(),
  reused: T.Union([T.Integer(), T.Null()]),
  sources: T.Boolean(),
  activated_at_ms: T.Integer(),
  ends_at_ms: T.Union([T.Integer(), T.Null()]),
})

/** What was in force, its sources, and a hand that holds, goes back or lets go. */
export function steeringRoutes(app: Api, deps: SteeringDeps): void {
  app.get(
    '/api/policy/revisions',
    {
      config: { guard: { point: 'admin', call: 'policy.history' } },
      schema: {
        summary: 'Revisions, newest first',
        querystring: T.Object({
          limit: T.Optional(T.Integer({ minimum: 1, maximum: maxHistory })),
          before: T.Optional(Generation),
        }),
        response: { 200: T.Object({ revisions: T.Array(Revision) }) },
      },
    },
    async request => {
      const rows = await listRevisions(deps.database.db, request.query.limit ?? 20, request.query.before)
      return {
        revisions: rows.map(({ activated_at, ends_at, ...row }) => ({
          ...row,
          activated_at_ms: activated_at.getTime(),
          ends_at_ms: ends_at?.getTime() ?? null,
        })),
      }
    },
  )

  app.get(
    '/api/policy/revisions/:generation/sources',
    {
      config: { guard: { point: 'admin', call: 'policy.sources', target: generationOf } },
      schema: { summary: 'The sources of a revision, as a gzipped tar', params: T.Object({ generation: Generation }) },
    },
    async (request, reply) => {
      const found = await sourcesArchive(deps.database.db, request.params.generation)
      if (found === undefined)
        throw new SallyportError('not_found', `generation ${request.params.generation} has no sources here`, {
          remedy: 'revisions that were activated before sources were kept have none: take the commit from git',
        })
      return reply
        .type('application/gzip')
        .header('content-disposition', `attachment; filename="policy-${request.params.generation}.tar.gz"`)
        .header('x-sallyport-commit', found.commit)
        .send(found.archive)
    },
  )

  app.post(
    '/api/policy/pin',
    {
      config: { guard: { point: 'admin', call: 'policy.pin', target: async r => ({ commit: text(r, 'commit') }) } },
      schema: {
        summary: 'Put a commit into force and hold it there',
        body: T.Object({ commit: T.String({ pattern: '^[0-9a-f]{7,64}$' }), reason: Reason }),
        response: { 200: InForce },
      },
    },
    request => deps.repository.pin(request.body.commit, handOf(request, request.body.reason)),
  )

  app.post(
    '/api/policy/rollback',
    {
      config: {
        guard: { point: 'admin', call: 'policy.rollback', target: async r => ({ generation: text(r, 'generation') }) },
      },
      schema: {
        summary: 'Put what was in force before, or a generation, into force and hold it there',
        body: T.Object({ generation: T.Optional(Generation), reason: Reason }),
        response: { 200: InForce },
      },
    },
    request => deps.repository.rollback(request.body.generation, handOf(request, request.body.reason)),
  )

  app.post(
    '/api/policy/unpin',
    {
      config: { guard: { point: 'admin', call: 'policy.unpin' } },
      schema: {
        summary: 'Follow the tracked ref again, or end a recovery',
        body: T.Object({ reason: Reason }),
        response: { 200: T.Object({ ended: T.String() }) },
      },
    },
    async request => {
      const ended = await deps.repository.unpin(handOf(request, request.body.reason))
      await deps.webhooks.look().catch(() => {}) // the next poll comes anyway
      return ended
    },
  )
}

function handOf(request: FastifyRequest, reason: string): Hand {
  const { facts } = callerOf(request)
  return { subject_id: facts.id, name: facts.name, reason }
}

function generationOf(request: FastifyRequest): Record<string, string> {
  return { generation: String((request.params as { generation: number }).generation) }
}

function text(request: FastifyRequest, name: string): string {
  const value = (request.body as Record<string, unknown> | undefined)?.[name]
  return value === undefined ? '' : String(value)
}
