import { desc } from 'drizzle-orm'
import { Type as T } from 'typebox'
import { revisionFailures, revisions } from '../policy/schema.ts'
import type { Api, BaseDeps } from './deps.ts'

const shown = 20
const Revision = T.Object({
  generation: T.Integer(),
  commit: T.String(),
  digest: T.String(),
  author: T.String(),
  subject_line: T.String(),
  activated_at_ms: T.Integer(),
})
const Problem = T.Object({
  file: T.Optional(T.String()),
  line: T.Optional(T.Integer()),
  code: T.String(),
  message: T.String(),
})

/** Which policy is in force, which came before, and which commits did not pass, with file and line. */
export function policyRoutes(app: Api, deps: BaseDeps): void {
  app.get(
    '/api/policy/status',
    {
      config: { guard: { point: 'admin', call: 'policy.status' } },
      schema: {
        summary: 'The active revision, its history, and commits that were refused',
        response: {
          200: T.Object({
            active: T.Union([T.Object({ generation: T.Integer(), commit: T.String(), digest: T.String() }), T.Null()]),
            stale: T.Union([T.String(), T.Null()]),
            history: T.Array(Revision),
            failures: T.Array(T.Object({ commit: T.String(), at_ms: T.Integer(), problems: T.Array(Problem) })),
          }),
        },
      },
    },
    async () => {
      const { db } = deps.database
      const { generation, commit, digest, author, subject_line, activated_at } = revisions
      const history = await db
        .select({ generation, commit, digest, author, subject_line, activated_at })
        .from(revisions)
        .orderBy(desc(generation))
        .limit(shown)
      const failures = await db.select().from(revisionFailures).orderBy(desc(revisionFailures.at)).limit(shown)
      const active = deps.engine.revision
      return {
        active: active && { generation: active.generation, commit: active.commit, digest: active.digest },
        stale: deps.engine.stale,
        history: history.map(({ activated_at, ...row }) => ({ ...row, activated_at_ms: activated_at.getTime() })),
        failures: failures.map(row => ({ commit: row.commit, at_ms: row.at.getTime(), problems: row.problems })),
      }
    },
  )
}
