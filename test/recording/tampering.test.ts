import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { RecordingDamaged } from '../../src/recording/errors.ts'
import { hashOf } from '../../src/recording/format/segment.ts'
import { type BuiltPart, buildPart, readAll, rowOf } from './built-part.ts'

let whole: BuiltPart
beforeAll(async () => {
  whole = await buildPart()
})

const copy = (): BuiltPart => ({
  ...whole,
  segments: whole.segments.map(s => ({ row: { ...s.row }, stored: Buffer.from(s.stored) })),
})

async function expectDamage(built: BuiltPart, segment: number): Promise<void> {
  const { played, error } = await readAll(built)
  expect(error).toBeInstanceOf(RecordingDamaged)
  expect((error as RecordingDamaged).part).toBe(1)
  expect((error as RecordingDamaged).segment).toBe(segment)
  const prefix = segment < 0 ? played : played.slice(0, segment * 2)
  expect(played).toEqual(prefix)
  expect(played.map(event => event.seq)).toEqual(played.map((_, i) => i + 1))
}

describe('RE3: a recording that was changed', () => {
  test('RE3: untouched, it verifies and plays in order', async () => {
    const { played, error } = await readAll(whole)
    expect(error).toBeUndefined()
    expect(played.map(event => [event.seq, event['text']])).toEqual(
      Array.from({ length: 10 }, (_, i) => [i + 1, `select ${i + 1}`]),
    )
  })

  test('RE3: any flipped bit is found and its segment named', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(4), fc.nat(), fc.nat(7), async (n, at, bit) => {
        const built = copy()
        const { stored } = built.segments[n]!
        stored[at % stored.length]! ^= 1 << bit
        await expectDamage(built, n)
      }),
      { numRuns: 300 },
    )
  })

  test('RE3: it is found too when whoever flipped the bit also rewrote the hash that was noted', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(4), fc.nat(), fc.nat(7), async (n, at, bit) => {
        const built = copy()
        const segment = built.segments[n]!
        segment.stored[at % segment.stored.length]! ^= 1 << bit
        segment.row = rowOf(n, segment.row.first_seq, segment.stored, segment.row.prev)
        await expectDamage(built, n)
      }),
      { numRuns: 600 },
    )
  })

  test('RE3: a segment cut at any byte is found and named', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(4), fc.nat(), fc.boolean(), async (n, at, rewritten) => {
        const built = copy()
        const segment = built.segments[n]!
        segment.stored = segment.stored.subarray(0, at % segment.stored.length)
        if (rewritten) segment.row = rowOf(n, segment.row.first_seq, segment.stored, segment.row.prev)
        else built.segments[n] = { row: segment.row, stored: segment.stored }
        await expectDamage(built, n)
      }),
      { numRuns: 200 },
    )
  })

  test('RE3: bytes appended to a segment are found and named', async () => {
    for (let n = 0; n < 5; n++) {
      const built = copy()
      const segment = built.segments[n]!
      segment.stored = Buffer.concat([segment.stored, Buffer.from([0])])
      segment.row = rowOf(n, segment.row.first_seq, segment.stored, segment.row.prev)
      await expectDamage(built, n)
    }
  })

  test('RE3: two swapped segments are found at the first of them', async () => {
    for (let a = 0; a < 5; a++) {
      for (let b = a + 1; b < 5; b++) {
        const built = copy()
        const [left, right] = [built.segments[a]!, built.segments[b]!]
        built.segments[a] = { row: { ...right.row, n: a }, stored: right.stored }
        built.segments[b] = { row: { ...left.row, n: b }, stored: left.stored }
        await expectDamage(built, a)
      }
    }
  })

  test('RE3: a segment that is there twice is found at its second place', async () => {
    for (let n = 0; n < 5; n++) {
      const built = copy()
      const again = built.segments[n]!
      built.segments.splice(n + 1, 0, { row: { ...again.row, n: n + 1 }, stored: again.stored })
      for (const [i, segment] of built.segments.entries()) segment.row = { ...segment.row, n: i }
      await expectDamage(built, n + 1)
    }
  })

  test('RE3: a segment that was dropped is found where it is missing', async () => {
    for (let n = 0; n < 4; n++) {
      const built = copy()
      built.segments.splice(n, 1)
      await expectDamage(built, n)
    }
  })

  test('RE3: a dropped segment is found when all numbers after it were rewritten', async () => {
    const built = copy()
    built.segments.splice(2, 1)
    for (const [i, segment] of built.segments.entries()) segment.row = { ...segment.row, n: i }
    await expectDamage(built, 2)
  })

  test('RE3: a tail that was cut off is found against the seal, after the verified prefix played', async () => {
    for (let left = 0; left < 5; left++) {
      const built = copy()
      built.segments.length = left
      const { played, error } = await readAll(built)
      expect((error as RecordingDamaged).message).toContain('the seal says')
      expect(played).toHaveLength(left * 2)
    }
  })

  test('RE3: a copied record that is there twice inside its segment is found', async () => {
    const built = copy()
    const segment = built.segments[4]!
    const record = segment.stored.subarray(92)
    const stored = Buffer.concat([segment.stored.subarray(0, 92), record, record])
    stored.writeUInt32BE(record.length * 2, 88)
    built.segments[4] = { row: rowOf(4, 9, stored, segment.row.prev), stored }
    expect(hashOf(stored)).not.toBe(segment.row.hash)
    await expectDamage(built, 4)
  })
})
