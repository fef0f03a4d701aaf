import { asc } from 'drizzle-orm'
import type { Queryable } from '../../../db/database.ts'
import { decisionExports } from '../../schema.ts'
import { behind } from './places.ts'

/** How an export is. */
export interface ExportState {
  readonly name: string
  /** Decisions that it has not delivered. */
  readonly behind: number
  /** Age of the first of them. */
  readonly lag_s: number
  readonly exported_at_ms: number | null
  readonly failing_since_ms: number | null
  readonly last_error: string | null
  /** Somebody was told that it fails or does not come along. */
  readonly alarm: boolean
}

export async function exportStates(db: Queryable): Promise<ExportState[]> {
  const rows = await db.select().from(decisionExports).orderBy(asc(decisionExports.name)).limit(100)
  const states: ExportState[] = []
  for (const { name, seq, exported_at, failing_since, last_error, alarmed_at } of rows) {
    const { count, lag_s } = await behind(db, seq)
    states.push({
      name,
      behind: count,
      lag_s,
      exported_at_ms: exported_at?.getTime() ?? null,
      failing_since_ms: failing_since?.getTime() ?? null,
      last_error,
      alarm: alarmed_at !== null,
    })
  }
  return states
}
