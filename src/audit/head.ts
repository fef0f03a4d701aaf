import { hashSize, Tree } from './merkle.ts'
import { nodeReader, type Sql } from './store.ts'
import { tileWidth } from './tiles.ts'

interface OpenTile {
  readonly level: number
  readonly n: number
  readonly hashes: Buffer
  width: number
  dirty: boolean
}

/**
 * The right edge of the log in memory: the tree and the tiles that are not full. It is thrown away and read again
 * whenever a transaction did not surely commit.
 */
export class Head {
  readonly tree: Tree
  readonly #open: Map<string, OpenTile>

  private constructor(tree: Tree, open: Map<string, OpenTile>) {
    this.tree = tree
    this.#open = open
  }

  static async load(sql: Sql, size: number): Promise<Head> {
    const open = new Map<string, OpenTile>()
    for (let level = 0, count = size; count > 0; level++, count = Math.floor(count / tileWidth)) {
      const width = count % tileWidth
      if (width === 0) continue
      const n = Math.floor(count / tileWidth)
      const [row] = await sql<{ hashes: Buffer }[]>`select hashes from audit_tiles where level = ${level} and n = ${n}`
      if (!row || row.hashes.length < width * hashSize)
        throw new RangeError(`tile ${level}/${n} is missing or too short`)
      const hashes = Buffer.alloc(tileWidth * hashSize)
      row.hashes.copy(hashes, 0, 0, width * hashSize)
      open.set(`${level}/${n}`, { level, n, hashes, width, dirty: false })
    }
    const tree = await Tree.resume(size, nodeReader(sql), (level, n, hash) => put(open, level, n, hash))
    return new Head(tree, open)
  }

  /** Writes the tiles that changed and forgets those that are full. */
  async flush(sql: Sql): Promise<void> {
    const dirty = [...this.#open.values()].filter(tile => tile.dirty)
    if (dirty.length === 0) return
    await sql`
      insert into audit_tiles (level, n, width, hashes)
      select level, n, width, decode(hashes, 'hex') from unnest(
        ${dirty.map(t => t.level)}::int[], ${dirty.map(t => t.n)}::bigint[], ${dirty.map(t => t.width)}::int[],
        ${dirty.map(t => t.hashes.toString('hex', 0, t.width * hashSize))}::text[]) as t (level, n, width, hashes)
      on conflict (level, n) do update set width = excluded.width, hashes = excluded.hashes`
    for (const tile of dirty) {
      tile.dirty = false
      if (tile.width === tileWidth) this.#open.delete(`${tile.level}/${tile.n}`)
    }
  }
}

function put(open: Map<string, OpenTile>, level: number, n: number, hash: Buffer): void {
  const key = `${level}/${Math.floor(n / tileWidth)}`
  let tile = open.get(key)
  if (!tile)
    open.set(
      key,
      (tile = {
        level,
        n: Math.floor(n / tileWidth),
        hashes: Buffer.alloc(tileWidth * hashSize),
        width: 0,
        dirty: true,
      }),
    )
  hash.copy(tile.hashes, (n % tileWidth) * hashSize)
  tile.width = (n % tileWidth) + 1
  tile.dirty = true
}
