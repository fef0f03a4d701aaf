import type { FlawList } from './flaws.ts'
import { hashSize } from './merkle.ts'
import type { Sql } from './store.ts'
import { tileWidth } from './tiles.ts'

/** Compares the stored tiles with those computed from the leaves. */
export class TileChecks {
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
