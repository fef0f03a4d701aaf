import type { Database } from '../db/database.ts'
import { CheckpointCopy } from './copy.ts'
import { FlawList, type LogReport, maxFlaws } from './flaws.ts'
import { chainOf, openHandover } from './handover.ts'
import { emptyRoot, hashSize, leafHash, nodeHash, Tree } from './merkle.ts'
import { parseVkey, vkeyText } from './note.ts'
import { placeWidth } from './schema.ts'
import { handoversOf, statements } from './statements.ts'
import { placeOf, type Sql } from './store.ts'
import { CopyChecks, firstLook } from './verify-copy.ts'
import { EntryChecks, type EntryRow } from './verify-entries.ts'
import { OutsideChecks, type OutsidePoint, openBreaks } from './verify-outside.ts'
import { SignedChecks } from './verify-signed.ts'
import { TileChecks } from './verify-tiles.ts'

const page = 4096

export interface VerifyOptions {
  /** A key of the log that the reader trusts; where it was handed over, the handovers are followed. */
  readonly vkey: string
  /** Path of the copy. */
  readonly copy: string
  /** What outside places hold. */
  readonly outside?: readonly OutsidePoint[]
}

/**
 * Verifies the whole log: every leaf is hashed again, every body that is there compared, every writer's chain followed,
 * tiles and checkpoints computed again, and the checkpoints of the copy and of outside places compared. One snapshot of
 * the database; everything is read along with the entries, so that memory grows with the number of writers only.
 */
export async function verifyLog(database: Database, { vkey, copy, outside = [] }: VerifyOptions): Promise<LogReport> {
  const flaws = new FlawList()
  const file = new CheckpointCopy(copy)
  const known = await statements(database.sql)
  const kept = await firstLook(file) // before the snapshot, so that it is never ahead of it
  const chain = chainOf(handoversOf([...known, ...kept.lines]), parseVkey(vkey))
  for (const { kind, note } of [...known, ...kept.lines])
    if (kind === 'handover' && openHandover(note) === null)
      flaws.add('handover_wrong', null, 'a handover of the key is not signed by both its keys')
  return database.sql.begin('isolation level repeatable read read only', async sql => {
    const [state] = await sql<{ size: string }[]>`select size::text from audit_state where id = 1`
    const size = Number(state?.size ?? 0)
    const entries = new EntryChecks(flaws)
    const tiles = new TileChecks(sql, flaws)
    const tree = new Tree((level, n, hash) => tiles.computed(level, n, hash))
    const signed = new SignedChecks(sql, chain, size)
    const copied = new CopyChecks(file, kept, chain, size)
    const places = new OutsideChecks(outside, chain, size, openBreaks([...known, ...kept.lines], chain))
    const followers = [signed, copied, places]
    for (const each of followers) await each.reached(0, () => emptyRoot)

    for (let from = 0; from < size; from += page) {
      const count = Math.min(page, size - from)
      const hashes = await tiles.leafHashes(from, count)
      const rows = new Map<number, EntryRow>()
      for (const row of await entryRows(sql, from, count)) {
        const idx = Number(row.idx)
        const other = rows.get(idx)
        if (other) flaws.add('entry_moved', idx, `events ${other.id} and ${row.id} both stand at index ${idx}`, row.id)
        else rows.set(idx, row)
      }
      for (let at = from; at < from + count; at++) {
        const stored = hashes.subarray((at - from) * hashSize, (at - from + 1) * hashSize)
        const tile = stored.length === hashSize ? Buffer.from(stored) : null
        const row = rows.get(at)
        entries.check(at, row, tile)
        // the tree goes on with what the tile says, so that one changed entry does not hide what follows
        tree.append(tile ?? (row ? leafHash(row.leaf) : nodeHash(emptyRoot, emptyRoot)))
        for (const each of followers) if (each.next === at + 1) await each.reached(at + 1, () => tree.root())
      }
      await tiles.compareFull()
    }
    await tiles.compareRest()
    const [beyond] = await sql<{ id: string; idx: string }[]>`
      select i.id, (p.idx + i.seq - p.seq)::text as idx from audit_places p
      join audit_inbox i on i.seq >= p.seq and i.seq < p.seq + p.count
      where p.idx > ${size - placeWidth} and p.idx + i.seq - p.seq >= ${size} order by p.idx, i.seq limit 1`
    if (beyond)
      flaws.add(
        'entry_moved',
        Number(beyond.idx),
        `event ${beyond.id} has index ${beyond.idx}, but the log has ${size} entries`,
        beyond.id,
      )
    await checkStray(sql, flaws)
    const waiting = await checkWaiting(sql, entries)
    entries.finish()
    for (const each of followers) {
      await each.finish()
      flaws.take(each.flaws)
    }
    return {
      ok: flaws.list.length === 0,
      size,
      root: tree.root().toString('hex'),
      flaws: flaws.list,
      more: flaws.more,
      breaks: kept.breaks(chain).map(b => ({ abandoned: b.abandoned.size, resumed: b.resumed.size, at_ms: b.at_ms })),
      keys: chain.links.map(link => ({
        vkey: vkeyText(link.verifier),
        until: Number.isFinite(link.until) ? link.until : null,
      })),
      erased: entries.erased,
      waiting,
      copied: copied.fits,
      outside: places.report,
    }
  })
}

async function entryRows(sql: Sql, from: number, count: number): Promise<EntryRow[]> {
  return sql<EntryRow[]>`
    select i.id, (p.idx + i.seq - p.seq)::text as idx, i.writer, i.wseq::text, i.at_ms::text, i.type, i.body, i.salt, i.leaf,
      i.subject_id, i.session_id, i.resource
    from audit_places p join audit_inbox i on i.seq >= p.seq and i.seq < p.seq + p.count
    where p.idx > ${from - placeWidth} and p.idx < ${from + count}
      and p.idx + i.seq - p.seq >= ${from} and p.idx + i.seq - p.seq < ${from + count}`
}

/** Events that no place leads to: whoever moves an event or its place leaves one behind. */
async function checkStray(sql: Sql, flaws: FlawList): Promise<void> {
  const rows = await sql<{ id: string }[]>`
    select i.id from audit_inbox i where not exists (
      select from audit_places p where p.seq = ${sql.unsafe(placeOf)} and i.seq < p.seq + p.count)
    order by i.seq limit ${maxFlaws}`
  for (const { id } of rows) flaws.add('entry_moved', null, `event ${id} stands nowhere: its place was removed`, id)
}

/** Events that wait must continue their writers' chains, and the writers' rows must say where the chains end. */
async function checkWaiting(sql: Sql, entries: EntryChecks): Promise<number> {
  let waiting = 0
  for (let last = 0; ; ) {
    const rows = await sql<(EntryRow & { seq: string })[]>`
      select i.id, '-1' as idx, i.writer, i.wseq::text, i.at_ms::text, i.type, i.body, i.salt, i.leaf, i.subject_id, i.session_id,
        i.resource, i.seq::text
      from audit_places p join audit_inbox i on i.seq >= p.seq and i.seq < p.seq + p.count
      where p.idx is null and p.seq > ${last - placeWidth} and i.seq > ${last} order by i.seq limit ${page}`
    if (rows.length === 0) break
    for (const row of rows) entries.check(null, row, leafHash(row.leaf))
    waiting += rows.length
    last = Number(rows.at(-1)!.seq)
  }
  for (const row of await sql<
    { writer: string; wseq: string; prev: string }[]
  >`select writer, wseq::text, prev from audit_writers`) {
    entries.checkEnd(row.writer, Number(row.wseq), row.prev)
  }
  return waiting
}
