import { eq, sql } from 'drizzle-orm'
import { hashSize, leafHash, nodeHash, type ReadNode } from '../../audit/merkle.ts'
import type { Queryable, Tx } from '../../db/database.ts'
import { actionDecisions, decisionBatches, decisions } from '../schema.ts'
import { columnsOf, type Table } from './decision-filter.ts'
import { decisionLeaf } from './decision-leaf.ts'

/** The leaf hashes of a batch, in the order of its leaves; fewer than it had where some are gone and nothing was kept. */
export interface BatchLeaves {
  readonly hashes: readonly Buffer[]
  readonly read: ReadNode
}

export async function batchLeaves(q: Queryable, table: Table, event: string): Promise<BatchLeaves> {
  const [kept] = await q.select().from(decisionBatches).where(eq(decisionBatches.event, event))
  const hashes = kept === undefined ? await hashesOf(q, table, event) : split(kept.hashes)
  return { hashes, read: async ({ level, n }) => node(hashes, level, n) }
}

/**
 * Before some decisions are deleted: of each of their batches that is still whole the hashes are kept. Whoever reads them
 * believes none of them: a path leads to the root that the audit log holds, or to nothing.
 */
export async function keepLeaves(tx: Tx, ids: readonly string[]): Promise<string[]> {
  const events: string[] = []
  for (const [name, table] of [
    ['decisions', decisions],
    ['action_decisions', actionDecisions],
  ] as const) {
    const rows = await tx.execute<{ batch: string }>(sql`
      select distinct d.batch from ${sql.identifier(name)} d
      where d.id = any(${sql.param([...ids])}::text[]) and d.batch is not null`)
    const batches = rows.map(row => row.batch)
    await keep(tx, table, batches)
    events.push(...batches)
  }
  return events
}

/** The same before a whole day goes: of those of its batches that hold decisions of other days too. */
export async function keepLeavesOfDay(tx: Tx, day: string): Promise<string[]> {
  const rows = await tx.execute<{ batch: string }>(sql`
    select distinct batch from action_decisions where day = ${day}::date and batch is not null`)
  const all = rows.map(row => row.batch)
  const others = await tx.execute<{ batch: string }>(sql`
    select distinct batch from action_decisions where batch = any(${sql.param(all)}::text[]) and day <> ${day}::date`)
  await keep(
    tx,
    actionDecisions,
    others.map(row => row.batch),
  )
  return all
}

async function keep(tx: Tx, table: Table, events: readonly string[]): Promise<void> {
  for (const event of events) {
    const [kept] = await tx
      .select({ event: decisionBatches.event })
      .from(decisionBatches)
      .where(eq(decisionBatches.event, event))
    if (kept !== undefined) continue
    const hashes = Buffer.concat(await hashesOf(tx, table, event))
    await tx.insert(decisionBatches).values({ event, hashes }).onConflictDoNothing()
  }
}

/** After it: what no decision needs any more goes. */
export async function dropLeaves(tx: Tx, events: readonly string[]): Promise<void> {
  if (events.length === 0) return
  await tx.execute(sql`
    delete from decision_batches b where b.event = any(${sql.param([...events])}::text[])
      and not exists (select from decisions d where d.batch = b.event)
      and not exists (select from action_decisions d where d.batch = b.event)`)
}

async function hashesOf(q: Queryable, table: Table, event: string): Promise<Buffer[]> {
  const rows = await q
    .select(columnsOf(table))
    .from(table as typeof decisions)
    .where(eq(table.batch, event))
  return rows.sort((a, b) => (a.id < b.id ? -1 : 1)).map(row => leafHash(decisionLeaf(row)))
}

function split(hashes: Buffer): Buffer[] {
  return Array.from({ length: hashes.length / hashSize }, (_, i) => hashes.subarray(i * hashSize, (i + 1) * hashSize))
}

function node(hashes: readonly Buffer[], level: number, n: number): Buffer {
  let row = hashes.slice(n * 2 ** level, (n + 1) * 2 ** level)
  while (row.length > 1) row = Array.from({ length: row.length / 2 }, (_, i) => nodeHash(row[2 * i]!, row[2 * i + 1]!))
  return row[0]!
}
