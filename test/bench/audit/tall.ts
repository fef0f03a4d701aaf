import { leafText } from '../../../src/audit/leaf.ts'
import { hashSize, leafHash, Tree } from '../../../src/audit/merkle.ts'
import { checkpointText, signNote } from '../../../src/audit/note.ts'
import { tileWidth } from '../../../src/audit/tiles.ts'
import type { Database } from '../../../src/db/database.ts'
import { checkpointKey, origin } from './log.ts'

const signature = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1')
const rowsAtOnce = 256

/**
 * A log of `size` entries by bulk: the tree is the real one, its tiles go in by binary COPY, and only every
 * `size / events`-th entry has an event in the inbox. @returns the ids of those.
 */
export async function buildTallLog(database: Database, size: number, events: number): Promise<string[]> {
  await database.sql`truncate audit_inbox, audit_places, audit_tiles, audit_checkpoints, audit_state, audit_writers`
  const sink = await database.sql`copy audit_tiles (level, n, width, hashes) from stdin (format binary)`.writable()
  const write = (bytes: Buffer) =>
    new Promise<void>((resolve, reject) => sink.write(bytes, error => (error ? reject(error) : resolve())))
  let waiting: Buffer[] = [signature]
  const open = new Map<number, { n: number; hashes: Buffer; width: number }>()
  const full = (level: number, n: number, width: number, hashes: Buffer) => waiting.push(row(level, n, width, hashes))
  const tree = new Tree((level, n, hash) => {
    const at = Math.floor(n / tileWidth)
    let tile = open.get(level)
    if (tile?.n !== at) open.set(level, (tile = { n: at, hashes: Buffer.alloc(tileWidth * hashSize), width: 0 }))
    hash.copy(tile.hashes, (n % tileWidth) * hashSize)
    tile.width = (n % tileWidth) + 1
    if (tile.width === tileWidth) {
      full(level, at, tileWidth, tile.hashes)
      open.delete(level)
    }
  })
  const ids: string[] = []
  const step = Math.floor(size / events)
  for (let n = 0; n < size; n++) {
    const asked = n % step === 0 && ids.length < events
    tree.append(leafHash(asked ? leafOf(n) : String(n)))
    if (asked) ids.push(`evt_${n}`)
    if (waiting.length >= rowsAtOnce) {
      await write(Buffer.concat(waiting))
      waiting = []
    }
  }
  for (const [level, tile] of open)
    full(level, tile.n, tile.width, tile.hashes.subarray(0, tile.width * hashSize) as Buffer)
  waiting.push(Buffer.from([0xff, 0xff]))
  await write(Buffer.concat(waiting))
  await new Promise<void>((resolve, reject) => sink.on('finish', resolve).on('error', reject).end())
  const root = tree.root()
  const note = signNote(checkpointText({ origin, size, root }), origin, checkpointKey)
  await database.sql`insert into audit_checkpoints (size, root, note, at_ms) values (${size}, ${root}, ${note}, 0)`
  await database.sql`insert into audit_state (id, epoch, size) values (1, 1, ${size})`
  const places = ids.map((_, i) => i * step)
  await database.sql`
    insert into audit_places (seq, writer, wseq, count, idx) overriding system value
    select n * 4096, 'prc_tall.0', n + 1, 1, n from unnest(${places}::bigint[]) as e (n)`
  await database.sql`
    insert into audit_inbox (id, writer, wseq, at_ms, type, seq, leaf)
    select id, 'prc_tall.0', n + 1, 0, 'vote.cast', n * 4096, leaf from unnest(
      ${ids}::text[], ${places}::bigint[], ${places.map(leafOf)}::text[]) as e (id, n, leaf)`
  await database.sql`analyze`
  return ids
}

/** A whole leaf; the entries that nobody asks for have something shorter in their place. */
const leafOf = (n: number) =>
  leafText({
    v: 1,
    type: 'vote.cast',
    at_ms: 0,
    writer: 'prc_tall.0',
    wseq: n + 1,
    prev: '',
    body_hash: '0'.repeat(64),
  })

/** One row in PostgreSQL's binary COPY format: https://www.postgresql.org/docs/current/sql-copy.html */
function row(level: number, n: number, width: number, hashes: Buffer): Buffer {
  const bytes = Buffer.alloc(2 + 4 + 4 + 4 + 8 + 4 + 4 + 4 + hashes.length)
  let at = bytes.writeInt16BE(4, 0)
  at = bytes.writeInt32BE(level, bytes.writeInt32BE(4, at))
  at = bytes.writeBigInt64BE(BigInt(n), bytes.writeInt32BE(8, at))
  at = bytes.writeInt32BE(width, bytes.writeInt32BE(4, at))
  at = bytes.writeInt32BE(hashes.length, at)
  hashes.copy(bytes, at)
  return bytes
}
