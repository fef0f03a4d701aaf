import { desc, sql } from 'drizzle-orm'
import { Type as T } from 'typebox'
import type { Queryable } from '../db/database.ts'
import { processes } from '../db/schema.ts'
import { type PolicyState, readState } from '../policy/repository/policy-state.ts'
import { listRefusals, listRevisions } from '../policy/revision-store.ts'
import type { Api, BaseDeps } from './deps.ts'

const shown = 20
const Revision = T.Object({
  generation: T.Integer(),
  commit: T.String(),
  digest: T.String(),
  author: T.String(),
  signer: T.Union([T.String(), T.Null()]),
  subject_line: T.String(),
  kind: T.String(),
  activated_at_ms: T.Integer(),
})
const Nullable = T.Union([T.String(), T.Null()])
/** What holds the policy, in words for people. */
const Held = T.Object({
  kind: T.String(), // pinned, rolled_back or recovery
  generation: T.Union([T.Integer(), T.Null()]),
  commit: Nullable,
  by: Nullable,
  reason: Nullable,
  ends_at_ms: T.Union([T.Integer(), T.Null()]),
})
const Running = T.Object({
  id: T.String(),
  role: T.String(),
  host: T.String(),
  pid: T.Integer(),
  generation: T.Union([T.Integer(), T.Null()]),
  ready: T.String(),
  silent_ms: T.Integer(),
})
const Problem = T.Object({
  file: T.Optional(T.String()),
  line: T.Optional(T.Integer()),
  code: T.String(),
  message: T.String(),
})

/** Which policy is in force, which came before, and which commits did not pass, with file and line. */
export function policyRoutes(app: Api, deps: BaseDeps): void {
  /** Whom people know by a name, with the id that the log has. */
  const nameOf = async (id: string | null) => {
    const [found] = id === null ? [] : await deps.identity.listSubjects({ name: id, limit: 1 })
    return found === undefined ? id : `${found.name} (${found.id})`
  }

  app.get(
    '/api/policy/status',
    {
      config: { guard: { point: 'admin', call: 'policy.status' } },
      schema: {
        summary: 'The active revision and who runs it, what holds it, its history, and commits that were refused',
        response: {
          200: T.Object({
            active: T.Union([T.Object({ generation: T.Integer(), commit: T.String(), digest: T.String() }), T.Null()]),
            stale: T.Union([T.String(), T.Null()]),
            tracked: T.Object({
              ref: T.String(),
              head: Nullable,
              followed: Nullable,
              looked_at_ms: T.Union([T.Integer(), T.Null()]),
              current_at_ms: T.Union([T.Integer(), T.Null()]),
              problem: Nullable,
            }),
            held: T.Array(Held),
            processes: T.Array(Running),
            history: T.Array(Revision),
            failures: T.Array(T.Object({ commit: T.String(), at_ms: T.Integer(), problems: T.Array(Problem) })),
          }),
        },
      },
    },
    async () => {
      const { db } = deps.database
      const [history, failures, state, running] = [
        await listRevisions(db, shown),
        await listRefusals(db, shown),
        await readState(db),
        await runningNow(db),
      ]
      const active = deps.engine.revision
      const { head, followed, looked_at, current_at, problem } = state
      return {
        active: active && { generation: active.generation, commit: active.commit, digest: active.digest },
        stale: deps.engine.stale,
        tracked: {
          ref: deps.config.policy?.ref ?? '',
          head,
          followed,
          looked_at_ms: looked_at?.getTime() ?? null,
          current_at_ms: current_at?.getTime() ?? null,
          problem,
        },
        held: heldBy(state, await nameOf(state.pinned_by)),
        processes: running,
        history: history.map(({ activated_at, ...row }) => ({ ...row, activated_at_ms: activated_at.getTime() })),
        failures: failures.map(row => ({ commit: row.commit, at_ms: row.at.getTime(), problems: row.problems })),
      }
    },
  )
}

function heldBy(state: PolicyState, pinnedBy: string | null) {
  const pin = {
    kind: state.pinned_kind ?? 'pinned',
    generation: state.pinned_generation,
    commit: state.pinned,
    by: pinnedBy,
    reason: state.pin_reason,
    ends_at_ms: null,
  }
  const recovery = {
    kind: 'recovery',
    generation: state.recovery_generation,
    commit: null,
    by: state.recovery_by,
    reason: state.recovery_reason,
    ends_at_ms: state.recovery_ends_at?.getTime() ?? null,
  }
  return [...(state.recovery_generation === null ? [] : [recovery]), ...(state.pinned === null ? [] : [pin])]
}

/** Which revision each process says that it runs, and for how long it has said nothing. */
async function runningNow(db: Queryable) {
  const { id, role, host, pid, generation, ready, heartbeat_at, started_at } = processes
  const silent = sql<string>`(extract(epoch from clock_timestamp() - ${heartbeat_at}) * 1000)::bigint::text`
  const rows = await db
    .select({ id, role, host, pid, generation, ready, silent })
    .from(processes)
    .where(sql`${heartbeat_at} > clock_timestamp() - interval '10 minutes' and ${ready} <> 'stopped'`)
    .orderBy(role, desc(started_at))
    .limit(200)
  return rows.map(({ silent, ...row }) => ({ ...row, silent_ms: Math.max(0, Number(silent)) }))
}
