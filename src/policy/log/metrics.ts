import { sql } from 'drizzle-orm'
import { Gauge, register } from 'prom-client'
import type { Database } from '../../db/database.ts'
import { processes } from '../../db/schema.ts'
import type { DecisionLogState } from './decision-log.ts'

export interface ProcessLog {
  readonly id: string
  readonly role: string
  readonly state: DecisionLogState
}

/** What living processes last said of their logs. */
export async function decisionLogs({ db }: Database): Promise<ProcessLog[]> {
  const rows = await db
    .select({ id: processes.id, role: processes.role, facts: processes.facts })
    .from(processes)
    .where(sql`${processes.heartbeat_at} > clock_timestamp() - interval '1 minute' and ${processes.ready} <> 'stopped'`)
    .limit(1000)
  return rows.flatMap(({ id, role, facts }) => {
    const state = facts['decisions'] as DecisionLogState | undefined
    return state === undefined ? [] : [{ id, role, state }]
  })
}

type Label = 'process' | 'role'

/** How far the log of each living process is behind, on control's `/metrics`: gateways have none of their own. */
export function countDecisionLogs(logs: readonly ProcessLog[]): void {
  const numbers = [
    gauge('sallyport_decision_log_waiting', 'Decisions that a process has not written to the database yet'),
    gauge('sallyport_decision_log_oldest_seconds', 'How long the oldest of them has waited'),
    gauge(
      'sallyport_decision_log_refused',
      'Decisions that could not be queued since the process began, and were denied',
    ),
    gauge('sallyport_decision_log_alarm', '1: somebody must look at the decision log of this process'),
  ] as const
  for (const each of numbers) each.reset() // of processes that are gone nothing is said
  for (const { id: process, role, state } of logs) {
    const values = [state.waiting, state.oldest_s, state.refused, state.alarm === null ? 0 : 1]
    for (const [i, each] of numbers.entries()) each.set({ process, role }, values[i]!)
  }
}

function gauge(name: string, help: string): Gauge<Label> {
  const known = register.getSingleMetric(name) as Gauge<Label> | undefined
  return known ?? new Gauge({ name, help, labelNames: ['process', 'role'] })
}
