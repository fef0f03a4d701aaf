import type { FastifyRequest } from 'fastify'
import { Type as T } from 'typebox'
import type { Api, BaseDeps } from './deps.ts'
import { sendError, sendRefusal } from './errors.ts'
import { callerOf } from './guard.ts'
import { defaultLimit, pageOf, pageQuery } from './pages.ts'

const closed = { additionalProperties: false }
const Instant = T.Union([T.Integer(), T.Null()])
const Row = T.Object({
  id: T.String(),
  kind: T.String(),
  issuer: T.String(),
  name: T.String(),
  email: T.Union([T.String(), T.Null()]),
  groups: T.Array(T.String()),
  created_at_ms: T.Integer(),
  disabled_at_ms: Instant,
  left_at_ms: Instant,
})
const Subject = T.String({ pattern: '^sub_[0-9a-z]{26}$' })

/** People and machines: who is known here, and who may act. Each call is decided by the `admin` point. */
export function subjectRoutes(app: Api, deps: BaseDeps): void {
  const { identity } = deps

  app.get(
    '/api/subjects',
    {
      config: { guard: { point: 'admin', call: 'subjects.list' } },
      schema: {
        summary: 'People and machines; `name` is an id, a name or an e-mail address',
        querystring: T.Object({ name: T.Optional(T.String({ minLength: 1, maxLength: 256 })), ...pageQuery }, closed),
        response: { 200: T.Object({ items: T.Array(Row), next: T.Union([T.String(), T.Null()]) }) },
      },
    },
    async request => {
      const { name, limit = defaultLimit, cursor } = request.query
      const rows = await identity.listSubjects({ name, limit, after: cursor })
      return pageOf(
        rows.map(row => ({ ...row, groups: [...row.groups] })),
        limit,
      )
    },
  )

  for (const [what, disabled, summary] of [
    [
      'disable',
      true,
      'Disable a person or machine: what lives ends, nothing new begins, tokens and tickets stop working',
    ],
    ['enable', false, 'Enable a person or machine again; people sign in anew'],
  ] as const) {
    app.post(
      `/api/subjects/:id/${what}`,
      {
        config: {
          guard: {
            point: 'admin',
            call: `subjects.${what}`,
            target: async request => {
              const found = await identity.subject(idOf(request))
              return { id: idOf(request), ...(found === null ? {} : { name: found.name, kind: found.kind }) }
            },
          },
        },
        schema: {
          summary,
          params: T.Object({ id: Subject }, closed),
          body: T.Object({ reason: T.String({ minLength: 1, maxLength: 1000 }) }, closed),
          response: { 200: T.Object({ id: T.String(), name: T.String(), disabled: T.Boolean() }) },
        },
      },
      async (request, reply) => {
        const id = idOf(request)
        if ((await identity.subject(id)) === null)
          return sendError(
            reply,
            'not_found',
            'there is no person or machine of this id',
            'look at `sallyport subjects`',
          )
        const { reason } = request.body as { reason: string }
        const done = await identity.setDisabled(callerOf(request), id, disabled, reason)
        return done.ok ? { id, name: done.name, disabled } : sendRefusal(reply, done)
      },
    )
  }
}

const idOf = (request: FastifyRequest): string => (request.params as { id: string }).id
