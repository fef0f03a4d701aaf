import { open, readFile } from 'node:fs/promises'

/**
 * How many deltas stand upon each other at most in an indexed pack (gitformat-pack(5)): the heads of its entries are read,
 * nothing is unpacked. Whoever reads an object of a chain unpacks all of it, each time.
 */
export async function deltaDepth(pack: string, idBytes: 20 | 32): Promise<number> {
  const index = await readFile(pack.replace(/\.pack$/, '.idx'))
  const count = index.readUInt32BE(8 + 255 * 4)
  const names = 8 + 1024
  const small = names + count * (idBytes + 4)
  const large = small + count * 4
  const at = new Float64Array(count)
  for (let i = 0; i < count; i++) {
    const word = index.readUInt32BE(small + i * 4)
    at[i] = word < 0x8000_0000 ? word : Number(index.readBigUInt64BE(large + (word - 0x8000_0000) * 8))
  }
  const order = Float64Array.from(at).sort()
  const base = new Int32Array(count).fill(-1)
  const file = await open(pack, 'r')
  try {
    const window = Buffer.alloc(1 << 20)
    let [from, filled] = [0, 0]
    for (let i = 0; i < count; i++) {
      const offset = order[i]!
      if (offset + headBytes > from + filled) {
        from = offset
        filled = (await file.read(window, 0, window.length, from)).bytesRead
      }
      const entry = readEntry(
        window.subarray(offset - from, Math.min(filled, offset - from + headBytes)),
        offset,
        idBytes,
      )
      if (typeof entry === 'number') base[i] = find(order, entry)
      else if (entry !== null) {
        const place = findName(index, names, idBytes, count, entry)
        base[i] = place < 0 ? -1 : find(order, at[place]!)
      }
    }
  } finally {
    await file.close()
  }
  return deepest(base)
}

/** An entry's head: type and size in at most 10 bytes, then an offset of at most 10 or an id. */
const headBytes = 10 + 32

/** Where its base begins, or the base's id; null for what is no delta. */
function readEntry(head: Buffer, offset: number, idBytes: number): number | Buffer | null {
  const type = (head[0]! >> 4) & 7
  let i = 1
  if (head[0]! & 0x80) while (head[i++]! & 0x80);
  if (type === 7) return head.subarray(i, i + idBytes)
  if (type !== 6) return null
  let back = head[i]! & 0x7f
  while (head[i++]! & 0x80) back = (back + 1) * 128 + (head[i]! & 0x7f)
  return offset - back
}

function find(order: Float64Array, offset: number): number {
  let [low, high] = [0, order.length - 1]
  while (low <= high) {
    const middle = (low + high) >> 1
    if (order[middle] === offset) return middle
    if (order[middle]! < offset) low = middle + 1
    else high = middle - 1
  }
  return -1
}

function findName(index: Buffer, names: number, idBytes: number, count: number, id: Buffer): number {
  let [low, high] = [0, count - 1]
  while (low <= high) {
    const middle = (low + high) >> 1
    const order = index.compare(id, 0, idBytes, names + middle * idBytes, names + (middle + 1) * idBytes)
    if (order === 0) return middle
    if (order < 0) low = middle + 1
    else high = middle - 1
  }
  return -1
}

/** Each chain is walked once. Git has resolved all of them, so that none of them is a circle. */
function deepest(base: Int32Array): number {
  const depth = new Int32Array(base.length).fill(-1)
  const path: number[] = []
  let most = 0
  for (let i = 0; i < base.length; i++) {
    let at = i
    while (at >= 0 && depth[at]! < 0 && path.length <= base.length) {
      path.push(at)
      at = base[at]!
    }
    let known = at < 0 ? -1 : depth[at]!
    while (path.length > 0) depth[path.pop()!] = ++known
    most = Math.max(most, known)
  }
  return most
}
