import { type ChainEnd, chainStart, parseLeaf } from './leaf.ts'
import { leafHashHex } from './merkle.ts'
import type { Sql } from './store.ts'

/** A batch whose turn has come, with the hashes of its leaves. */
export interface ReadyPlace {
  readonly seq: string
  readonly hashes: readonly Buffer[]
}

/** A batch that does not continue its writer's chain. */
export interface BrokenChain {
  readonly writer: string
  /** The first event that does not follow; null where the batch has no event at all. */
  readonly event: string | null
  /** The writer's last event that stands before. */
  readonly wseq: number
}

interface WaitingRow {
  seq: string
  writer: string
  wseq: string
  count: number
  /** How many rows the leaves are of: a row that holds a line break is not two. */
  rows: number
  leaves: string | null
}

const maxPlaces = 5000

/** Whether something waits that may get a place. */
export async function anyWaiting(sql: Sql, broken: readonly string[]): Promise<boolean> {
  const rows = await sql`select from audit_places where idx is null and writer <> all(${[...broken]}::text[]) limit 1`
  return rows.length > 0
}

/** The next batches, of each writer only what continues its chain: a batch whose forerunner is gone stays and is named. */
export async function waitingPlaces(
  sql: Sql,
  known: readonly string[],
  events: number,
): Promise<{ ready: ReadyPlace[]; broken: BrokenChain[] }> {
  const rows = await sql<WaitingRow[]>`
    with due as (
      select * from (
        select p.seq, p.writer, p.wseq, p.count, sum(p.count) over (order by p.seq) as total from audit_places p
        where p.idx is null and p.writer <> all(${[...known]}::text[]) order by p.seq limit ${maxPlaces}) as first
      where total - count < ${events})
    select due.seq::text, due.writer, due.wseq::text, due.count, found.rows, found.leaves
    from due cross join lateral (
      select count(*)::int as rows, string_agg(i.leaf, E'\n' order by i.seq) as leaves
      from audit_inbox i where i.seq >= due.seq and i.seq < due.seq + due.count) as found
    order by due.seq`
  const chain = await chainEnds(sql, rows)
  const ready: ReadyPlace[] = []
  const broken = new Map<string, BrokenChain>()
  for (const row of rows) {
    if (broken.has(row.writer)) continue
    const last = chain.get(row.writer) ?? chainStart
    const found = follow(row, last)
    if (typeof found !== 'number') {
      ready.push({ seq: row.seq, hashes: found.hashes })
      chain.set(row.writer, found.end)
    } else {
      broken.set(row.writer, { writer: row.writer, event: await eventAt(sql, row.seq, found), wseq: last.wseq })
    }
  }
  return { ready, broken: [...broken.values()] }
}

/** Where the chains of these batches' writers stand before them. */
async function chainEnds(sql: Sql, rows: readonly WaitingRow[]): Promise<Map<string, ChainEnd>> {
  const firsts = new Map<string, string>()
  for (const row of rows) if (!firsts.has(row.writer)) firsts.set(row.writer, row.wseq)
  const before = await sql<{ writer: string; wseq: string; leaf: string }[]>`
    select f.writer, (p.wseq + p.count - 1)::text as wseq, i.leaf
    from unnest(${[...firsts.keys()]}::text[], ${[...firsts.values()].map(Number)}::bigint[]) as f (writer, wseq)
    cross join lateral (
      select q.* from audit_places q where q.writer = f.writer and q.wseq < f.wseq and q.idx is not null order by q.wseq desc limit 1) as p
    join audit_inbox i on i.seq = p.seq + p.count - 1`
  return new Map(before.map(row => [row.writer, { wseq: Number(row.wseq), hash: leafHashHex(row.leaf) }]))
}

/** @returns the hashes of a batch that continues its writer's chain, or which of its leaves does not. */
function follow(row: WaitingRow, last: ChainEnd): { hashes: Buffer[]; end: ChainEnd } | number {
  const leaves = row.leaves?.split('\n') ?? []
  const hashes: Buffer[] = []
  let { wseq, hash } = last
  for (const [n, text] of leaves.entries()) {
    const leaf = parseLeaf(text)
    if (
      leaf?.writer !== row.writer ||
      leaf.wseq !== Number(row.wseq) + n ||
      leaf.wseq !== wseq + 1 ||
      leaf.prev !== hash
    )
      return n
    hash = leafHashHex(text)
    hashes.push(Buffer.from(hash, 'hex'))
    wseq = leaf.wseq
  }
  return row.rows === row.count && hashes.length === row.count ? { hashes, end: { wseq, hash } } : row.rows
}

async function eventAt(sql: Sql, seq: string, n: number): Promise<string | null> {
  const [row] = await sql<{ id: string }[]>`
    select i.id from audit_inbox i where i.seq >= ${seq} and i.seq < ${seq}::bigint + 4096 order by i.seq offset ${n} limit 1`
  return row?.id ?? null
}
