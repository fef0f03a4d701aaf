import type postgres from 'postgres'
import { hashSize } from './merkle.ts'
import { placeWidth } from './schema.ts'
import { nodesFrom, type ReadTile } from './tiles.ts'

/** What runs a query: the pool, or a transaction of the driver. */
export type Sql = postgres.Sql | postgres.TransactionSql

export interface StoredCheckpoint {
  readonly size: number
  readonly root: Buffer
  readonly note: string
  readonly at_ms: number
}

interface CheckpointRow {
  size: string
  root: Buffer
  note: string
  at_ms: string
}

const checkpointOf = (row: CheckpointRow): StoredCheckpoint => ({
  ...row,
  size: Number(row.size),
  at_ms: Number(row.at_ms),
})

export async function latestCheckpoint(sql: Sql): Promise<StoredCheckpoint | null> {
  const rows = await sql<
    CheckpointRow[]
  >`select size::text, root, note, at_ms::text from audit_checkpoints order by audit_checkpoints.size desc limit 1`
  return rows[0] ? checkpointOf(rows[0]) : null
}

/** Checkpoints above `size`, the smallest first. */
export async function checkpointsAfter(sql: Sql, size: number, limit: number): Promise<StoredCheckpoint[]> {
  const rows = await sql<CheckpointRow[]>`
    select size::text, root, note, at_ms::text from audit_checkpoints c where c.size > ${size} order by c.size limit ${limit}`
  return rows.map(checkpointOf)
}

/** Reads tiles from the database, those that are asked for at once in one query. @throws RangeError where a tile is missing. */
export function tileReader(sql: Sql): ReadTile {
  let asked: { level: number; n: number; give: (hashes: Buffer) => void; fail: (error: unknown) => void }[] = []
  const fetch = async () => {
    const all = asked
    asked = []
    try {
      const rows = await sql<{ level: number; n: string; hashes: Buffer }[]>`
        select t.level, t.n::text, t.hashes from audit_tiles t
        join unnest(${`{${all.map(each => each.level).join()}}`}::int[], ${`{${all.map(each => each.n).join()}}`}::bigint[]) as a (level, n)
        on t.level = a.level and t.n = a.n`
      const found = new Map(rows.map(row => [`${row.level}/${row.n}`, row.hashes]))
      for (const { level, n, give, fail } of all) {
        const hashes = found.get(`${level}/${n}`)
        if (hashes) give(hashes)
        else fail(new RangeError(`tile ${level}/${n} is missing`))
      }
    } catch (error) {
      for (const each of all) each.fail(error)
    }
  }
  return (level, n) =>
    new Promise((give, fail) => {
      if (asked.length === 0) setImmediate(() => void fetch())
      asked.push({ level, n, give, fail })
    })
}

export const nodeReader = (sql: Sql) => nodesFrom(tileReader(sql))

/** One tile cut to `width` hashes, or null where the log does not have so many. */
export async function tileHashes(sql: Sql, level: number, n: number, width: number): Promise<Buffer | null> {
  const [row] = await sql<{ hashes: Buffer }[]>`
    select substring(hashes for ${width * hashSize}) as hashes from audit_tiles where level = ${level} and n = ${n} and width >= ${width}`
  return row?.hashes ?? null
}

/**
 * Events with their places. INVARIANT: the number of a place is a multiple of `placeWidth`, and its events' numbers lie
 * between it and the next multiple, so that an event finds its place without a search.
 */
export const placeOf = `i.seq - i.seq % ${placeWidth}`

/** Events with their index in the log (`idx`, null while they wait), in place of a table. */
export const placedEvents = `(select i.*, p.idx + i.seq - p.seq as idx from audit_inbox i
  left join audit_places p on p.seq = ${placeOf} and i.seq < p.seq + p.count) as e`

/** The leaves [from, from + width), or null where the log does not have so many. */
export async function leaves(sql: Sql, from: number, width: number): Promise<string[] | null> {
  const rows = await sql<{ leaf: string }[]>`
    select i.leaf from audit_places p join audit_inbox i on i.seq >= p.seq and i.seq < p.seq + p.count
    where p.idx > ${from - placeWidth} and p.idx < ${from + width}
      and p.idx + i.seq - p.seq >= ${from} and p.idx + i.seq - p.seq < ${from + width}
    order by p.idx + i.seq - p.seq`
  return rows.length === width ? rows.map(row => row.leaf) : null
}
