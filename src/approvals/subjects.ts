import { and, inArray, isNull } from 'drizzle-orm'
import type { Queryable } from '../db/database.ts'
import { subjects } from '../identity/schema.ts'
import type { SubjectFacts } from '../policy/points.ts'

/**
 * Facts of many subjects as they are now, in one query. A disabled or unknown subject is missing from the answer, and
 * what is missing gets no access.
 */
export async function loadSubjects(q: Queryable, ids: readonly string[]): Promise<Map<string, SubjectFacts>> {
  const found = new Map<string, SubjectFacts>()
  if (ids.length === 0) return found
  const rows = await q
    .select()
    .from(subjects)
    .where(and(inArray(subjects.id, [...new Set(ids)]), isNull(subjects.disabled_at)))
  for (const row of rows) {
    found.set(row.id, {
      id: row.id,
      kind: row.kind,
      issuer: row.issuer,
      subject: row.subject,
      name: row.name,
      email: row.email,
      groups: row.groups,
      groups_at_ms: row.groups_at.getTime(),
      claims: row.claims,
      on_behalf_of: null,
      token: null,
    })
  }
  return found
}
