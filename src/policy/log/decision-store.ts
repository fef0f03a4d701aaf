import { and, asc, desc, eq, getTableColumns, gte, lt, lte, or, type SQL, sql } from 'drizzle-orm'
import type { Database, Queryable, Tx } from '../../db/database.ts'
import { SallyportError } from '../../errors.ts'
import { actionDecisions, decisions, revisions } from '../schema.ts'
import { dayOf } from './decision-days.ts'
import { ruleQuery, wordQuery } from './decision-words.ts'

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
  const [row] = await db.select(columnsOf(decisions)).from(decisions).where(eq(decisions.id, id))
  if (row !== undefined) return row
  return (await db.select(columnsOf(actionDecisions)).from(actionDecisions).where(eq(actionDecisions.id, id)))[0]
}

/** The newest decisions that fit, without a bound on the time that it takes. */
export async function listDecisions(
  db: Queryable,
  filter: DecisionFilter & { readonly limit?: number | undefined },
): Promise<StoredDecision[]> {
  const found = await resolved(db, filter)
  return page(db, found, 'newest', Math.max(1, Math.min(filter.limit ?? 100, longestPage)))
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
        const items = await page(tx, await resolved(tx, filter), 'newest', limit, after, tx)
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
  const found = await resolved(db, filter)
  for (let after: DecisionPlace | undefined; ; ) {
    const rows: StoredDecision[] = await page(db, found, 'oldest', longestPage, after)
    if (rows.length > 0) yield rows
    const last = rows.at(-1)
    if (last === undefined || rows.length < longestPage) return
    after = last
  }
}

export type Table = typeof decisions | typeof actionDecisions
type Order = 'newest' | 'oldest'

/** What both tables have first of what fits, put together. */
async function page(
  db: Queryable,
  filter: Resolved,
  order: Order,
  limit: number,
  after?: DecisionPlace,
  probing?: Tx,
): Promise<StoredDecision[]> {
  const asked =
    filter.point === undefined
      ? [decisions, actionDecisions]
      : [filter.point === 'action' ? actionDecisions : decisions]
  const found: StoredDecision[][] = []
  for (const table of asked) {
    const conditions = conditionsOf(table, filter)
    const compared = sql.raw(order === 'newest' ? '<' : '>')
    if (after !== undefined)
      conditions.push(sql`(${table.at_ms}, ${table.id}) ${compared} (${after.at_ms}::bigint, ${after.id})`)
    if (probing !== undefined && (filter.rule !== undefined || filter.text !== undefined)) {
      const byWords = await newestByWords(probing, table, filter, conditions, limit)
      if (byWords !== undefined) {
        found.push(byWords)
        continue
      }
    }
    const by = order === 'newest' ? desc : asc
    found.push(
      await db
        .select(columnsOf(table))
        .from(table as typeof decisions)
        .where(and(...conditions))
        .orderBy(by(table.at_ms), by(table.id))
        .limit(limit),
    )
  }
  return found.length === 1 ? found[0]! : merged(found.flat(), order).slice(0, limit)
}

/** Of rare words all that they find, of words that many rows hold the newest rows, of words of old rows all again. */
const few = 500
const newestRows = 5_000
const many = 20_000

/**
 * The newest that words find. Left alone, the planner reads the newest of all rows until enough fit, which takes for ever
 * where those that fit are old; through the index of words it would read all of them, which takes for ever where they are many.
 * @returns undefined where many fit and none of them is near.
 */
async function newestByWords(
  tx: Tx,
  table: Table,
  filter: Resolved,
  conditions: readonly SQL[],
  limit: number,
): Promise<StoredDecision[] | undefined> {
  const rare = await fewNewest(tx, table, conditions, limit, few)
  if (rare !== undefined) return rare
  const near = await amongNewest(tx, table, filter, conditions, limit)
  return near.length >= limit ? near : fewNewest(tx, table, conditions, limit, many)
}

/** Those of the newest rows which hold the words: no scan of more than these, whatever the planner expects. */
async function amongNewest(
  tx: Tx,
  table: Table,
  { rule, text, ...others }: Resolved,
  conditions: readonly SQL[],
  limit: number,
): Promise<StoredDecision[]> {
  const after = conditions.slice(conditionsOf(table, { rule, text, ...others }).length)
  const day = table === actionDecisions ? sql`day` : sql`null::date as day`
  const words = conditionsOf(table, { rule, text })
  const rows = await tx.execute<{ id: string; day: string | null }>(sql`
    select id, day::text as day from (
      select id, at_ms, words, ${day} from ${table} where ${and(sql`true`, ...conditionsOf(table, others), ...after)}
      order by at_ms desc, id desc limit ${newestRows}) ${table === actionDecisions ? sql`action_decisions` : sql`decisions`}
    where ${and(...words)} order by at_ms desc, id desc limit ${limit}`)
  return wholeRows(tx, table, rows)
}

/** @returns undefined where the words find more than `most`. */
async function fewNewest(
  tx: Tx,
  table: Table,
  conditions: readonly SQL[],
  limit: number,
  most: number,
): Promise<StoredDecision[] | undefined> {
  const day = table === actionDecisions ? sql`day` : sql`null::date`
  const scans = ['indexscan', 'indexonlyscan', 'seqscan']
  await tx.execute(sql.raw(scans.map(scan => `set local enable_${scan} = off`).join('; ')))
  const rows = await tx.execute<{ id: string; day: string | null; n: string }>(sql`
    select id, day::text as day, count(*) over ()::text as n from (
      select id, at_ms, ${day} as day from ${table} where ${and(...conditions)} limit ${most + 1}) found
    order by at_ms desc, id desc limit ${limit}`)
  await tx.execute(sql.raw(scans.map(scan => `set local enable_${scan} = on`).join('; ')))
  return Number(rows[0]?.n ?? 0) > most ? undefined : wholeRows(tx, table, rows)
}

async function wholeRows(
  tx: Tx,
  table: Table,
  rows: readonly { readonly id: string; readonly day: string | null }[],
): Promise<StoredDecision[]> {
  if (rows.length === 0) return []
  const found = await tx
    .select(columnsOf(table))
    .from(table as typeof decisions)
    .where(
      and(
        sql`${table.id} = any(${sql.param(rows.map(row => row.id))}::text[])`,
        table === actionDecisions
          ? sql`day = any(${sql.param([...new Set(rows.map(row => row.day))])}::text[]::date[])`
          : undefined,
      ),
    )
  return merged(found, 'newest')
}

function merged(rows: StoredDecision[], order: Order): StoredDecision[] {
  const sign = order === 'newest' ? -1 : 1
  return rows.sort((a, b) => sign * (a.at_ms - b.at_ms || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)))
}

type Resolved = DecisionFilter & { readonly generations?: readonly number[] | undefined }

async function resolved(db: Queryable, filter: DecisionFilter): Promise<Resolved> {
  const { revision } = filter
  return revision === undefined ? filter : { ...filter, generations: await generationsOf(db, revision) }
}

function conditionsOf(table: Table, filter: Resolved): SQL[] {
  const names = ['subject_id', 'resource', 'session_id', 'request_id', 'point', 'effect'] as const
  const conditions: SQL[] = names.flatMap(name => {
    const value = filter[name]
    return value === undefined ? [] : [eq(table[name], value)]
  })
  const { subject_ids, rule, generations, text, from_ms, to_ms } = filter
  if (subject_ids !== undefined) conditions.push(anyOf(table.subject_id, subject_ids))
  if (rule !== undefined) conditions.push(sql`${table.words} @@ ${ruleQuery(rule)}::tsquery`)
  const query = text === undefined ? undefined : wordQuery(text)
  if (query !== undefined) conditions.push(query === null ? sql`false` : sql`${table.words} @@ ${query}::tsquery`)
  if (generations !== undefined) conditions.push(anyOf(table.generation, generations))
  if (from_ms !== undefined) conditions.push(gte(table.at_ms, from_ms))
  if (to_ms !== undefined) conditions.push(lt(table.at_ms, to_ms))
  if ('day' in table) conditions.push(...daysOf(table, filter))
  return conditions
}

/** What the filter says of the days: whole partitions are not looked at then. */
function daysOf(table: typeof actionDecisions, { session_id, to_ms }: Resolved): SQL[] {
  if (session_id !== undefined) return [eq(table.day, dayOf(session_id, 0))]
  return to_ms === undefined ? [] : [lte(table.day, dayOf(null, to_ms + 86_400_000))]
}

/** One value is compared as such: the planner then reads an index of it in its order, and not all that it holds. */
function anyOf(column: Table['subject_id'] | Table['generation'], values: readonly (string | number)[]): SQL {
  if (values.length === 0) return sql`false`
  return values.length === 1 ? sql`${column} = ${values[0]}` : or(...values.map(value => sql`${column} = ${value}`))!
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

/** What is read of a decision, of either table in the same order. */
export function columnsOf(table: Table) {
  const { words: _, seq: __, ...columns } = getTableColumns(table as typeof decisions)
  return 'day' in columns ? without(columns, 'day') : columns
}

function without<O extends object>(object: O, name: string): O {
  return Object.fromEntries(Object.entries(object).filter(([key]) => key !== name)) as O
}
