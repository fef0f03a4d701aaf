import type { Database } from '../db/database.ts'
import { type Break, CheckpointCopy, openBreak } from './copy.ts'
import { FlawList, type LogReport, maxFlaws } from './flaws.ts'
import { emptyRoot, hashSize, leafHash, nodeHash, Tree } from './merkle.ts'
import { type Checkpoint, openCheckpoint, parseVkey, type Verifier } from './note.ts'
import { placeWidth } from './schema.ts'
import { placeOf, type Sql } from './store.ts'
import { tileWidth } from './tiles.ts'
import { EntryChecks, type EntryRow } from './verify-entries.ts'

const page = 4096

/**
 * Verifies the whole log: every leaf is hashed again, every body that is there compared, every writer's chain followed,
 * tiles and checkpoints computed again, and the checkpoints of the copy compared. One snapshot of the database; memory
 * grows with the number of checkpoints and writers only.
 */
export async function verifyLog(database: Database, vkey: string, copyPath: string): Promise<LogReport> {
  const verifier = parseVkey(vkey)
  const flaws = new FlawList()
  const copy = await readCopy(new CheckpointCopy(copyPath), verifier, flaws) // before the snapshot, so that it is never ahead of it
  return database.sql.begin('isolation level repeatable read read only', async sql => {
    const [state] = await sql<{ size: string }[]>`select size::text from audit_state where id = 1`
    const size = Number(state?.size ?? 0)
    const signed = await readCheckpoints(sql, verifier, flaws)
    const entries = new EntryChecks(flaws)
    const roots = new Map<number, Buffer>([[0, emptyRoot]])
    const wanted = new Set([...signed.keys(), ...copy.sizes, ...copy.breaks.map(b => b.resumed.size), size])
    const tiles = new TileChecks(sql, flaws)
    const tree = new Tree((level, n, hash) => tiles.computed(level, n, hash))

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
        if (wanted.has(at + 1)) roots.set(at + 1, tree.root())
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

    checkSigned(signed, roots, size, flaws)
    const copied = checkOutside(copy, roots, size, flaws)
    return {
      ok: flaws.list.length === 0,
      size,
      root: tree.root().toString('hex'),
      flaws: flaws.list,
      more: flaws.more,
      breaks: copy.breaks.map(b => ({ abandoned: b.abandoned.size, resumed: b.resumed.size, at_ms: b.at_ms })),
      erased: entries.erased,
      waiting,
      copied,
    }
  })
}

async function entryRows(sql: Sql, from: number, count: number): Promise<EntryRow[]> {
  return sql<EntryRow[]>`
    select i.id, (p.idx + i.seq - p.seq)::text as idx, i.writer, i.wseq::text, i.at_ms::text, i.type, i.body, i.salt, i.leaf,
      i.subject_id, i.session_id, i.resource
    from audit_places p join audit_inbox i on i.seq >= p.seq and i.seq < p.seq + p.count
    where p.idx > ${from - placeWidth} and p.idx < ${from + count}
      and p.idx + i.seq - p.seq >= ${from} and p.idx + i.seq - p.seq < ${from + count}
    order by p.idx + i.seq - p.seq, i.seq`
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

async function readCheckpoints(sql: Sql, verifier: Verifier, flaws: FlawList): Promise<Map<number, Buffer>> {
  const signed = new Map<number, Buffer>()
  for (let last = -1; ; ) {
    const rows = await sql<{ size: string; root: Buffer; note: string }[]>`
      select size::text, root, note from audit_checkpoints c where c.size > ${last} order by c.size limit 10000`
    if (rows.length === 0) return signed
    for (const row of rows) {
      const checkpoint = openCheckpoint(row.note, verifier)
      const size = Number(row.size)
      if (!checkpoint)
        flaws.add('checkpoint_unsigned', size, `the checkpoint for ${size} entries is not signed by ${verifier.name}`)
      else if (checkpoint.size !== size || !checkpoint.root.equals(row.root)) {
        flaws.add(
          'checkpoint_wrong',
          size,
          `the row of the checkpoint for ${size} entries says something else than its signed note`,
        )
      }
      if (checkpoint) signed.set(checkpoint.size, checkpoint.root)
    }
    last = Number(rows.at(-1)!.size)
  }
}

function checkSigned(
  signed: ReadonlyMap<number, Buffer>,
  roots: ReadonlyMap<number, Buffer>,
  size: number,
  flaws: FlawList,
): void {
  let good = 0
  for (const [at, root] of [...signed].sort(([a], [b]) => a - b)) {
    const computed = roots.get(at)
    if (!computed) {
      let last = at
      for (const key of signed.keys()) last = Math.max(last, key)
      flaws.add(
        'log_truncated',
        last,
        `a checkpoint signs ${last} entries, but the log has ${size}: the last ${last - size} are gone`,
      )
      return
    }
    if (computed.equals(root)) good = at
    else {
      flaws.add(
        'checkpoint_wrong',
        at,
        `the entries from ${good} to ${at - 1} are not those that the checkpoint for ${at} entries signs`,
      )
      return
    }
  }
  if (size > 0 && !signed.has(size))
    flaws.add('checkpoint_wrong', size, `no signed checkpoint covers the log of ${size} entries`)
}

interface Outside {
  /** Checkpoints in the order of the file, with the signed breaks between them. */
  readonly steps: readonly (Checkpoint | Break)[]
  readonly sizes: readonly number[]
  readonly breaks: readonly Break[]
}

async function readCopy(copy: CheckpointCopy, verifier: Verifier, flaws: FlawList): Promise<Outside> {
  const steps: (Checkpoint | Break)[] = []
  for await (const line of copy.lines()) {
    const step = line.kind === 'break' ? openBreak(line.note, verifier) : openCheckpoint(line.note, verifier)
    if (step) steps.push(step)
    else
      flaws.add('copy_unsigned', line.number, `line ${line.number} of ${copy.path} is not signed by ${verifier.name}`)
  }
  const breaks = steps.filter(step => 'resumed' in step)
  return { steps, sizes: steps.filter(step => 'size' in step).map(step => step.size), breaks }
}

/** @returns how many checkpoints of the copy fit the log. */
function checkOutside(copy: Outside, roots: ReadonlyMap<number, Buffer>, size: number, flaws: FlawList): number {
  if (copy.steps.length === 0 && size > 0) {
    flaws.add(
      'copy_missing',
      null,
      'there is no copy of the checkpoints: nothing can be said against the owner of the database',
    )
  }
  let fits = 0
  let limit = Number.POSITIVE_INFINITY // what a later break gave up is not in this log any more
  let resumedBefore = 0
  let newer = Number.POSITIVE_INFINITY
  for (const step of [...copy.steps].reverse()) {
    if ('resumed' in step) {
      limit = Math.min(limit, step.resumed.size)
      newer = Number.POSITIVE_INFINITY
      continue
    }
    if (step.size > newer)
      flaws.add(
        'copy_went_back',
        step.size,
        `the copy goes back from ${step.size} to ${newer} entries without a signed break`,
      )
    newer = step.size
    if (step.size > limit) continue
    const computed = roots.get(step.size)
    if (computed?.equals(step.root)) {
      fits++
      continue
    }
    if (!computed) {
      if (resumedBefore++ === 0) {
        flaws.add(
          'log_truncated',
          step.size,
          `the copy knows of ${step.size} signed entries, the database has ${size}: the last ${step.size - size} are gone`,
        )
      }
    } else {
      flaws.add(
        'log_rewritten',
        step.size,
        `the first ${step.size} entries are not those of the checkpoint kept outside: the log was rewritten`,
      )
    }
  }
  return fits
}

/** Compares the stored tiles with those computed from the leaves. */
class TileChecks {
  readonly #sql: Sql
  readonly #flaws: FlawList
  readonly #computed = new Map<string, { level: number; n: number; hashes: Buffer[] }>()

  constructor(sql: Sql, flaws: FlawList) {
    this.#sql = sql
    this.#flaws = flaws
  }

  computed(level: number, n: number, hash: Buffer): void {
    if (level === 0) return // these are what the entries are compared with
    const key = `${level}/${Math.floor(n / tileWidth)}`
    let tile = this.#computed.get(key)
    if (!tile) this.#computed.set(key, (tile = { level, n: Math.floor(n / tileWidth), hashes: [] }))
    tile.hashes.push(hash)
  }

  async leafHashes(from: number, count: number): Promise<Buffer> {
    const rows = await this.#sql<{ n: string; hashes: Buffer }[]>`
      select n::text, hashes from audit_tiles
      where level = 0 and n >= ${from / tileWidth} and n < ${Math.ceil((from + count) / tileWidth)} order by audit_tiles.n`
    const all = Buffer.alloc(count * hashSize)
    let known = 0
    for (const row of rows) {
      const offset = (Number(row.n) * tileWidth - from) * hashSize
      if (offset !== known) break
      known += row.hashes.copy(all, offset)
    }
    const whole = Math.min(known, all.length)
    if (whole < all.length) {
      const at = from + whole / hashSize
      this.#flaws.add('tile_wrong', at, `tile 0/${Math.floor(at / tileWidth)} is missing or too short`)
    }
    return all.subarray(0, whole)
  }

  async compareFull(): Promise<void> {
    await this.#compare(tile => tile.hashes.length === tileWidth)
  }

  async compareRest(): Promise<void> {
    await this.#compare(() => true)
  }

  async #compare(due: (tile: { hashes: Buffer[] }) => boolean): Promise<void> {
    for (const [key, tile] of this.#computed) {
      if (!due(tile)) continue
      this.#computed.delete(key)
      const [row] = await this.#sql<
        { hashes: Buffer }[]
      >`select hashes from audit_tiles where level = ${tile.level} and n = ${tile.n}`
      if (!row?.hashes.equals(Buffer.concat(tile.hashes))) {
        this.#flaws.add('tile_wrong', null, `tile ${key} does not hold the hashes of the tiles below it`)
      }
    }
  }
}
