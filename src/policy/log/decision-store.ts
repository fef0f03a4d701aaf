import { and, eq, type SQL, sql } from 'drizzle-orm'
import type { Database, Queryable } from '../../db/database.ts'
import { SallyportError } from '../../errors.ts'
import { decisions } from '../schema.ts'
import { actionDecision, actionPage } from './action-pages.ts'
import {
  type Asked,
  columnsOf,
  compare,
  conditionsOf,
  type DecisionFilter,
  type DecisionPlace,
  isUnstorable,
  orderOf,
  resolved,
  type StoredDecision,
  wordConditions,
} from './decision-filter.ts'

export type { DecisionFilter, DecisionPlace, StoredDecision } from './decision-filter.ts'

export interface DecisionPage {
  readonly items: StoredDecision[]
  readonly next: DecisionPlace | null
}

const longestSearch_ms = 5_000
/** More at once would take the connections that everything else needs. */
const mostSearches = 6
let searches = 0
const longestPage = 1_000

export async function getDecision(db: Queryable, id: string): Promise<StoredDecision | undefined> {
  const [row] = await db.select(columnsOf(decisions)).from(decisions).where(eq(decisions.id, id))
  return row ?? actionDecision(db, id)
}

/** The newest decisions that fit, without a bound on the time that it takes. */
export async function listDecisions(
  db: Queryable,
  filter: DecisionFilter & { readonly limit?: number | undefined },
): Promise<StoredDecision[]> {
  const limit = Math.max(1, Math.min(filter.limit ?? 100, longestPage))
  return page(db, { filter: await resolved(db, filter), order: 'newest', limit })
}

/**
 * A page of the log, newest first.
 * @param after the end of the page before.
 * @throws SallyportError `bad_request` for a search that the database cannot answer within seconds, `rate_limited` where
 *   many are going on.
 */
export async function searchDecisions(
  database: Database,
  filter: DecisionFilter,
  limit: number,
  after?: DecisionPlace,
): Promise<DecisionPage> {
  if (searches >= mostSearches)
    throw new SallyportError('rate_limited', 'many others search the decision log just now', {
      remedy: 'try again in some seconds',
    })
  searches++
  try {
    return await database.db.transaction(
      async tx => {
        const until = performance.now() + longestSearch_ms
        const goOn = () => {
          if (performance.now() > until) throw new TooLong()
        }
        await tx.execute(sql.raw(`set local statement_timeout = ${longestSearch_ms}`))
        const items = await page(tx, { filter: await resolved(tx, filter), order: 'newest', limit, after, goOn })
        const last = items.at(-1)
        return { items, next: last === undefined || items.length < limit ? null : { at_ms: last.at_ms, id: last.id } }
      },
      { accessMode: 'read only' },
    )
  } catch (error) {
    const { code } = (error as { cause?: { code?: string } }).cause ?? (error as { code?: string })
    if (code !== '57014' && !(error instanceof TooLong)) throw error
    throw new SallyportError('bad_request', `this search takes longer than ${longestSearch_ms / 1000} s`, {
      remedy: 'narrow it down: by time, subject, resource or session',
      cause: error,
    })
  } finally {
    searches--
  }
}

/** Many statements, each in its time, and together beyond it. */
class TooLong extends Error {}

/** All decisions that fit, oldest first, a bounded number at once: a reader that is slow holds nothing open. */
export async function* readDecisions(db: Queryable, filter: DecisionFilter): AsyncGenerator<StoredDecision[]> {
  const found = await resolved(db, filter)
  for (let after: DecisionPlace | undefined; ; ) {
    const rows: StoredDecision[] = await page(db, { filter: found, order: 'oldest', limit: longestPage, after })
    if (rows.length > 0) yield rows
    const last = rows.at(-1)
    if (last === undefined || rows.length < longestPage) return
    after = last
  }
}

/** What both tables have first of what fits, put together. */
async function page(db: Queryable, asked: Asked): Promise<StoredDecision[]> {
  const { filter, limit, order } = asked
  if (isUnstorable(filter)) return []
  const others = filter.point === 'action' ? [] : await otherPage(db, asked)
  if (filter.point !== undefined && filter.point !== 'action') return others
  return [...others, ...(await actionPage(db, asked, others[limit - 1]))].sort(compare(order)).slice(0, limit)
}

/** Of so many rows, the newest of all or all that words find, a page is picked; beyond that the planner has its way. */
const newestRows = 5_000
const mostFound = 20_000

/**
 * A page of the other decisions. Left alone, the planner reads the newest of all rows until enough hold the words, which
 * takes for ever where those that do are old; through the index of words it would read all of them, which takes for ever
 * where they are many. So words of many rows are looked for among the newest, and those of few in their index.
 */
async function otherPage(db: Queryable, asked: Asked): Promise<StoredDecision[]> {
  const { filter, order, limit } = asked
  const all = and(...conditionsOf(decisions, asked))
  const words = wordConditions(decisions, filter)
  if (words.length > 0 && order === 'newest') {
    const near = await amongNewest(db, asked, words)
    if (near.length === limit) return ofIds(db, asked, near)
    const few = await throughWords(db, asked, all)
    if (few !== undefined) return ofIds(db, asked, few)
  }
  return select(db, asked, all)
}

async function amongNewest(db: Queryable, asked: Asked, words: readonly SQL[]): Promise<string[]> {
  const { rule: _, text: __, ...others } = asked.filter
  const rest = and(sql`true`, ...conditionsOf(decisions, { ...asked, filter: others }))
  const rows = await db.execute<{ id: string }>(sql`
    select id from (select id, at_ms, words from decisions where ${rest} order by at_ms desc, id desc limit ${newestRows}) decisions
    where ${and(...words)} order by at_ms desc, id desc limit ${asked.limit}`)
  return rows.map(row => row.id)
}

/** @returns the first of what the words find, undefined where that is too many. */
async function throughWords(
  db: Queryable,
  { order, limit }: Asked,
  all: SQL | undefined,
): Promise<string[] | undefined> {
  const scans = ['indexscan', 'indexonlyscan', 'seqscan']
  await db.execute(sql.raw(scans.map(scan => `set local enable_${scan} = off`).join('; ')))
  const rows = await db.execute<{ id: string; at_ms: string }>(
    sql`select id, at_ms::text as at_ms from decisions where ${all} limit ${mostFound + 1}`,
  )
  await db.execute(sql.raw(scans.map(scan => `set local enable_${scan} = on`).join('; ')))
  if (rows.length > mostFound) return undefined
  const places = rows.map(({ id, at_ms }) => ({ id, at_ms: Number(at_ms) }))
  return places
    .sort(compare(order))
    .slice(0, limit)
    .map(row => row.id)
}

/** Neither ordered nor limited there: a planner that hopes to be done early would read the log in the order of time. */
async function ofIds(db: Queryable, { order }: Asked, ids: readonly string[]): Promise<StoredDecision[]> {
  if (ids.length === 0) return []
  const rows = await db
    .select(columnsOf(decisions))
    .from(decisions)
    .where(sql`${decisions.id} = any(${sql.param(ids)}::text[])`)
  return rows.sort(compare(order))
}

function select(db: Queryable, { order, limit }: Asked, where: SQL | undefined): Promise<StoredDecision[]> {
  return db
    .select(columnsOf(decisions))
    .from(decisions)
    .where(where)
    .orderBy(...orderOf(decisions, order))
    .limit(limit)
}
