import { randomBytes } from 'node:crypto'
import { sql } from 'drizzle-orm'
import type { Database, Tx } from '../db/database.ts'
import { SallyportError } from '../errors.ts'
import { newIds } from '../ids.ts'
import type { AuditWriter, NewEvent } from './events.ts'
import { bodyHash, bodyText, eventColumns, leafText, newSalts } from './leaf.ts'
import { leafHash } from './merkle.ts'

export interface BatchWriter extends AuditWriter {
  /** Many events in one statement, in this order. @returns their ids. */
  recordAll(tx: Tx, events: readonly NewEvent[]): Promise<string[]>
}

/** A free writer row, locked by the transaction that took it. */
interface Lane {
  readonly writer: string
  readonly wseq: number
  readonly prev: string
  readonly at_ms: number
}

interface LaneRow extends Record<string, unknown> {
  writer: string
  wseq: string
  prev: string
  at_ms: string
}

const laneOf = (row: LaneRow): Lane => ({
  writer: row.writer,
  wseq: Number(row.wseq),
  prev: row.prev,
  at_ms: Number(row.at_ms),
})

/**
 * The audit writer of this process.
 *
 * INVARIANT: the events of a writer that committed are numbered without gaps, because number and previous hash are read
 * and written under the lock of the writer's row in the transaction that the event describes; a rollback gives them back.
 *
 * INVARIANT: `record` never waits for another transaction. Each writer is a lane; a transaction takes one that is free
 * (its own again, the second time), and a new one where all are taken. So no order of locks can deadlock on the log.
 */
export function createAuditWriter(options: { database: Database; process_id: string }): BatchWriter {
  const { process_id } = options

  async function takeLane(tx: Tx): Promise<Lane> {
    const free = await tx.execute<LaneRow>(sql`
      select writer, wseq::text, prev, (extract(epoch from clock_timestamp()) * 1000)::bigint::text as at_ms
      from audit_writers where process = ${process_id} order by writer limit 1 for update skip locked`)
    if (free[0]) return laneOf(free[0])
    const fresh = await tx.execute<LaneRow>(sql`
      insert into audit_writers (writer, process, wseq, prev)
      values (${process_id}::text || '.' || left(md5(current_user), 8) || ${randomBytes(4).toString('hex')}::text, ${process_id}, 0, '')
      returning writer, wseq::text, prev, (extract(epoch from clock_timestamp()) * 1000)::bigint::text as at_ms`)
    return laneOf(fresh[0]!)
  }

  async function recordAll(tx: Tx, events: readonly NewEvent[]): Promise<string[]> {
    if (events.length === 0) return []
    const salts = newSalts(events.length)
    const ids = newIds('evt', events.length)
    const bodies = events.map((event, i) => ({ event, id: ids[i]!, salt: salts[i]!, body: bodyText(ids[i]!, event) }))
    try {
      const lane = await takeLane(tx)
      let { wseq, prev } = lane
      const rows = bodies.map(({ event, id, salt, body }) => {
        const leaf = leafText({
          v: 1,
          type: event.type,
          at_ms: lane.at_ms,
          writer: lane.writer,
          wseq: ++wseq,
          prev,
          body_hash: bodyHash(salt, body),
        })
        prev = leafHash(leaf).toString('hex')
        return { id, wseq, type: event.type, body, salt: salt.toString('hex'), leaf, ...eventColumns(event) }
      })
      const column = (of: (row: (typeof rows)[number]) => string | number | null) => sql.param(arrayText(rows, of))
      await tx.execute(sql`
        with moved as (update audit_writers set wseq = ${wseq}, prev = ${prev} where writer = ${lane.writer}),
        added as (
          insert into audit_inbox (id, writer, wseq, at_ms, type, body, salt, leaf, subject_id, session_id, resource)
          select id, ${lane.writer}, wseq, ${lane.at_ms}, type, body, decode(salt, 'hex'), leaf, subject_id, session_id, resource
          from unnest(
            ${column(r => r.id)}::text[], ${column(r => r.wseq)}::bigint[], ${column(r => r.type)}::text[], ${column(r => r.body)}::text[],
            ${column(r => r.salt)}::text[], ${column(r => r.leaf)}::text[], ${column(r => r.subject_id)}::text[],
            ${column(r => r.session_id)}::text[], ${column(r => r.resource)}::text[]
          ) as e (id, wseq, type, body, salt, leaf, subject_id, session_id, resource)
          order by wseq)
        select pg_notify('audit', '')`)
      return ids
    } catch (error) {
      throw new SallyportError(
        'audit_unavailable',
        'the event could not be appended to the audit log, so the act did not happen',
        { cause: error },
      )
    }
  }

  return { recordAll, record: async (tx, event) => (await recordAll(tx, [event]))[0]! }
}

const quotedInArrays = /["\\{},\s]|^null$|^$/i

/** An array as PostgreSQL reads it, in one go: the driver's own way costs half of what writing an event does. */
function arrayText<T>(rows: readonly T[], of: (row: T) => string | number | null): string {
  let out = '{'
  for (const row of rows) {
    const value = of(row)
    if (out.length > 1) out += ','
    if (value === null) out += 'NULL'
    else if (typeof value === 'number' || !quotedInArrays.test(value)) out += value
    else out += `"${value.replace(/["\\]/g, '\\$&')}"`
  }
  return `${out}}`
}
