import { createHmac, randomInt } from 'node:crypto'
import { and, eq, gt, isNull, sql } from 'drizzle-orm'
import type { Database, Tx } from '../db/database.ts'
import type { DerivedKey } from '../keys.ts'
import type { SlackBinding } from './door.ts'
import type { SubjectFacts } from './facts.ts'
import { slackBindings, slackLinkCodes, subjects } from './schema.ts'
import { factsOf, mayAct } from './subjects.ts'

/** No 0, O, 1, I, L, U: nothing that reads like another. 30^8 is 39 bits, for two minutes and ten tries a Slack account. */
const alphabet = '23456789ABCDEFGHJKMNPQRSTVWXYZ'
const length = 8
const lifetime_s = 120

/** Makes a code; the person's earlier ones end. Its HMAC is stored: a hash of so short a text could be searched. */
export async function insertLinkCode(
  tx: Tx,
  key: DerivedKey,
  subject_id: string,
): Promise<{ code: string; expires_at_ms: number }> {
  const code = Array.from({ length }, () => alphabet[randomInt(alphabet.length)]).join('')
  await tx.delete(slackLinkCodes).where(eq(slackLinkCodes.subject_id, subject_id))
  const [row] = await tx
    .insert(slackLinkCodes)
    .values({
      code_hash: codeHash(key, code),
      subject_id,
      expires_at: sql`now() + make_interval(secs => ${lifetime_s})`,
    })
    .returning({ expires_at: slackLinkCodes.expires_at })
  return { code, expires_at_ms: row!.expires_at.getTime() }
}

export type Bound =
  | { readonly bound: true; readonly facts: SubjectFacts; readonly replaced: SlackBinding | null }
  | { readonly bound: false; readonly why: 'unknown_code' | 'other_subject' }

/**
 * Binds the Slack account that typed the code to the person who was shown it.
 * INVARIANT: a Slack account that is bound to one person is never silently moved to another.
 */
export async function bindAccount(
  tx: Tx,
  key: DerivedKey,
  input: { team_id: string; user_id: string; code: string },
): Promise<Bound> {
  const code = input.code.trim().toUpperCase().replaceAll('-', '')
  if (code.length !== length || [...code].some(c => !alphabet.includes(c))) return { bound: false, why: 'unknown_code' }
  const [used] = await tx
    .update(slackLinkCodes)
    .set({ used_at: sql`now()` })
    .where(
      and(
        eq(slackLinkCodes.code_hash, codeHash(key, code)),
        isNull(slackLinkCodes.used_at),
        gt(slackLinkCodes.expires_at, sql`now()`),
      ),
    )
    .returning({ subject_id: slackLinkCodes.subject_id })
  if (used === undefined) return { bound: false, why: 'unknown_code' }
  const [subject] = await tx
    .select()
    .from(subjects)
    .where(and(eq(subjects.id, used.subject_id), mayAct))
    .for('update')
  if (subject === undefined) return { bound: false, why: 'unknown_code' }
  const [taken] = await tx.select().from(slackBindings).where(account(input)).for('update')
  if (taken !== undefined && taken.subject_id !== subject.id) return { bound: false, why: 'other_subject' }
  const before = await removeBinding(tx, subject.id)
  const replaced = taken === undefined ? before : null
  // two people who bind one account at the same instant: the second insert fails, and its transaction with it
  await tx.insert(slackBindings).values({ team_id: input.team_id, user_id: input.user_id, subject_id: subject.id })
  return { bound: true, facts: factsOf(subject), replaced }
}

export async function removeBinding(tx: Tx, subject_id: string): Promise<SlackBinding | null> {
  const [row] = await tx.delete(slackBindings).where(eq(slackBindings.subject_id, subject_id)).returning()
  return row === undefined ? null : bindingOf(row)
}

export async function subjectOfAccount(
  { db }: Database,
  team_id: string,
  user_id: string,
): Promise<SubjectFacts | null> {
  const [row] = await db
    .select({ subject: subjects })
    .from(slackBindings)
    .innerJoin(subjects, eq(subjects.id, slackBindings.subject_id))
    .where(and(account({ team_id, user_id }), mayAct))
  return row === undefined ? null : factsOf(row.subject)
}

export async function accountOfSubject({ db }: Database, subject_id: string): Promise<SlackBinding | null> {
  const [row] = await db.select().from(slackBindings).where(eq(slackBindings.subject_id, subject_id))
  return row === undefined ? null : bindingOf(row)
}

function account(input: { team_id: string; user_id: string }) {
  return and(eq(slackBindings.team_id, input.team_id), eq(slackBindings.user_id, input.user_id))
}

function bindingOf(row: typeof slackBindings.$inferSelect): SlackBinding {
  return { team_id: row.team_id, user_id: row.user_id, bound_at_ms: row.bound_at.getTime() }
}

function codeHash(key: DerivedKey, code: string): Buffer {
  return createHmac('sha256', key.key).update(`slack-link\0${code}`, 'utf8').digest()
}
