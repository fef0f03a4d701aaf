import { and, isNull, sql } from 'drizzle-orm'
import type { AuditWriter } from '../../audit/events.ts'
import { merkleRoot } from '../../audit/merkle.ts'
import type { Database } from '../../db/database.ts'
import { actionDecisions, decisions } from '../schema.ts'
import { columnsOf, type Table } from './decision-filter.ts'
import { decisionLeaf } from './decision-leaf.ts'

const batchRows = 2000

/**
 * Puts decisions that no event covers yet under one, so that each can be shown to be as it was written down:
 * `decisions.batch` carries the RFC 6962 root over their leaves, ordered by id; action decisions and the others go under
 * events of their own. Control runs it every second or two; two at once take different rows.
 * @param from the first day of decisions on actions that is looked at.
 * @returns how many decisions the events cover, 0 when none waited.
 */
export async function batchDecisions(
  database: Database,
  audit: AuditWriter,
  from: string | null = null,
): Promise<number> {
  const others = await batchTable(database, audit, decisions, null)
  return others + (await batchTable(database, audit, actionDecisions, from))
}

function batchTable(database: Database, audit: AuditWriter, table: Table, from: string | null): Promise<number> {
  return database.db.transaction(async tx => {
    const day = table === actionDecisions ? sql<string>`${actionDecisions.day}::text` : sql<null>`null`
    const rows = await tx
      .select({ ...columnsOf(table), day })
      .from(table as typeof decisions)
      .where(and(isNull(table.batch), from === null ? undefined : sql`day >= ${from}::date`))
      .orderBy(table.at_ms)
      .limit(batchRows)
      .for('update', { skipLocked: true })
    if (rows.length === 0) return 0
    rows.sort((a, b) => (a.id < b.id ? -1 : 1))
    const root = merkleRoot(rows.map(row => Buffer.from(decisionLeaf(row))))
    const event = await audit.record(tx, {
      type: 'decisions.batch',
      body: { count: rows.length, first: rows[0]!.id, last: rows.at(-1)!.id, root: root.toString('hex') },
    })
    const ids = sql`${sql.param(rows.map(row => row.id))}::text[]`
    const oldest = rows.reduce((day, row) => (row.day !== null && row.day < day ? row.day : day), '9999-12-31')
    await tx.execute(
      table === actionDecisions
        ? sql`update action_decisions d set batch = ${event}
            from unnest(${ids}, ${sql.param(rows.map(row => row.day))}::text[]::date[]) as b (id, day) where d.id = b.id and d.day = b.day and d.day >= ${oldest}::date`
        : sql`update decisions set batch = ${event} where id = any(${ids})`,
    )
    return rows.length
  })
}
