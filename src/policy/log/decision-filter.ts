import { asc, desc, eq, getTableColumns, gte, lt, or, type SQL, sql } from 'drizzle-orm'
import type { Queryable } from '../../db/database.ts'
import { type actionDecisions, type decisions, revisions } from '../schema.ts'
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
  /** A generation, or a commit or its beginning, of seven characters at least. */
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

/** One page of a log: what fits, from where, how much. */
export interface Asked {
  readonly filter: Resolved
  readonly order: Order
  readonly limit: number
  readonly after?: DecisionPlace | undefined
  /** Asked between two statements, each of which has an end in time of its own. @throws where it took too long. */
  readonly goOn?: (() => void) | undefined
}

export type Table = typeof decisions | typeof actionDecisions
export type Order = 'newest' | 'oldest'
export type Resolved = DecisionFilter & { readonly generations?: readonly number[] | undefined }

export async function resolved(db: Queryable, filter: DecisionFilter): Promise<Resolved> {
  const { revision } = filter
  return revision === undefined ? filter : { ...filter, generations: await generationsOf(db, revision) }
}

/** What a row of this table must be to be on a page. */
export function conditionsOf(table: Table, { filter, order, after }: Asked): SQL[] {
  const names = ['subject_id', 'resource', 'session_id', 'request_id', 'point', 'effect'] as const
  const conditions: SQL[] = names.flatMap(name => {
    const value = filter[name]
    return value === undefined ? [] : [eq(table[name], value)]
  })
  const { subject_ids, generations, from_ms, to_ms } = filter
  if (subject_ids !== undefined) conditions.push(anyOf(table.subject_id, subject_ids))
  if (generations !== undefined) conditions.push(anyOf(table.generation, generations))
  if (from_ms !== undefined) conditions.push(gte(table.at_ms, from_ms))
  if (to_ms !== undefined) conditions.push(lt(table.at_ms, to_ms))
  if (after !== undefined) {
    const compared = sql.raw(order === 'newest' ? '<' : '>')
    conditions.push(sql`(${table.at_ms}, ${table.id}) ${compared} (${after.at_ms}::bigint, ${after.id})`)
  }
  return [...conditions, ...wordConditions(table, filter)]
}

/** Whether a filter asks for a text that no row can hold, and that the database refuses to compare. */
export function isUnstorable(filter: Resolved): boolean {
  return Object.values(filter).some(value => typeof value === 'string' && value.includes('\0'))
}

/** What of a filter the index of words answers. */
export function wordConditions(table: Table, { rule, text }: Resolved): SQL[] {
  const conditions: SQL[] = []
  if (rule !== undefined) conditions.push(sql`${table.words} @@ ${ruleQuery(rule)}::tsquery`)
  const query = text === undefined ? undefined : wordQuery(text)
  if (query !== undefined) conditions.push(query === null ? sql`false` : sql`${table.words} @@ ${query}::tsquery`)
  return conditions
}

export function orderOf(table: Table, order: Order): [SQL, SQL] {
  const by = order === 'newest' ? desc : asc
  return [by(table.at_ms), by(table.id)]
}

/** What comes first in an order. */
export function compare(order: Order): (a: DecisionPlace, b: DecisionPlace) => number {
  const sign = order === 'newest' ? -1 : 1
  return (a, b) => sign * (a.at_ms - b.at_ms || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0))
}

/** One value is compared as such: the planner then reads an index of it in its order, and not all that it holds. */
function anyOf(column: Table['subject_id'] | Table['generation'], values: readonly (string | number)[]): SQL {
  if (values.length === 0) return sql`false`
  return values.length === 1 ? sql`${column} = ${values[0]}` : or(...values.map(value => sql`${column} = ${value}`))!
}

/** What begins with seven digits may be a commit too: then both are meant. @returns none for a text that names no revision. */
async function generationsOf(db: Queryable, revision: string): Promise<number[]> {
  if (/^\d{1,6}$/.test(revision)) return [Number(revision)]
  if (!/^[0-9a-f]{7,64}$/.test(revision)) return []
  const generation = /^\d{1,15}$/.test(revision) ? Number(revision) : -1
  const rows = await db
    .select({ generation: revisions.generation })
    .from(revisions)
    .where(sql`starts_with(${revisions.commit}, ${revision}) or ${revisions.generation} = ${generation}`)
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
