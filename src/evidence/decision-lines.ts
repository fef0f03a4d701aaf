import { and, eq, gte, inArray, lt } from 'drizzle-orm'
import { inclusionProof, leafHash, nodeHash, type ReadNode } from '../audit/merkle.ts'
import { auditInbox } from '../audit/schema.ts'
import type { Queryable } from '../db/database.ts'
import { columnsOf, type StoredDecision, type Table } from '../policy/log/decision-filter.ts'
import { decisionLeaf } from '../policy/log/decision-leaf.ts'
import { actionDecisions, decisions } from '../policy/schema.ts'
import { inPieces, most, tooMany } from './collect.ts'

/** A line of `decisions/*.jsonl`: a decision with its path to the root that an event `decisions.batch` carries. */
export interface DecisionLine {
  readonly decision: Omit<StoredDecision, 'batch' | 'count'>
  readonly batch: {
    readonly event: string
    readonly index: number
    readonly size: number
    readonly path: string[]
  } | null
  /** Why `batch` is null. */
  readonly unproved: string | null
}

export interface DecisionQuery {
  readonly ids: readonly string[]
  readonly sessions: readonly string[]
  readonly requests: readonly string[]
  readonly subject: { readonly id: string; readonly from_ms: number; readonly to_ms: number } | null
}

/** The decisions that a bundle is about, oldest first. */
export async function decisionsAbout(db: Queryable, query: DecisionQuery): Promise<StoredDecision[]> {
  const { ids, sessions, requests, subject } = query
  const found = new Map<string, StoredDecision>()
  const limit = most.decisions + 1
  for (const table of [decisions, actionDecisions] as const) {
    const read = (where: ReturnType<typeof and>): PromiseLike<StoredDecision[]> =>
      db
        .select(columnsOf(table))
        .from(table as typeof decisions)
        .where(where)
        .limit(limit)
    const rows = [
      ...(await inPieces(sessions, some => read(inArray(table.session_id, some)))),
      ...(table === decisions ? await inPieces(requests, some => read(inArray(table.request_id, some))) : []),
      ...(table === decisions ? await inPieces(ids, some => read(inArray(table.id, some))) : []),
    ]
    if (subject !== null)
      rows.push(
        ...(await read(
          and(eq(table.subject_id, subject.id), gte(table.at_ms, subject.from_ms), lt(table.at_ms, subject.to_ms)),
        )),
      )
    for (const row of rows) found.set(row.id, row)
    tooMany('decisions', found.size)
  }
  return [...found.values()].sort((a, b) => a.at_ms - b.at_ms || (a.id < b.id ? -1 : 1))
}

/** Puts each decision under its batch; a batch's rows are read once for all of its decisions. */
export async function* decisionLines(db: Queryable, all: readonly StoredDecision[]): AsyncGenerator<DecisionLine> {
  const trees = new Map<string, BatchTree | null>()
  for (const row of all) {
    const { batch, count: _, ...decision } = row
    if (batch === null) {
      yield { decision, batch: null, unproved: 'it waits for its place in the audit log' }
      continue
    }
    let tree = trees.get(batch)
    if (tree === undefined) {
      if (trees.size >= 64) trees.clear() // in the order of time each is asked for but once or twice
      tree = await readTree(db, row.point === 'action' ? actionDecisions : decisions, batch)
      trees.set(batch, tree)
    }
    const path = tree === null ? null : await tree.path(row.id)
    yield path === null
      ? {
          decision,
          batch: null,
          unproved: 'other decisions of its batch were deleted, and without them there is no path to the root',
        }
      : { decision, batch: { event: batch, ...path }, unproved: null }
  }
}

interface BatchTree {
  path(id: string): Promise<{ index: number; size: number; path: string[] } | null>
}

/** @returns null where rows of the batch are gone. */
async function readTree(db: Queryable, table: Table, event: string): Promise<BatchTree | null> {
  const rows: StoredDecision[] = await db
    .select(columnsOf(table))
    .from(table as typeof decisions)
    .where(eq(table.batch, event))
  const [said] = await db.select({ body: auditInbox.body }).from(auditInbox).where(eq(auditInbox.id, event))
  if ((JSON.parse(said?.body ?? '{}') as { count?: unknown }).count !== rows.length) return null
  rows.sort((a, b) => (a.id < b.id ? -1 : 1))
  const places = new Map(rows.map((row, i) => [row.id, i]))
  const levels: Buffer[][] = [rows.map(row => leafHash(decisionLeaf(row)))]
  while (levels.at(-1)!.length > 1) {
    const below = levels.at(-1)!
    levels.push(Array.from({ length: below.length >> 1 }, (_, i) => nodeHash(below[2 * i]!, below[2 * i + 1]!)))
  }
  const read: ReadNode = async ({ level, n }) => levels[level]![n]!
  return {
    async path(id) {
      const index = places.get(id)
      if (index === undefined) return null
      const path = await inclusionProof(index, rows.length, read)
      return { index, size: rows.length, path: path.map(hash => hash.toString('hex')) }
    },
  }
}
