import { and, eq, inArray, sql } from 'drizzle-orm'
import type { Queryable, Tx } from '../db/database.ts'
import { type DerivedKey, open, seal } from '../keys.ts'
import { readPerson } from './claims.ts'
import { type Provider, ProviderError } from './provider.ts'
import { refreshTokens, webSessions } from './schema.ts'
import { findSubject, leave, putPerson } from './subjects.ts'

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
  const due = db
    .select({ id: refreshTokens.subject_id })
    .from(refreshTokens)
    .where(
      and(
        sql`${refreshTokens.next_at} <= now()`,
        sql`${refreshTokens.subject_id} = any(${sql.param([...live])}::text[])`,
      ),
    )
    .orderBy(refreshTokens.next_at)
    .limit(batch)
    .for('update', { skipLocked: true })
  const claimed = await db
    .update(refreshTokens)
    .set({ next_at: sql`now() + make_interval(secs => ${Math.min(retry_s, deps.settings.refresh_s)})` })
    .where(inArray(refreshTokens.subject_id, due))
    .returning({ subject_id: refreshTokens.subject_id, sealed: refreshTokens.sealed })
  const queue = [...claimed]
  await Promise.all(
    Array.from({ length: Math.min(parallel, queue.length) }, async () => {
      for (let row = queue.pop(); row !== undefined; row = queue.pop()) await refreshOne(db, deps, row)
    }),
  )
  return claimed.length
}

type Row = { readonly subject_id: string; readonly sealed: Buffer }

async function refreshOne(db: Queryable, deps: RefreshDeps, row: Row): Promise<void> {
  const token = open(deps.key, row.sealed, row.subject_id)?.toString('utf8')
  const facts = await findSubject(db, row.subject_id)
  if (token === undefined || facts === null) return mark(db, row, 'the refresh token cannot be opened')
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
    if (error.reason !== 'invalid_grant') return mark(db, row, error.reason)
    await deps.commit(row.subject_id, tx => endAtProvider(tx, row))
  }
}

/** The identity provider has ended the person's session there: it ends here, and with it what their tokens may do. */
async function endAtProvider(tx: Tx, row: Row): Promise<Change> {
  const gone = await tx.delete(refreshTokens).where(unchanged(row)).returning({ id: refreshTokens.subject_id })
  if (gone.length === 0) return { changed: false } // signed in anew meanwhile
  const ended = await tx
    .delete(webSessions)
    .where(eq(webSessions.subject_id, row.subject_id))
    .returning({ kind: webSessions.kind })
  await leave(tx, row.subject_id)
  return { changed: true, why: 'ended at the identity provider', groups: [], sessions_ended: ended.length > 0 }
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
      next_at: sql`now() + make_interval(secs => ${deps.settings.refresh_s})`,
      ...(failures === null ? { refreshed_at: sql`now()` } : {}),
    })
    .where(unchanged(row))
    .returning({ id: refreshTokens.subject_id })
  return replaced.length > 0
}

async function mark(db: Queryable, row: Row, failures: string): Promise<void> {
  await db.update(refreshTokens).set({ failures }).where(unchanged(row))
}

function unchanged(row: Row) {
  return and(eq(refreshTokens.subject_id, row.subject_id), eq(refreshTokens.sealed, row.sealed))
}
