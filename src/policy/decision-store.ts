import { and, desc, eq, gte, lt, type SQL } from 'drizzle-orm'
import type { Queryable } from '../db/database.ts'
import { decisions } from './schema.ts'

export type StoredDecision = typeof decisions.$inferSelect

export interface DecisionFilter {
  readonly subject_id?: string | undefined
  readonly resource?: string | undefined
  readonly session_id?: string | undefined
  readonly request_id?: string | undefined
  readonly point?: string | undefined
  readonly effect?: StoredDecision['effect'] | undefined
  readonly from_ms?: number | undefined
  readonly to_ms?: number | undefined
  readonly limit?: number | undefined
}

export async function getDecision(db: Queryable, id: string): Promise<StoredDecision | undefined> {
  return (await db.select().from(decisions).where(eq(decisions.id, id)))[0]
}

/** Newest first; at most 1,000. */
export async function listDecisions(db: Queryable, filter: DecisionFilter): Promise<StoredDecision[]> {
  const same = (['subject_id', 'resource', 'session_id', 'request_id', 'point'] as const).flatMap(name => {
    const value = filter[name]
    return value === undefined ? [] : [eq(decisions[name], value)]
  })
  const conditions: SQL[] = [...same]
  if (filter.effect !== undefined) conditions.push(eq(decisions.effect, filter.effect))
  if (filter.from_ms !== undefined) conditions.push(gte(decisions.at_ms, filter.from_ms))
  if (filter.to_ms !== undefined) conditions.push(lt(decisions.at_ms, filter.to_ms))
  const limit = Math.max(1, Math.min(filter.limit ?? 100, 1000))
  return db
    .select()
    .from(decisions)
    .where(and(...conditions))
    .orderBy(desc(decisions.at_ms), desc(decisions.id))
    .limit(limit)
}
