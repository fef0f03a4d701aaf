import { eq, sql } from 'drizzle-orm'
import type { Tx } from '../db/database.ts'
import { apiTokens, refreshTokens, slackBindings, subjects, webSessions } from './schema.ts'

/** What stands in the place of a name that was erased. */
export const erasedName = 'erased person'

/**
 * Takes the name, address and claims from a subject, and what could bring them back: the binding to the identity provider
 * and to Slack. The id stays: it is what every row and proof refers to.
 */
export async function pseudonymise(tx: Tx, id: string): Promise<void> {
  for (const table of [webSessions, refreshTokens, slackBindings] as const)
    await tx.delete(table).where(eq(table.subject_id, id))
  await tx
    .update(apiTokens)
    .set({ revoked_at: sql`coalesce(revoked_at, clock_timestamp())`, name: erasedName })
    .where(eq(apiTokens.subject_id, id))
  await tx
    .update(subjects)
    .set({
      subject: `erased:${id}`,
      name: erasedName,
      email: null,
      email_verified: 'no',
      groups: [],
      claims: {},
      disabled_at: sql`coalesce(disabled_at, clock_timestamp())`,
    })
    .where(eq(subjects.id, id))
}
