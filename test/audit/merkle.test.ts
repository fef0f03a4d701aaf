import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  consistencyProof,
  emptyRoot,
  inclusionProof,
  leafHash,
  merkleRoot,
  nodeHash,
  type ReadNode,
  rootAt,
  Tree,
  verifyConsistency,
  verifyInclusion,
} from '../../src/audit/merkle.ts'

const vectors = JSON.parse(readFileSync(new URL('../vectors/audit/tree.json', import.meta.url), 'utf8')) as {
  leaves: string[]
  roots: string[]
}
const leaf = (n: number) => leafHash(`leaf ${n}`)

/** RFC 6962 §2.1 as it is written, recursively: the judge of everything else here. */
function mth(from: number, to: number): Buffer {
  if (to - from === 0) return emptyRoot
  if (to - from === 1) return leaf(from)
  let k = 1
  while (k * 2 < to - from) k *= 2
  return nodeHash(mth(from, from + k), mth(from + k, to))
}
const read: ReadNode = async ({ level, n }) => mth(n * 2 ** level, (n + 1) * 2 ** level)

describe('the Merkle tree', () => {
  test('gives the roots of the reference tree of Certificate Transparency', () => {
    const leaves = vectors.leaves.map(hex => Buffer.from(hex, 'hex'))
    for (const [i, root] of vectors.roots.entries()) expect(merkleRoot(leaves.slice(0, i)).toString('hex')).toBe(root)
  })

  test('gives the same root grown, resumed at any size, and computed from subtrees', async () => {
    for (const size of [0, 1, 2, 3, 7, 8, 9, 100, 255, 256, 257, 300]) {
      const half = Math.floor(size / 2)
      const tree = await Tree.resume(half, read)
      for (let n = half; n < size; n++) tree.append(leaf(n))
      expect(tree.root()).toEqual(mth(0, size))
      expect(await rootAt(size, read)).toEqual(mth(0, size))
    }
  })

  test('proves every entry of small trees, and no other index, leaf or root passes', async () => {
    for (let size = 1; size <= 20; size++) {
      const root = mth(0, size)
      for (let index = 0; index < size; index++) {
        const path = await inclusionProof(index, size, read)
        expect(verifyInclusion(leaf(index), index, size, path, root)).toBe(true)
        expect(verifyInclusion(leaf(index + 1), index, size, path, root)).toBe(false)
        expect(verifyInclusion(leaf(index), index + 1, size, path, root)).toBe(false)
        expect(verifyInclusion(leaf(index), index, size, [...path, root], root)).toBe(false)
        if (path.length > 0) expect(verifyInclusion(leaf(index), index, size, path.slice(1), root)).toBe(false)
      }
    }
  })

  test('proves every prefix of small trees, and no other prefix passes', async () => {
    for (let second = 1; second <= 20; second++) {
      for (let first = 0; first <= second; first++) {
        const path = await consistencyProof(first, second, read)
        expect(verifyConsistency(first, mth(0, first), second, mth(0, second), path)).toBe(true)
        expect(verifyConsistency(first, leaf(99), second, mth(0, second), path)).toBe(false)
        if (first > 0) expect(verifyConsistency(first, mth(0, first), second, leaf(99), path)).toBe(false)
        if (path.length > 0)
          expect(verifyConsistency(first, mth(0, first), second, mth(0, second), path.slice(1))).toBe(false)
      }
    }
  })

  test('refuses an index outside the tree and paths of junk without a fault', async () => {
    await expect(inclusionProof(5, 5, read)).rejects.toThrow('entry 5 is not in a tree of 5')
    fc.assert(
      fc.property(
        fc.integer(),
        fc.integer(),
        fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 70 }),
        (index, size, path) => {
          expect(verifyInclusion(leaf(0), index, size, path, emptyRoot)).toBe(false)
          if (index !== size && index !== 0) expect(verifyConsistency(index, leaf(1), size, leaf(2), path)).toBe(false)
        },
      ),
    )
  })

  test('counts beyond 2^32 entries', async () => {
    const size = 2 ** 33 + 5
    const fake: ReadNode = async ({ level, n }) => leafHash(`${level}/${n}`)
    const tree = await Tree.resume(size - 2, fake)
    tree.append(leafHash(`0/${size - 2}`))
    expect(tree.size).toBe(size - 1)
    const path = await inclusionProof(size - 1, size, fake)
    expect(path).toHaveLength(2)
    expect(verifyInclusion(leafHash(`0/${size - 1}`), size - 1, size, path, await rootAt(size, fake))).toBe(true)
  })
})
