import { and, eq, isNull, or, sql } from 'drizzle-orm'
import type { Queryable, Tx } from '../db/database.ts'
import { newId } from '../ids.ts'
import type { Person } from './claims.ts'
import type { SubjectFacts } from './facts.ts'
import { subjects } from './schema.ts'

/** The issuer of subjects that are made here: machines. No OpenID Connect issuer can be called so (it must be a URL). */
export const ownIssuer = 'sallyport'

type Row = typeof subjects.$inferSelect

export function factsOf(row: Row): SubjectFacts {
  return {
    id: row.id,
    kind: row.kind,
    issuer: row.issuer,
    subject: row.subject,
    name: row.name,
    email: row.email,
    groups: row.groups,
    // Whoever must sign in again has groups that nobody vouches for: too old for anything new (engine.ts), whatever their age.
    groups_at_ms: row.sign_in_again_at === null ? row.groups_at.getTime() : 0,
    claims: row.claims,
    on_behalf_of: null,
    token: null,
  }
}

/** Who may act: neither disabled here nor, since the last sign-in, ended at the identity provider. */
export const mayAct = and(isNull(subjects.disabled_at), isNull(subjects.left_at))

/** Who is called so: by id, name, e-mail or as the identity provider calls them. Several may be. */
export const calledSo = (words: string) =>
  or(eq(subjects.id, words), eq(subjects.name, words), eq(subjects.email, words), eq(subjects.subject, words))

/** Facts of a subject that may act; null when unknown, disabled or gone from the identity provider. */
export async function findSubject(db: Queryable, id: string): Promise<SubjectFacts | null> {
  const [row] = await db
    .select()
    .from(subjects)
    .where(and(eq(subjects.id, id), mayAct))
  return row === undefined ? null : factsOf(row)
}

/**
 * Makes or updates the person whom claims describe.
 * INVARIANT: the key is (issuer, subject); e-mail and name are stored and shown, never matched.
 * @returns null for a person who is disabled here; `changed` when their groups or claims are other than before.
 */
export async function putPerson(
  tx: Tx,
  issuer: string,
  person: Person,
): Promise<{ facts: SubjectFacts; changed: boolean } | null> {
  const { subject, ...described } = person
  const key = and(eq(subjects.issuer, issuer), eq(subjects.subject, subject))
  await tx
    .insert(subjects)
    .values({ id: newId('sub'), kind: 'person', issuer, subject, name: person.name })
    .onConflictDoNothing({ target: [subjects.issuer, subjects.subject] })
  const [before] = await tx.select().from(subjects).where(key).for('update')
  if (before === undefined || before.disabled_at !== null) return null
  const [after] = await tx
    .update(subjects)
    .set({ ...described, groups_at: sql`now()`, left_at: null, sign_in_again_at: null })
    .where(key)
    .returning()
  return { facts: factsOf(after!), changed: differ(before, after!) }
}

/** The machine of this name, made on first use; null when a machine of this name has other groups. */
export async function putMachine(tx: Tx, name: string, groups: readonly string[]): Promise<SubjectFacts | null> {
  const wanted = [...new Set(groups)].sort()
  const key = and(eq(subjects.issuer, ownIssuer), eq(subjects.subject, `machine:${name}`))
  await tx
    .insert(subjects)
    .values({ id: newId('sub'), kind: 'machine', issuer: ownIssuer, subject: `machine:${name}`, name, groups: wanted })
    .onConflictDoNothing({ target: [subjects.issuer, subjects.subject] })
  const [row] = await tx.select().from(subjects).where(key)
  if (row === undefined || row.disabled_at !== null) return null
  return JSON.stringify(row.groups) === JSON.stringify(wanted) ? factsOf(row) : null
}

/** A person whose session at the identity provider has ended: no group is left, and nothing of theirs acts until they sign in. */
export async function leave(tx: Tx, id: string): Promise<void> {
  const gone = { groups: [], claims: {}, groups_at: sql`now()`, left_at: sql`now()`, sign_in_again_at: null }
  await tx.update(subjects).set(gone).where(eq(subjects.id, id))
}

function differ(a: Row, b: Row): boolean {
  const text = (row: Row) => JSON.stringify([row.groups, Object.entries(row.claims).sort()])
  return text(a) !== text(b)
}
