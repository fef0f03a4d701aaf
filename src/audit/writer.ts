import { randomBytes } from 'node:crypto'
import { sql } from 'drizzle-orm'
import type { Database, Tx } from '../db/database.ts'
import { SallyportError } from '../errors.ts'
import { newIds } from '../ids.ts'
import type { AuditWriter, NewEvent } from './events.ts'
import { bodyHash, bodyText, eventColumns, leafText, newSalts, saltBytes } from './leaf.ts'
import { leafHashHex } from './merkle.ts'
import { placeWidth } from './schema.ts'

export interface BatchWriter extends AuditWriter {
  /** Many events, in this order, `placeWidth` in a statement. @returns their ids. */
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

/** Stands between the texts of a column. INVARIANT: canonical JSON, an id and a type hold no control character. */
const separator = '\x1f'

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

  async function append(tx: Tx, events: readonly NewEvent[]): Promise<string[]> {
    const salts = newSalts(events.length)
    const ids = newIds('evt', events.length)
    const bodies = events.map((event, i) => bodyText(ids[i]!, event))
    try {
      const { writer, wseq, prev, at_ms } = await takeLane(tx)
      const leaves: string[] = []
      let last = prev
      for (let i = 0; i < events.length; i++) {
        const body_hash = bodyHash(salts.subarray(i * saltBytes, (i + 1) * saltBytes), bodies[i]!)
        const leaf = leafText({ v: 1, type: events[i]!.type, at_ms, writer, wseq: wseq + 1 + i, prev: last, body_hash })
        last = leafHashHex(leaf)
        leaves.push(leaf)
      }
      const about = events.map(eventColumns)
      const joined = (texts: readonly string[]) => sql`string_to_array(${texts.join(separator)}::text, ${separator})`
      const types = events.map(event => event.type)
      await tx.execute(sql`
        with moved as (update audit_writers set wseq = ${wseq + events.length}, prev = ${last} where writer = ${writer}),
        place as (insert into audit_places (writer, wseq, count) values (${writer}, ${wseq + 1}, ${events.length}) returning seq),
        added as (
          insert into audit_inbox (id, writer, wseq, at_ms, type, seq, body, salt, leaf, subject_id, session_id, resource)
          select id, ${writer}, ${wseq}::bigint + n, ${at_ms}, type, place.seq + n - 1, body,
            substring(${salts}::bytea from ((n - 1) * ${sql.raw(String(saltBytes))} + 1)::int for ${sql.raw(String(saltBytes))}),
            leaf, subject_id, session_id, resource
          from place, unnest(
            ${joined(ids)}, ${joined(types)}, ${joined(bodies)}, ${joined(leaves)},
            ${sql.param(arrayText(about.map(e => e.subject_id)))}::text[], ${sql.param(arrayText(about.map(e => e.session_id)))}::text[],
            ${sql.param(arrayText(about.map(e => e.resource)))}::text[]
          ) with ordinality as e (id, type, body, leaf, subject_id, session_id, resource, n))
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

  async function recordAll(tx: Tx, events: readonly NewEvent[]): Promise<string[]> {
    const ids: string[] = []
    for (let from = 0; from < events.length; from += placeWidth)
      ids.push(...(await append(tx, events.slice(from, from + placeWidth))))
    return ids
  }

  return { recordAll, record: async (tx, event) => (await recordAll(tx, [event]))[0]! }
}

const quotedInArrays = /["\\{},\s]|^null$|^$/i

/** An array as PostgreSQL reads it, in one go: the driver's own way costs half of what writing an event does. */
function arrayText(values: readonly (string | null)[]): string {
  let out = '{'
  for (const value of values) {
    if (out.length > 1) out += ','
    if (value === null) out += 'NULL'
    else if (!quotedInArrays.test(value)) out += value
    else out += `"${value.replace(/["\\]/g, '\\$&')}"`
  }
  return `${out}}`
}
