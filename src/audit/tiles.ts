import { hashSize, nodeHash, type ReadNode } from './merkle.ts'

/** Tiles of height 8, as C2SP tlog-tiles: https://c2sp.org/tlog-tiles. */
export const tileWidth = 256

export interface TileAddress {
  readonly level: number | 'entries'
  readonly n: number
  /** Hashes (or entries) in the tile: 256 for a full one. */
  readonly width: number
}

/** `tile/<level>/<n>[.p/<width>]`, the number in groups of three digits: 1234067 → x001/x234/067. */
export function tilePath({ level, n, width }: TileAddress): string {
  const digits = String(n).padStart(Math.ceil(String(n).length / 3) * 3, '0')
  const groups = digits.match(/\d{3}/g)!
  const name = groups.map((group, i) => (i < groups.length - 1 ? `x${group}` : group)).join('/')
  return `tile/${level}/${name}${width === tileWidth ? '' : `.p/${width}`}`
}

/** The address that a path names, or null where it is not exactly the path that `tilePath` writes. */
export function parseTilePath(path: string): TileAddress | null {
  const match = /^tile\/(entries|\d{1,2})\/((?:x\d{3}\/){0,4}\d{3})(?:\.p\/(\d{1,3}))?$/.exec(path)
  if (!match) return null
  const address: TileAddress = {
    level: match[1] === 'entries' ? 'entries' : Number(match[1]),
    n: Number(match[2]!.replace(/[x/]/g, '')),
    width: match[3] === undefined ? tileWidth : Number(match[3]),
  }
  if (address.width < 1 || (address.level !== 'entries' && address.level > 6)) return null
  return tilePath(address) === path ? address : null
}

/** An entry bundle: each entry behind its length in two bytes, big-endian. */
export function entryBundle(entries: readonly string[]): Buffer {
  return Buffer.concat(
    entries.flatMap(entry => {
      const bytes = Buffer.from(entry, 'utf8')
      const length = Buffer.alloc(2)
      length.writeUInt16BE(bytes.length)
      return [length, bytes]
    }),
  )
}

/** The hashes of the tile (level, n), at least as many as the tree asked about has there. */
export type ReadTile = (level: number, n: number) => Promise<Uint8Array>

/**
 * Reads tree nodes out of tiles; each tile is read once for the life of the reader.
 * @throws RangeError where a tile holds fewer hashes than the tree needs.
 */
export function nodesFrom(read: ReadTile): ReadNode {
  const seen = new Map<string, Promise<Uint8Array>>()
  const nodes = new Map<string, Map<number, Buffer>>()
  return async ({ level, n }) => {
    const height = level % 8
    const tileLevel = (level - height) / 8
    const width = 2 ** height
    const first = n * width
    const tileN = Math.floor(first / tileWidth)
    const key = `${tileLevel}/${tileN}`
    let pending = seen.get(key)
    if (!pending) seen.set(key, (pending = read(tileLevel, tileN)))
    const tile = await pending
    const offset = first % tileWidth
    if (tile.length < (offset + width) * hashSize)
      throw new RangeError(`tile ${key} is too short for node ${n} of level ${level}`)
    let known = nodes.get(key)
    if (!known) nodes.set(key, (known = new Map()))
    return nodeIn(tile, height, offset / width, known)
  }
}

/** A node within a tile: the `at`-th of its height. Each is computed once, as paths of one proof meet in their tiles. */
function nodeIn(tile: Uint8Array, height: number, at: number, known: Map<number, Buffer>): Buffer {
  if (height === 0) return Buffer.from(tile.subarray(at * hashSize, (at + 1) * hashSize))
  const name = height * tileWidth + at
  let node = known.get(name)
  if (!node) {
    node = nodeHash(nodeIn(tile, height - 1, 2 * at, known), nodeIn(tile, height - 1, 2 * at + 1, known))
    known.set(name, node)
  }
  return node
}
