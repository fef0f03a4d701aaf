import { hash } from 'node:crypto'

/**
 * The Merkle tree of RFC 6962 §2.1, pure. Hashes are 32-byte Buffers. Indices may pass 2^31, so nothing here shifts bits.
 */
export const hashSize = 32

/** RFC 6962 §2.1: SHA-256(0x00 ‖ leaf). */
export function leafHash(leaf: string | Uint8Array): Buffer {
  if (typeof leaf === 'string') return Buffer.from(leafHashHex(leaf), 'hex')
  const input = Buffer.allocUnsafe(leaf.length + 1)
  input[0] = 0
  input.set(leaf, 1)
  return hash('sha256', input, 'buffer')
}

/** The same of a text, in hex: of all ways the one that costs least. */
export function leafHashHex(leaf: string): string {
  return hash('sha256', `\0${leaf}`, 'hex')
}

const nodeInput = Buffer.allocUnsafeSlow(1 + 2 * hashSize)
nodeInput[0] = 1

/** RFC 6962 §2.1: SHA-256(0x01 ‖ left ‖ right). */
export function nodeHash(left: Uint8Array, right: Uint8Array): Buffer {
  nodeInput.set(left, 1)
  nodeInput.set(right, 1 + hashSize)
  return hash('sha256', nodeInput, 'buffer')
}

/** The same of hashes in latin1 text, 32 characters each: thousands of them cost the collector nothing, as buffers would. */
export function nodeHashText(left: string, right: string): string {
  nodeInput.write(left, 1, 'latin1')
  nodeInput.write(right, 1 + hashSize, 'latin1')
  return hash('sha256', nodeInput, 'binary')
}

/** The root of no leaves: the hash of nothing. */
export const emptyRoot: Buffer = hash('sha256', '', 'buffer')

/** The root over leaves (not hashes) in one go; batch leaves of the audit log carry one. */
export function merkleRoot(leaves: readonly Uint8Array[]): Buffer {
  const tree = new Tree()
  for (const leaf of leaves) tree.append(leafHash(leaf))
  return tree.root()
}

/** Called for each hash whose level is a multiple of 8, as it becomes final: `level` counts tiles, `n` within it. */
export type Put = (level: number, n: number, hash: Buffer) => void

/** A tree that grows at its right edge and keeps only that edge. */
export class Tree {
  #size = 0
  readonly #edge: (Buffer | undefined)[] = []
  readonly #put: Put | undefined

  constructor(put?: Put) {
    this.#put = put
  }

  /** A tree of `size` leaves whose edge is read from elsewhere, one perfect subtree at a time. */
  static async resume(size: number, read: ReadNode, put?: Put): Promise<Tree> {
    const tree = new Tree(put)
    for (const node of perfectNodes(0, size)) tree.#edge[node.level] = await read(node)
    tree.#size = size
    return tree
  }

  get size(): number {
    return this.#size
  }

  /** Appends the hash of one leaf. */
  append(leaf: Buffer): void {
    let node = leaf
    let level = 0
    let n = this.#size
    this.#put?.(0, n, node)
    for (; n % 2 === 1; n = (n - 1) / 2) {
      node = nodeHash(this.#edge[level]!, node)
      this.#edge[level] = undefined
      level++
      if (level % 8 === 0) this.#put?.(level / 8, (n - 1) / 2, node)
    }
    this.#edge[level] = node
    this.#size++
  }

  root(): Buffer {
    let root: Buffer | undefined
    for (const node of this.#edge) if (node) root = root ? nodeHash(node, root) : node
    return root ?? emptyRoot
  }
}

/** A perfect subtree: 2^level leaves, the n-th of its level. */
export interface TreeNode {
  readonly level: number
  readonly n: number
}

export type ReadNode = (node: TreeNode) => Promise<Buffer>

/** The perfect subtrees, left to right, that make up the leaves [from, to) where `from` is the start of a subtree of RFC 6962. */
export function perfectNodes(from: number, to: number): TreeNode[] {
  const nodes: TreeNode[] = []
  for (let at = from; at < to; ) {
    let level = 0
    let width = 1
    while (at % (width * 2) === 0 && at + width * 2 <= to) {
      width *= 2
      level++
    }
    nodes.push({ level, n: at / width })
    at += width
  }
  return nodes
}

async function rangeHash(from: number, to: number, read: ReadNode): Promise<Buffer> {
  const hashes = await Promise.all(perfectNodes(from, to).map(read))
  return hashes.reduceRight((right, left) => nodeHash(left, right))
}

/** The root over the first `size` leaves. */
export async function rootAt(size: number, read: ReadNode): Promise<Buffer> {
  return size === 0 ? emptyRoot : rangeHash(0, size, read)
}

/** The largest power of two smaller than n (n ≥ 2). */
function split(n: number): number {
  let k = 1
  while (k * 2 < n) k *= 2
  return k
}

/** RFC 6962 §2.1.1: the path that proves leaf `index` to be in the tree of `size` leaves, from the leaf upwards. */
export async function inclusionProof(index: number, size: number, read: ReadNode): Promise<Buffer[]> {
  if (!(Number.isSafeInteger(index) && index >= 0 && index < size))
    throw new RangeError(`entry ${index} is not in a tree of ${size}`)
  const ranges: [number, number][] = []
  let [from, to] = [0, size]
  while (to - from > 1) {
    const middle = from + split(to - from)
    if (index < middle) {
      ranges.unshift([middle, to])
      to = middle
    } else {
      ranges.unshift([from, middle])
      from = middle
    }
  }
  return Promise.all(ranges.map(([a, b]) => rangeHash(a, b, read)))
}

/** RFC 6962 §2.1.2: the path that proves the tree of `first` leaves to be a prefix of the tree of `second` leaves. */
export async function consistencyProof(first: number, second: number, read: ReadNode): Promise<Buffer[]> {
  if (!(first >= 0 && first <= second)) throw new RangeError(`a tree of ${second} has no prefix of ${first}`)
  if (first === 0 || first === second) return []
  const ranges: [number, number][] = []
  let [from, to] = [0, second]
  while (first < to) {
    const middle = from + split(to - from)
    if (first <= middle) {
      ranges.unshift([middle, to])
      to = middle
    } else {
      ranges.unshift([from, middle])
      from = middle
    }
  }
  if (from > 0) ranges.unshift([from, to]) // the old tree is no whole subtree: name the part to start from
  return Promise.all(ranges.map(([a, b]) => rangeHash(a, b, read)))
}

/** Whether `path` proves that the leaf with this hash is entry `index` of the tree with this size and root. */
export function verifyInclusion(
  leaf: Uint8Array,
  index: number,
  size: number,
  path: readonly Uint8Array[],
  root: Uint8Array,
): boolean {
  if (!(Number.isSafeInteger(index) && Number.isSafeInteger(size) && index >= 0 && index < size)) return false
  if (path.some(hash => hash.length !== hashSize) || root.length !== hashSize) return false
  let [n, last] = [index, size - 1]
  let node: Buffer = Buffer.from(leaf)
  for (const sibling of path) {
    if (last === 0) return false
    if (n % 2 === 1 || n === last) {
      node = nodeHash(sibling, node)
      while (n % 2 === 0 && n !== 0) [n, last] = [n / 2, Math.floor(last / 2)]
    } else {
      node = nodeHash(node, sibling)
    }
    ;[n, last] = [Math.floor(n / 2), Math.floor(last / 2)]
  }
  return last === 0 && node.equals(root)
}

/** Whether `path` proves that the tree (first, firstRoot) is a prefix of the tree (second, secondRoot). */
export function verifyConsistency(
  first: number,
  firstRoot: Uint8Array,
  second: number,
  secondRoot: Uint8Array,
  path: readonly Uint8Array[],
): boolean {
  if (!(Number.isSafeInteger(first) && Number.isSafeInteger(second) && first >= 0 && first <= second)) return false
  if (path.some(hash => hash.length !== hashSize)) return false
  if (first === second) return path.length === 0 && Buffer.from(firstRoot).equals(secondRoot)
  if (first === 0) return path.length === 0 && emptyRoot.equals(firstRoot)
  let [n, last] = [first - 1, second - 1]
  while (n % 2 === 1) [n, last] = [(n - 1) / 2, Math.floor(last / 2)]
  const rest = [...path]
  const start = n === 0 ? Buffer.from(firstRoot) : rest.shift()
  if (!start) return false
  let old: Buffer = Buffer.from(start)
  let now: Buffer = Buffer.from(start)
  for (const sibling of rest) {
    if (last === 0) return false
    if (n % 2 === 1 || n === last) {
      old = nodeHash(sibling, old)
      now = nodeHash(sibling, now)
      while (n % 2 === 0 && n !== 0) [n, last] = [n / 2, Math.floor(last / 2)]
    } else {
      now = nodeHash(now, sibling)
    }
    ;[n, last] = [Math.floor(n / 2), Math.floor(last / 2)]
  }
  return last === 0 && old.equals(firstRoot) && now.equals(secondRoot)
}
