import { Type as T } from 'typebox'
import { shadowReport } from '../policy/shadow/store.ts'
import type { Api, BaseDeps } from './deps.ts'

const shownGroups = 100
const Nullable = T.Union([T.String(), T.Null()])
const Side = T.Object({
  effect: T.String(),
  code: T.String(),
  reasons: T.Array(T.Object({ rule: T.String(), at: T.String(), message: T.String() })),
})
const Group = T.Object({
  point: T.String(),
  change: T.String(),
  subject: T.Union([T.Object({ id: T.String(), name: T.String() }), T.Null()]),
  resource: Nullable,
  role: Nullable,
  before: Side,
  after: Side,
  details: T.Array(T.String()),
  count: T.Integer(),
  first_at_ms: T.Integer(),
  last_at_ms: T.Integer(),
  examples: T.Array(T.String()),
})
const Counts = T.Object({
  judged: T.Integer(),
  diverged: T.Integer(),
  skipped: T.Integer(),
  left: T.Integer(),
  processes: T.Integer(),
})
const Problem = T.Object({
  file: T.Optional(T.String()),
  line: T.Optional(T.Integer()),
  code: T.String(),
  message: T.String(),
})

/** What a candidate policy would have decided differently on live traffic. */
export function shadowRoutes(app: Api, deps: BaseDeps): void {
  app.get(
    '/api/policy/shadow',
    {
      config: { guard: { point: 'admin', call: 'policy.shadow' } },
      schema: {
        summary: 'The shadow policy: what it would decide differently from the active one, grouped, the largest first',
        querystring: T.Object(
          { limit: T.Optional(T.Integer({ minimum: 1, maximum: 2000 })) },
          { additionalProperties: false },
        ),
        response: {
          200: T.Object({
            shadow: T.Union([
              T.Object({
                number: T.Integer(),
                commit: T.String(),
                digest: Nullable,
                author: T.String(),
                subject_line: T.String(),
                problems: T.Array(Problem),
                at_ms: T.Integer(),
              }),
              T.Null(),
            ]),
            active: T.Union([T.Object({ generation: T.Integer(), commit: T.String() }), T.Null()]),
            counts: Counts,
            groups: T.Array(Group),
          }),
        },
      },
    },
    async request => {
      const revision = deps.engine.revision
      const active = revision && { generation: revision.generation, commit: revision.commit }
      const found = await shadowReport(deps.database.db, revision?.generation ?? 0, request.query.limit ?? shownGroups)
      if (found === undefined)
        return {
          shadow: null,
          active,
          counts: { judged: 0, diverged: 0, skipped: 0, left: 0, processes: 0 },
          groups: [],
        }
      const { at, ended_at: _, ...shadow } = found.shadow
      return {
        shadow: { ...shadow, at_ms: at.getTime() },
        active,
        counts: found.counts,
        groups: found.groups.map(({ number: _number, generation: _generation, key: _key, ...group }) => ({
          ...group,
          before: sideOf(group.before),
          after: sideOf(group.after),
        })),
      }
    },
  )
}

function sideOf(side: {
  effect: string
  code: string
  reasons: readonly { rule: string; at: string; message: string }[]
}) {
  return { ...side, reasons: [...side.reasons] }
}
