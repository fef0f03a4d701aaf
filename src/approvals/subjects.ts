import { and, eq, inArray } from 'drizzle-orm'
import type { Queryable } from '../db/database.ts'
import { subjects } from '../identity/schema.ts'
import { factsOf, mayAct } from '../identity/subjects.ts'
import type { SubjectFacts } from '../policy/points.ts'

/**
 * Facts of many subjects as they are now, in one query. A subject that may not act (unknown, disabled, gone from the identity provider) is missing from the answer, and
 * what is missing gets no access.
 */
export async function loadSubjects(q: Queryable, ids: readonly string[]): Promise<Map<string, SubjectFacts>> {
  if (ids.length === 0) return new Map()
  const rows = await q
    .select()
    .from(subjects)
    .where(and(inArray(subjects.id, [...new Set(ids)]), mayAct))
  return new Map(rows.map(row => [row.id, factsOf(row)]))
}

/** One of them as they are known, also when they may not act any more: what they did is still to be looked at. */
export async function loadKnown(q: Queryable, id: string): Promise<SubjectFacts | undefined> {
  const [row] = await q.select().from(subjects).where(eq(subjects.id, id))
  return row === undefined ? undefined : factsOf(row)
}
