import { hashSize, nodeHashText, type ReadNode } from './merkle.ts'

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

/** Tiles that a reader holds at once: those of many proofs meet in few, and of each proof the lowest is its own. */
const heldTiles = 256

/**
 * Reads tree nodes out of tiles; a tile is read once while the reader holds it.
 * @throws RangeError where a tile holds fewer hashes than the tree needs.
 */
export function nodesFrom(read: ReadTile): ReadNode {
  const held = new Map<string, { readonly tile: Promise<Uint8Array>; readonly nodes: Map<number, string> }>()
  return async ({ level, n }) => {
    const height = level % 8
    const tileLevel = (level - height) / 8
    const width = 2 ** height
    const first = n * width
    const tileN = Math.floor(first / tileWidth)
    const key = `${tileLevel}/${tileN}`
    const found = held.get(key) ?? { tile: read(tileLevel, tileN), nodes: new Map<number, string>() }
    held.delete(key) // and to the end: the one that was asked for longest ago goes first
    held.set(key, found)
    if (held.size > heldTiles) held.delete(held.keys().next().value!)
    const tile = await found.tile
    const offset = first % tileWidth
    if (tile.length < (offset + width) * hashSize)
      throw new RangeError(`tile ${key} is too short for node ${n} of level ${level}`)
    return Buffer.from(nodeIn(tile, height, offset / width, found.nodes), 'latin1')
  }
}

/** A node within a tile: the `at`-th of its height. Each is computed once, as paths of one proof meet in their tiles. */
function nodeIn(tile: Uint8Array, height: number, at: number, known: Map<number, string>): string {
  const name = height * tileWidth + at
  let node = known.get(name)
  if (node === undefined) {
    node =
      height === 0
        ? Buffer.from(tile.buffer, tile.byteOffset + at * hashSize, hashSize).toString('latin1')
        : nodeHashText(nodeIn(tile, height - 1, 2 * at, known), nodeIn(tile, height - 1, 2 * at + 1, known))
    known.set(name, node)
  }
  return node
}
