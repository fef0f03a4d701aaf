import { and, eq, gt, type SQL, sql } from 'drizzle-orm'
import type { Database, Tx } from '../db/database.ts'
import type { Caller } from './facts.ts'
import { subjects, webSessions } from './schema.ts'
import { hashFor, isRandomText, randomText } from './secrets.ts'
import { factsOf, mayAct } from './subjects.ts'

/** A session ends `absolute_s` after its sign-in whatever happens, and when it was not used for `idle_s`. */
export interface Lifetime {
  readonly absolute_s: number
  readonly idle_s: number
}
export type Lifetimes = Readonly<Record<'web' | 'cli', Lifetime>>

export const defaultLifetimes: Lifetimes = {
  web: { absolute_s: 12 * 3600, idle_s: 2 * 3600 },
  cli: { absolute_s: 12 * 3600, idle_s: 12 * 3600 },
}

/** How old `seen_at` may grow before a call writes it again. */
const seenEvery_s = 60
export const cliPrefix = 'sallyport_cli_'

type Kind = 'web' | 'cli'

/** Opens a session. @returns the cookie or bearer; only its hash is stored. */
export async function openWebSession(
  tx: Tx,
  input: { subject_id: string; kind: Kind; user_agent: string | undefined; lifetimes: Lifetimes },
): Promise<{ secret: string; credential: string; expires_at_ms: number }> {
  const text = randomText()
  const token_hash = hashFor(input.kind, text)
  const [row] = await tx
    .insert(webSessions)
    .values({
      token_hash,
      subject_id: input.subject_id,
      kind: input.kind,
      expires_at: sql`now() + make_interval(secs => ${input.lifetimes[input.kind].absolute_s})`,
      user_agent: input.user_agent?.replaceAll(/\p{C}/gu, '').slice(0, 256) ?? null,
    })
    .returning({ expires_at: webSessions.expires_at })
  return {
    secret: input.kind === 'cli' ? cliPrefix + text : text,
    credential: credentialOf(token_hash),
    expires_at_ms: row!.expires_at.getTime(),
  }
}

/** The caller of a live session. A cookie is good as a cookie only, a bearer as a bearer only. */
export async function findWebSession(
  { db }: Database,
  kind: Kind,
  presented: string,
  lifetimes: Lifetimes,
): Promise<Caller | null> {
  const text = textOf(kind, presented)
  if (text === null) return null
  const token_hash = hashFor(kind, text)
  const [row] = await db
    .select({
      subject: subjects,
      stale: sql<boolean>`${webSessions.seen_at} < now() - make_interval(secs => ${seenEvery_s})`,
    })
    .from(webSessions)
    .innerJoin(subjects, eq(subjects.id, webSessions.subject_id))
    .where(and(live(token_hash, kind, lifetimes), mayAct))
  if (row === undefined) return null
  if (row.stale)
    await db
      .update(webSessions)
      .set({ seen_at: sql`now()` })
      .where(live(token_hash, kind, lifetimes))
  return { facts: factsOf(row.subject), via: kind, credential: credentialOf(token_hash) }
}

/** @returns whether there was such a session. */
export async function endWebSession(tx: Tx, kind: Kind, presented: string): Promise<boolean> {
  const text = textOf(kind, presented)
  if (text === null) return false
  const gone = await tx
    .delete(webSessions)
    .where(and(eq(webSessions.token_hash, hashFor(kind, text)), eq(webSessions.kind, kind)))
    .returning({ subject_id: webSessions.subject_id })
  return gone.length > 0
}

/** Ends every session of a subject. @returns whether there was one. */
export async function endWebSessions(tx: Tx, subject_id: string): Promise<boolean> {
  const gone = await tx
    .delete(webSessions)
    .where(eq(webSessions.subject_id, subject_id))
    .returning({ kind: webSessions.kind })
  return gone.length > 0
}

/** What was seen last before this instant is idle; `kind` is the column that says which kind of session it is. */
export function idleSince(kind: SQL, { web, cli }: Lifetimes): SQL {
  return sql`now() - make_interval(secs => case ${kind} when 'cli' then ${cli.idle_s}::int else ${web.idle_s}::int end)`
}

function live(token_hash: Buffer, kind: Kind, lifetimes: Lifetimes) {
  return and(
    eq(webSessions.token_hash, token_hash),
    eq(webSessions.kind, kind),
    gt(webSessions.expires_at, sql`now()`),
    gt(webSessions.seen_at, sql`now() - make_interval(secs => ${lifetimes[kind].idle_s})`),
  )
}

function textOf(kind: Kind, presented: string): string | null {
  const text = kind === 'web' ? presented : presented.startsWith(cliPrefix) ? presented.slice(cliPrefix.length) : ''
  return isRandomText(text) ? text : null
}

function credentialOf(token_hash: Buffer): string {
  return token_hash.toString('hex').slice(0, 16)
}
