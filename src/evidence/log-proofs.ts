import { setTimeout as sleep } from 'node:timers/promises'
import { eventTypes } from '../audit/events.ts'
import { consistencyProof, inclusionProof, type ReadNode } from '../audit/merkle.ts'
import { latestCheckpoint, nodeReader, placedEvents, type Sql, type StoredCheckpoint } from '../audit/store.ts'
import { SallyportError } from '../errors.ts'
import type { EventLine } from './format.ts'

export interface EventRow {
  readonly id: string
  readonly idx: string | null
  readonly leaf: string
  readonly body: string | null
  readonly salt: Buffer | null
}

export const placed = (sql: Sql) => sql.unsafe(placedEvents)

/** Proofs against one checkpoint, so that all events of a bundle hang on one signature. */
export class LogProofs {
  readonly checkpoint: StoredCheckpoint
  readonly #read: ReadNode

  private constructor(checkpoint: StoredCheckpoint, read: ReadNode) {
    this.checkpoint = checkpoint
    this.#read = read
  }

  /** @throws SallyportError `not_ready` for a log without an entry. */
  static async newest(sql: Sql): Promise<LogProofs> {
    const checkpoint = await latestCheckpoint(sql)
    if (checkpoint === null) throw new SallyportError('not_ready', 'the log has no entry yet')
    return new LogProofs(checkpoint, nodeReader(sql))
  }

  /** Waits until the log has these events; what it has not after a while stays out. */
  static async covering(sql: Sql, ids: readonly string[], patience_ms: number): Promise<LogProofs> {
    for (const end = performance.now() + patience_ms; ; await sleep(100)) {
      const proofs = await LogProofs.newest(sql)
      const [row] = await sql<{ n: string }[]>`
        select count(*)::text as n from ${placed(sql)} where id = any(${[...ids]}) and (idx is null or idx >= ${proofs.checkpoint.size})`
      if (Number(row?.n ?? 0) === 0 || performance.now() > end) return proofs
    }
  }

  covers(row: EventRow): boolean {
    return row.idx !== null && Number(row.idx) < this.checkpoint.size
  }

  async line({ id, idx, leaf, body, salt }: EventRow): Promise<EventLine> {
    const index = Number(idx)
    const path = await inclusionProof(index, this.checkpoint.size, this.#read)
    return { id, index, leaf, body, salt: salt?.toString('hex') ?? null, inclusion: hexes(path) }
  }

  /** That the log of `size` entries is the beginning of this one. */
  async since(size: number): Promise<string[]> {
    return hexes(await consistencyProof(size, this.checkpoint.size, this.#read))
  }
}

const hexes = (path: readonly Buffer[]): string[] => path.map(hash => hash.toString('hex'))

export interface EventQuery {
  readonly ids: readonly string[]
  readonly sessions: readonly string[]
  readonly requests: readonly string[]
  readonly grants: readonly string[]
  readonly generations: readonly number[]
  readonly subject: { readonly id: string; readonly from_ms: number; readonly to_ms: number } | null
  /** Between which requests, votes and grants are looked for. */
  readonly from_ms: number
  readonly to_ms: number
}

/** Of these kinds the body names the request or the grant. */
const aboutRequests = eventTypes.filter(type => /^(?:action|request|vote|grant|review|ticket)\./.test(type))

/** The events that are about what is in a bundle, in the order of the log. */
export async function eventsAbout(sql: Sql, query: EventQuery, most: number): Promise<EventRow[]> {
  const { ids, sessions, requests, grants, generations, subject, from_ms, to_ms } = query
  const found = new Map<string, EventRow>()
  const add = (rows: readonly EventRow[]) => {
    for (const row of rows) found.set(row.id, row)
  }
  const columns = sql`id, idx::text, leaf, body, salt`
  const limit = most + 1
  if (ids.length > 0)
    add(await sql<EventRow[]>`select ${columns} from ${placed(sql)} where id = any(${[...ids]}) limit ${limit}`)
  if (sessions.length > 0)
    add(
      await sql<
        EventRow[]
      >`select ${columns} from ${placed(sql)} where session_id = any(${[...sessions]}) limit ${limit}`,
    )
  if (requests.length > 0)
    add(
      await sql<EventRow[]>`
        select ${columns} from ${placed(sql)}
        where type = any(${aboutRequests}) and at_ms between ${from_ms} and ${to_ms} and body is not null
          and ((body::jsonb ->> 'request_id') = any(${[...requests]}) or (body::jsonb ->> 'grant_id') = any(${[...grants]}))
        limit ${limit}`,
    )
  if (generations.length > 0)
    add(
      await sql<EventRow[]>`
        select ${columns} from ${placed(sql)} where type = 'revision.activated' and body is not null
          and (body::jsonb ->> 'generation') = any(${generations.map(String)}) limit ${limit}`,
    )
  if (subject !== null)
    add(
      await sql<EventRow[]>`
        select ${columns} from ${placed(sql)}
        where subject_id = ${subject.id} and at_ms >= ${subject.from_ms} and at_ms < ${subject.to_ms} limit ${limit}`,
    )
  return [...found.values()].sort(
    (a, b) => Number(a.idx ?? Number.MAX_SAFE_INTEGER) - Number(b.idx ?? Number.MAX_SAFE_INTEGER),
  )
}
