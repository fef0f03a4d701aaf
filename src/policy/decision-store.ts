import { and, asc, desc, eq, getTableColumns, gte, lt, or, type SQL, sql } from 'drizzle-orm'
import type { Database, Queryable } from '../db/database.ts'
import { SallyportError } from '../errors.ts'
import { ruleQuery, wordQuery } from './decision-words.ts'
import { decisions, revisions } from './schema.ts'

const { words: _, seq: __, ...columns } = getTableColumns(decisions)

/** A decision as it is read: all but what it is searched and exported by. */
export type StoredDecision = Omit<typeof decisions.$inferSelect, 'words' | 'seq'>

export interface DecisionFilter {
  /** Any of these subjects; none of them where it is empty. */
  readonly subject_ids?: readonly string[] | undefined
  readonly subject_id?: string | undefined
  readonly resource?: string | undefined
  readonly session_id?: string | undefined
  readonly request_id?: string | undefined
  readonly point?: string | undefined
  readonly effect?: StoredDecision['effect'] | undefined
  /** Id of a rule that stands among the reasons. */
  readonly rule?: string | undefined
  /** A generation, or a commit or its beginning. */
  readonly revision?: string | undefined
  /** Words that the input or the reasons hold, all of them; the last one may be only begun. */
  readonly text?: string | undefined
  readonly from_ms?: number | undefined
  readonly to_ms?: number | undefined
}

/** Where a page ends: time and id of its last decision. */
export interface DecisionPlace {
  readonly at_ms: number
  readonly id: string
}

export interface DecisionPage {
  readonly items: StoredDecision[]
  readonly next: DecisionPlace | null
}

const longestSearch_ms = 5_000
const longestPage = 1_000

export async function getDecision(db: Queryable, id: string): Promise<StoredDecision | undefined> {
  return (await db.select(columns).from(decisions).where(eq(decisions.id, id)))[0]
}

/** The newest decisions that fit, without a bound on the time that it takes. */
export async function listDecisions(
  db: Queryable,
  filter: DecisionFilter & { readonly limit?: number | undefined },
): Promise<StoredDecision[]> {
  return newest(db, await conditionsOf(db, filter), Math.max(1, Math.min(filter.limit ?? 100, longestPage)))
}

/**
 * A page of the log, newest first.
 * @param after the end of the page before.
 * @throws SallyportError `bad_request` for a search that the database cannot answer within seconds.
 */
export async function searchDecisions(
  database: Database,
  filter: DecisionFilter,
  limit: number,
  after?: DecisionPlace,
): Promise<DecisionPage> {
  try {
    return await database.db.transaction(
      async tx => {
        await tx.execute(sql.raw(`set local statement_timeout = ${longestSearch_ms}`))
        const conditions = await conditionsOf(tx, filter)
        if (after !== undefined)
          conditions.push(sql`(${decisions.at_ms}, ${decisions.id}) < (${after.at_ms}::bigint, ${after.id})`)
        const items = await newest(tx, conditions, limit)
        const last = items.at(-1)
        return { items, next: last === undefined || items.length < limit ? null : { at_ms: last.at_ms, id: last.id } }
      },
      { accessMode: 'read only' },
    )
  } catch (error) {
    if (((error as { cause?: { code?: string } }).cause ?? (error as { code?: string })).code !== '57014') throw error
    throw new SallyportError('bad_request', `this search takes longer than ${longestSearch_ms / 1000} s`, {
      remedy: 'narrow it down: by time, subject, resource or session',
      cause: error,
    })
  }
}

/** All decisions that fit, oldest first, a bounded number at once: a reader that is slow holds nothing open. */
export async function* readDecisions(db: Queryable, filter: DecisionFilter): AsyncGenerator<StoredDecision[]> {
  const conditions = await conditionsOf(db, filter)
  for (let after: DecisionPlace | undefined; ; ) {
    const place = after
    const rows = await db
      .select(columns)
      .from(decisions)
      .where(
        and(...conditions, place && sql`(${decisions.at_ms}, ${decisions.id}) > (${place.at_ms}::bigint, ${place.id})`),
      )
      .orderBy(asc(decisions.at_ms), asc(decisions.id))
      .limit(longestPage)
    if (rows.length > 0) yield rows
    const last = rows.at(-1)
    if (last === undefined || rows.length < longestPage) return
    after = last
  }
}

function newest(db: Queryable, conditions: readonly SQL[], limit: number): Promise<StoredDecision[]> {
  return db
    .select(columns)
    .from(decisions)
    .where(and(...conditions))
    .orderBy(desc(decisions.at_ms), desc(decisions.id))
    .limit(limit)
}

async function conditionsOf(db: Queryable, filter: DecisionFilter): Promise<SQL[]> {
  const names = ['subject_id', 'resource', 'session_id', 'request_id', 'point', 'effect'] as const
  const conditions: SQL[] = names.flatMap(name => {
    const value = filter[name]
    return value === undefined ? [] : [eq(decisions[name], value)]
  })
  const { subject_ids, rule, revision, text, from_ms, to_ms } = filter
  if (subject_ids !== undefined) conditions.push(anyOf(decisions.subject_id, subject_ids))
  if (rule !== undefined) conditions.push(sql`${decisions.words} @@ ${ruleQuery(rule)}::tsquery`)
  const query = text === undefined ? undefined : wordQuery(text)
  if (query !== undefined) conditions.push(query === null ? sql`false` : sql`${decisions.words} @@ ${query}::tsquery`)
  if (revision !== undefined) conditions.push(anyOf(decisions.generation, await generationsOf(db, revision)))
  if (from_ms !== undefined) conditions.push(gte(decisions.at_ms, from_ms))
  if (to_ms !== undefined) conditions.push(lt(decisions.at_ms, to_ms))
  return conditions
}

/** One value is compared as such: the planner then reads an index of it in its order, and not all that it holds. */
function anyOf<T extends typeof decisions.subject_id | typeof decisions.generation>(
  column: T,
  values: readonly T['_']['data'][],
): SQL {
  if (values.length === 0) return sql`false`
  return values.length === 1 ? eq(column, values[0]!) : or(...values.map(value => eq(column, value)))!
}

/** @returns none for a text that names no revision. */
async function generationsOf(db: Queryable, revision: string): Promise<number[]> {
  if (/^\d{1,9}$/.test(revision)) return [Number(revision)]
  if (!/^[0-9a-f]{7,64}$/.test(revision)) return []
  const rows = await db
    .select({ generation: revisions.generation })
    .from(revisions)
    .where(sql`starts_with(${revisions.commit}, ${revision})`)
    .limit(100)
  return rows.map(row => row.generation)
}
