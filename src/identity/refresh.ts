import { and, eq, isNotNull, isNull, sql } from 'drizzle-orm'
import type { Queryable, Tx } from '../db/database.ts'
import { type DerivedKey, open, seal } from '../keys.ts'
import { readPerson } from './claims.ts'
import { type Provider, ProviderError } from './provider.ts'
import { refreshTokens, subjects } from './schema.ts'
import { findSubject, leave, putPerson } from './subjects.ts'
import { endWebSessions } from './web-sessions.ts'

const batch = 50
const parallel = 8
const retry_s = 30

export interface RefreshDeps {
  readonly provider: Provider
  readonly key: DerivedKey
  readonly settings: { readonly groups_claim: string; readonly refresh_s: number }
  /** Runs in a transaction with the audit log at hand; tells the others after the commit when `changed`. */
  readonly commit: (subject_id: string, run: (tx: Tx) => Promise<Change>) => Promise<void>
}

/** What a refresh did to a person, for the audit log. */
export type Change =
  | { readonly changed: false }
  | { readonly changed: true; readonly why: string; readonly groups: string[]; readonly sessions_ended: boolean }

/** Keeps a person's newest refresh token, sealed; the row's subject is bound into the seal. */
export async function putRefreshToken(tx: Tx, key: DerivedKey, subject_id: string, token: string, refresh_s: number) {
  const values = {
    sealed: seal(key, token, subject_id),
    refreshed_at: sql`now()`,
    next_at: sql`now() + make_interval(secs => ${refresh_s})`,
    failures: null,
    unanswered_at: null,
  }
  await tx
    .insert(refreshTokens)
    .values({ subject_id, ...values })
    .onConflictDoUpdate({ target: refreshTokens.subject_id, set: values })
}

/**
 * Refreshes the people of `live` whose time has come. A row is claimed by moving its time on, so that replicas share the
 * work and a crash only delays it.
 */
export async function refreshGroups(db: Queryable, deps: RefreshDeps, live: readonly string[]): Promise<number> {
  if (live.length === 0) return 0
  const { refresh_s } = deps.settings
  const claimed = await db.execute<Row & Record<string, unknown>>(sql`
    update refresh_tokens r set next_at = now() + make_interval(secs => ${Math.min(retry_s, refresh_s)}),
      unanswered_at = coalesce(r.unanswered_at, now())
    from (
      select subject_id, unanswered_at is not null as lost from refresh_tokens
      where next_at <= now() and subject_id = any(${sql.param([...live])}::text[])
      order by next_at limit ${batch} for update skip locked) due
    where r.subject_id = due.subject_id
    returning r.subject_id, r.sealed, due.lost`)
  const queue = [...claimed]
  await Promise.all(
    Array.from({ length: Math.min(parallel, queue.length) }, async () => {
      for (let row = queue.pop(); row !== undefined; row = queue.pop()) await refreshOne(db, deps, row)
    }),
  )
  return claimed.length
}

/** `lost`: an earlier refresh with this token got no answer, so that the identity provider may have exchanged it. */
type Row = { readonly subject_id: string; readonly sealed: Buffer; readonly lost: boolean }

async function refreshOne(db: Queryable, deps: RefreshDeps, row: Row): Promise<void> {
  const token = open(deps.key, row.sealed, row.subject_id)?.toString('utf8')
  const facts = await findSubject(db, row.subject_id)
  if (token === undefined || facts === null) return mark(db, row, 'the refresh token cannot be opened', true)
  try {
    const fresh = await deps.provider.refresh(token, facts.subject)
    const person = readPerson(fresh.claims, deps.settings.groups_claim)
    await deps.commit(row.subject_id, async tx => {
      // the token must be kept even where the claims do not fit: the identity provider may have rotated it
      const kept = await replaceToken(tx, deps, row, fresh.refresh_token ?? token, person.ok ? null : person.message)
      if (!kept || !person.ok) return { changed: false }
      const put = await putPerson(tx, deps.provider.issuer, person.value)
      if (put?.changed !== true) return { changed: false }
      return { changed: true, why: 'refreshed', groups: put.facts.groups, sessions_ended: false }
    })
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error
    await deps.commit(row.subject_id, tx => afterFailure(tx, deps, row, error))
  }
}

/**
 * INVARIANT: only an explicit `invalid_grant` is a sign-out; a time-out, a broken line or a 5xx leaves everything as it is.
 * After a lost answer not even that is one: the token may have been exchanged there without our hearing of it, and then
 * our old one looks used or stolen. Whether the person left cannot be told, so they get nothing new until they sign in, and
 * what lives goes on while their last groups are young enough.
 */
async function afterFailure(tx: Tx, deps: RefreshDeps, row: Row, error: ProviderError): Promise<Change> {
  if (error.rotated !== undefined) {
    await replaceToken(tx, deps, row, error.rotated, error.reason)
    return { changed: false }
  }
  if (error.reason === 'invalid_grant' && error.answered)
    return row.lost ? askToSignIn(tx, row) : endAtProvider(tx, row)
  await mark(tx, row, error.reason, error.answered)
  return { changed: false }
}

/** The identity provider has ended the person's session there: it ends here, and with it what their tokens may do. */
async function endAtProvider(tx: Tx, row: Row): Promise<Change> {
  if (!(await dropToken(tx, row))) return { changed: false }
  const sessions_ended = await endWebSessions(tx, row.subject_id)
  await leave(tx, row.subject_id)
  return { changed: true, why: 'ended at the identity provider', groups: [], sessions_ended }
}

async function askToSignIn(tx: Tx, row: Row): Promise<Change> {
  if (!(await dropToken(tx, row))) return { changed: false }
  const sessions_ended = await endWebSessions(tx, row.subject_id)
  const [subject] = await tx
    .update(subjects)
    .set({ sign_in_again_at: sql`now()` })
    .where(eq(subjects.id, row.subject_id))
    .returning({ groups: subjects.groups })
  const why = 'an answer of the identity provider was lost, and it does not know the refresh token any more'
  return { changed: true, why, groups: subject?.groups ?? [], sessions_ended }
}

/** Who was to sign in again and did not while their last groups were young enough: what still lives of theirs ends. */
export async function endOverdue(db: Queryable, deps: RefreshDeps, max_groups_age_s: number): Promise<void> {
  const overdue = and(
    isNull(subjects.left_at),
    isNotNull(subjects.sign_in_again_at),
    sql`${subjects.groups_at} < now() - make_interval(secs => ${max_groups_age_s})`,
  )
  for (const { id } of await db.select({ id: subjects.id }).from(subjects).where(overdue).limit(1000)) {
    await deps.commit(id, async tx => {
      const [still] = await tx
        .select({ id: subjects.id })
        .from(subjects)
        .where(and(eq(subjects.id, id), overdue))
      if (still === undefined) return { changed: false } // signed in meanwhile
      await leave(tx, id)
      return { changed: true, why: 'groups too old, and no sign-in since', groups: [], sessions_ended: false }
    })
  }
}

/** @returns false when the person signed in anew meanwhile: that sign-in's token stands. */
async function dropToken(tx: Tx, row: Row): Promise<boolean> {
  const gone = await tx.delete(refreshTokens).where(unchanged(row)).returning({ id: refreshTokens.subject_id })
  return gone.length > 0
}

/** @returns false when the person signed in anew meanwhile: that sign-in's token stands. */
async function replaceToken(
  tx: Tx,
  deps: RefreshDeps,
  row: Row,
  token: string,
  failures: string | null,
): Promise<boolean> {
  const replaced = await tx
    .update(refreshTokens)
    .set({
      sealed: seal(deps.key, token, row.subject_id),
      failures,
      unanswered_at: null,
      next_at: sql`now() + make_interval(secs => ${deps.settings.refresh_s})`,
      ...(failures === null ? { refreshed_at: sql`now()` } : {}),
    })
    .where(unchanged(row))
    .returning({ id: refreshTokens.subject_id })
  return replaced.length > 0
}

/** @param answered whether nothing is left open by this try; what an earlier one left open stays so */
async function mark(db: Queryable, row: Row, failures: string, answered: boolean): Promise<void> {
  const settled = answered && !row.lost ? { unanswered_at: null } : {}
  await db
    .update(refreshTokens)
    .set({ failures, ...settled })
    .where(unchanged(row))
}

function unchanged(row: Row) {
  return and(eq(refreshTokens.subject_id, row.subject_id), eq(refreshTokens.sealed, row.sealed))
}
