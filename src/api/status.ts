import { desc, sql } from 'drizzle-orm'
import { Type as T } from 'typebox'
import type { LogProblem } from '../audit/guard.ts'
import { placeStates } from '../audit/places/state.ts'
import { latestCheckpoint } from '../audit/store.ts'
import { processes } from '../db/schema.ts'
import type { DecisionLogState } from '../policy/log/decision-log.ts'
import { exportStates } from '../policy/log/export/state.ts'
import { readState } from '../policy/repository/policy-state.ts'
import type { JournalState } from '../recording/journal.ts'
import type { Api, BaseDeps } from './deps.ts'

const Revision = T.Object({
  generation: T.Integer(),
  commit: T.String(),
  digest: T.String(),
  activated_at_ms: T.Integer(),
})

const ProcessAnswer = T.Object({
  id: T.String(),
  role: T.String(),
  host: T.String(),
  pid: T.Integer(),
  ready: T.String(),
  generation: T.Union([T.Integer(), T.Null()]),
  heartbeat_at_ms: T.Integer(),
  /** Of the decisions that it makes: how many are not in the database yet, and why somebody must look. */
  decisions: T.Union([
    T.Object({
      waiting: T.Integer(),
      oldest_s: T.Integer(),
      refused: T.Integer(),
      alarm: T.Union([T.String(), T.Null()]),
    }),
    T.Null(),
  ]),
  /** Of a gateway: how it records. */
  journal: T.Union([
    T.Object({
      spool_bytes: T.Integer(),
      spool_max_bytes: T.Integer(),
      parts_waiting: T.Integer(),
      failing_s: T.Integer(),
      unavailable: T.Union([T.String(), T.Null()]),
      alarm: T.Union([T.String(), T.Null()]),
    }),
    T.Null(),
  ]),
  /** Of a gateway, by protocol: what it is built with. */
  builds: T.Record(T.String(), T.Record(T.String(), T.String())),
})

/** Of a process that has been silent for so long nothing is known. */
const silent_ms = 15_000

const Export = T.Object({
  name: T.String(),
  behind: T.Integer(), // decisions that it has not delivered
  lag_s: T.Integer(), // age of the first of them
  exported_at_ms: T.Union([T.Integer(), T.Null()]),
  failing_since_ms: T.Union([T.Integer(), T.Null()]),
  last_error: T.Union([T.String(), T.Null()]),
  alarm: T.Boolean(), // it fails, or does not come along, for so long that somebody was told
})

const LogAnswer = T.Object({
  size: T.Integer(),
  checkpoint_at_ms: T.Union([T.Integer(), T.Null()]),
  /** Why nothing is signed, where this process knows of a reason. */
  problem: T.Union([T.String(), T.Null()]),
  places: T.Array(
    T.Object({
      name: T.String(),
      kind: T.String(),
      size: T.Integer(),
      behind_entries: T.Integer(),
      behind_s: T.Number(),
      failing_s: T.Number(),
      error: T.Union([T.String(), T.Null()]),
    }),
  ),
})

const Answer = T.Object({
  deployment: T.String(),
  development: T.Boolean(),
  revision: T.Union([Revision, T.Null()]),
  processes: T.Array(ProcessAnswer),
  exports: T.Array(Export),
  log: LogAnswer,
  promises: T.Array(T.String()),
})

/** What who asks reads. */
export type StatusAnswer = T.Static<typeof Answer>

export interface StatusDeps extends BaseDeps {
  readonly log?: { readonly problem?: () => LogProblem | null }
  readonly status: {
    readonly development: boolean
    /** What this deployment does not promise, in sentences. */
    readonly promises: readonly string[]
  }
}

/** What runs, which revision each process enforces, and what this deployment does not promise. */
export function statusRoutes(app: Api, deps: StatusDeps): void {
  app.get(
    '/api/status',
    {
      config: { guard: { point: 'admin', call: 'status.read' } },
      schema: {
        summary: 'Revision, processes, and what this deployment does not promise',
        response: {
          200: Answer,
        },
      },
    },
    async () => {
      const rows = await deps.database.db
        .select()
        .from(processes)
        .where(
          sql`${processes.heartbeat_at} > clock_timestamp() - interval '10 minutes' and ${processes.ready} <> 'stopped'`,
        )
        .orderBy(processes.role, desc(processes.started_at))
        .limit(200)
      const { revision } = deps.engine
      const state = await readState(deps.database.db)
      const held =
        state.recovery_generation === null
          ? []
          : [
              `a RECOVERY policy is in force until ${state.recovery_ends_at?.toISOString()}, put there by ${state.recovery_by}: ${state.recovery_reason}`,
            ]
      const checkpoint = await latestCheckpoint(deps.database.sql)
      return {
        log: {
          size: checkpoint?.size ?? 0,
          checkpoint_at_ms: checkpoint?.at_ms ?? null,
          problem: deps.log?.problem?.()?.message ?? null,
          places: await placeStates(deps.database.sql),
        },
        deployment: deps.config.deployment,
        development: deps.status.development,
        revision: revision === null ? null : { ...revision },
        processes: rows.map(({ id, role, host, pid, ready, generation, heartbeat_at, facts }) => ({
          id,
          role,
          host,
          pid,
          ready,
          generation,
          heartbeat_at_ms: heartbeat_at.getTime(),
          decisions:
            deps.now() - heartbeat_at.getTime() > silent_ms
              ? null
              : ((facts['decisions'] ?? null) as DecisionLogState | null),
          journal:
            deps.now() - heartbeat_at.getTime() > silent_ms
              ? null
              : ((facts['journal'] ?? null) as JournalState | null),
          builds: (facts['builds'] ?? {}) as Record<string, Record<string, string>>,
        })),
        exports: await exportStates(deps.database.db),
        promises: [...held, ...deps.status.promises],
      }
    },
  )
}
