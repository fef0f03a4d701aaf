import type { Database } from '../db/database.ts'
import { placeOf } from './store.ts'

export interface EventFilter {
  readonly type?: string | undefined
  readonly subject_id?: string | undefined
  readonly session_id?: string | undefined
  readonly resource?: string | undefined
  readonly from_ms?: number | undefined
  readonly to_ms?: number | undefined
  /** Continue behind this place: `next` of the page before. */
  readonly before?: number | undefined
  readonly limit?: number | undefined
}

export interface StoredEvent {
  readonly id: string
  readonly at_ms: number
  readonly type: string
  /** Index in the log, null while it waits. */
  readonly index: number | null
  readonly writer: string
  /** Null where it was erased. */
  readonly body: Readonly<Record<string, unknown>> | null
  readonly subject_id: string | null
  readonly session_id: string | null
  readonly resource: string | null
}

/** Events, newest first, one page. `next` is null on the last one. */
export async function listEvents(
  { sql }: Database,
  filter: EventFilter,
): Promise<{ items: StoredEvent[]; next: number | null }> {
  const limit = Math.min(filter.limit ?? 100, 1000)
  const equal = (['type', 'subject_id', 'session_id', 'resource'] as const).flatMap(column => {
    const value = filter[column]
    return value === undefined ? [] : [sql`and i.${sql(column)} = ${value}`]
  })
  const rows = await sql<
    (Omit<StoredEvent, 'at_ms' | 'index' | 'body'> & {
      at_ms: string
      idx: string | null
      body: string | null
      seq: string
    })[]
  >`
    select i.id, i.at_ms::text, i.type, (p.idx + i.seq - p.seq)::text as idx, i.writer, i.body, i.subject_id, i.session_id, i.resource,
      i.seq::text
    from audit_inbox i left join audit_places p on p.seq = ${sql.unsafe(placeOf)} and i.seq < p.seq + p.count
    where i.seq < ${filter.before ?? Number.MAX_SAFE_INTEGER} and i.at_ms between ${filter.from_ms ?? 0} and ${filter.to_ms ?? Number.MAX_SAFE_INTEGER}
    ${equal.length > 0 ? equal : sql``} order by i.seq desc limit ${limit + 1}`
  const page = rows.slice(0, limit)
  const items = page.map(({ at_ms, idx, body, seq, ...rest }) => ({
    ...rest,
    at_ms: Number(at_ms),
    index: idx === null ? null : Number(idx),
    body: body === null ? null : (JSON.parse(body) as Record<string, unknown>),
  }))
  return { items, next: rows.length > limit ? Number(page.at(-1)!.seq) : null }
}
