import { and, count, desc, eq, gt, isNull, lt, sql } from 'drizzle-orm'
import type { Database, Queryable, Tx } from '../db/database.ts'
import { isId, newId } from '../ids.ts'
import type { IssuedToken, TokenFilter, TokenRow } from './door.ts'
import type { Caller } from './facts.ts'
import { apiTokens, subjects } from './schema.ts'
import { hashFor, isRandomText, randomText, sameHash } from './secrets.ts'
import { factsOf } from './subjects.ts'

export const tokenPrefix = 'sallyport_tok_'
const usedEvery_s = 60

/** Writes a new token. The text is returned once and stored as its hash only. */
export async function insertToken(
  tx: Tx,
  input: {
    subject_id: string
    name: string
    scopes: readonly string[]
    created_by: string
    issued_with: string | null
    expires_s: number
  },
): Promise<IssuedToken> {
  const id = newId('tok')
  const secret = randomText()
  const [row] = await tx
    .insert(apiTokens)
    .values({
      id,
      subject_id: input.subject_id,
      name: input.name,
      hash: hashFor('api-token', secret),
      scopes: [...input.scopes],
      created_by: input.created_by,
      issued_with: input.issued_with,
      expires_at: sql`now() + make_interval(secs => ${input.expires_s})`,
    })
    .returning({ expires_at: apiTokens.expires_at })
  return {
    id,
    token: `sallyport_${id}_${secret}`,
    subject_id: input.subject_id,
    expires_at_ms: row!.expires_at.getTime(),
  }
}

/** `unknown`: no such token. `refused`: the id exists, but secret, time or state do not let it in. */
export type FoundToken =
  | { readonly found: 'good'; readonly caller: Caller }
  | { readonly found: 'unknown' }
  | { readonly found: 'refused'; readonly id: string; readonly subject_id: string; readonly why: string }

export async function findToken({ db }: Database, presented: string): Promise<FoundToken> {
  const [id, secret] = splitToken(presented)
  if (id === null) return { found: 'unknown' }
  const [row] = await db
    .select({
      token: apiTokens,
      subject: subjects,
      expired: sql<boolean>`${apiTokens.expires_at} <= now()`,
      stale: sql<boolean>`coalesce(${apiTokens.used_at} < now() - make_interval(secs => ${usedEvery_s}), true)`,
    })
    .from(apiTokens)
    .innerJoin(subjects, eq(subjects.id, apiTokens.subject_id))
    .where(eq(apiTokens.id, id))
  if (row === undefined) return { found: 'unknown' }
  const why = !sameHash(hashFor('api-token', secret), row.token.hash)
    ? 'wrong secret'
    : row.token.revoked_at !== null
      ? 'revoked'
      : row.expired
        ? 'expired'
        : row.subject.disabled_at !== null
          ? 'subject disabled'
          : row.subject.left_at !== null
            ? 'subject signed out at the identity provider'
            : null
  if (why !== null) return { found: 'refused', id, subject_id: row.subject.id, why }
  if (row.stale) await db.update(apiTokens).set({ used_at: sql`now()` }).where(eq(apiTokens.id, id))
  const facts = { ...factsOf(row.subject), token: { id, scopes: row.token.scopes } }
  return { found: 'good', caller: { facts, via: 'token', credential: id } }
}

export async function listTokens({ db }: Database, filter: TokenFilter): Promise<TokenRow[]> {
  const rows = await db
    .select({ token: apiTokens, subject: { name: subjects.name, kind: subjects.kind } })
    .from(apiTokens)
    .innerJoin(subjects, eq(subjects.id, apiTokens.subject_id))
    .where(
      and(
        filter.id === undefined ? undefined : eq(apiTokens.id, filter.id),
        filter.subject_id === undefined ? undefined : eq(apiTokens.subject_id, filter.subject_id),
        filter.before === undefined ? undefined : lt(apiTokens.id, filter.before),
      ),
    )
    .orderBy(desc(apiTokens.id))
    .limit(filter.limit)
  return rows.map(({ token, subject }) => ({
    id: token.id,
    subject_id: token.subject_id,
    subject_name: subject.name,
    kind: subject.kind,
    name: token.name,
    scopes: token.scopes,
    created_by: token.created_by,
    created_at_ms: token.created_at.getTime(),
    expires_at_ms: token.expires_at.getTime(),
    revoked_at_ms: token.revoked_at?.getTime() ?? null,
    used_at_ms: token.used_at?.getTime() ?? null,
  }))
}

/**
 * Ends a token and those that were issued with it, and with those, and so on: whoever stole one keeps none of them.
 * @returns the tokens that ended now; none when there is no such token or it ended before.
 */
export async function endToken(tx: Tx, id: string): Promise<readonly { id: string; subject_id: string }[]> {
  return await tx.execute<{ id: string; subject_id: string }>(sql`
    with recursive line as (
      select id from api_tokens where id = ${id} and revoked_at is null and expires_at > now()
      union select t.id from api_tokens t join line on t.issued_with = line.id)
    update api_tokens t set revoked_at = now() from line
    where t.id = line.id and t.revoked_at is null and t.expires_at > now()
    returning t.id, t.subject_id`)
}

/** What a token still gives: its scopes; null when it was revoked or has expired. For roles that may not read its hash. */
export async function liveToken(db: Queryable, id: string): Promise<{ id: string; scopes: string[] } | null> {
  const [row] = await db
    .select({ id: apiTokens.id, scopes: apiTokens.scopes })
    .from(apiTokens)
    .where(and(eq(apiTokens.id, id), isNull(apiTokens.revoked_at), gt(apiTokens.expires_at, sql`now()`)))
  return row ?? null
}

/** How long the token still lives; null when it does not. The lock keeps it from being revoked meanwhile. */
export async function lockToken(tx: Tx, id: string): Promise<number | null> {
  const [row] = await tx
    .select({ left_s: sql<number>`floor(extract(epoch from ${apiTokens.expires_at} - now()))::int` })
    .from(apiTokens)
    .where(and(eq(apiTokens.id, id), isNull(apiTokens.revoked_at), gt(apiTokens.expires_at, sql`now()`)))
    .for('update')
  return row?.left_s ?? null
}

/** How many good tokens a subject has. Its row is locked first, so that simultaneous issues follow one another. */
export async function countTokens(tx: Tx, subject_id: string): Promise<number> {
  await tx.select({ id: subjects.id }).from(subjects).where(eq(subjects.id, subject_id)).for('no key update')
  const [row] = await tx
    .select({ n: count() })
    .from(apiTokens)
    .where(
      and(eq(apiTokens.subject_id, subject_id), isNull(apiTokens.revoked_at), gt(apiTokens.expires_at, sql`now()`)),
    )
  return row!.n
}

function splitToken(presented: string): [id: string, secret: string] | [null, null] {
  const rest = presented.slice('sallyport_'.length)
  const [id, secret] = [rest.slice(0, 30), rest.slice(31)]
  const fits = presented.startsWith(tokenPrefix) && rest[30] === '_' && isId('tok', id) && isRandomText(secret)
  return fits ? [id, secret] : [null, null]
}
