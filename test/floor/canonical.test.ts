import { createRequire } from 'node:module'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { canonical, type Json } from '../../src/canonical.ts'

const canonicalize = createRequire(import.meta.url)('canonicalize') as (value: unknown) => string
const text = fc.string({ unit: 'grapheme', maxLength: 40 }).filter(s => s.isWellFormed())
const json = fc.letrec<{ value: Json }>(tie => ({
  value: fc.oneof(
    { maxDepth: 5 },
    fc.constant(null),
    fc.boolean(),
    fc.maxSafeInteger(),
    text,
    fc.array(tie('value'), { maxLength: 6 }),
    fc.dictionary(text, tie('value'), { maxKeys: 6 }),
  ),
})).value

describe('canonical JSON (RFC 8785)', () => {
  test('agrees with an implementation that is not ours, on any value', () => {
    fc.assert(
      fc.property(json, value => canonical(value) === canonicalize(value)),
      { numRuns: 2_000 },
    )
  })

  test('leaves out members that are undefined', () => {
    expect(canonical({ b: 1, a: undefined, c: null })).toBe('{"b":1,"c":null}')
  })

  test('refuses numbers that are no safe integers, lone surrogates, depth without end, and what JSON cannot carry', () => {
    for (const bad of [1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, '\ud800', { ['\udc00']: 1 }]) {
      expect(() => canonical(bad as Json)).toThrow(TypeError)
    }
    let deep: Json = 0
    for (let i = 0; i < 200; i++) deep = [deep]
    expect(() => canonical(deep)).toThrow(/depth/)
    expect(() => canonical((() => 1) as unknown as Json)).toThrow(TypeError)
    expect(() => canonical(1n as unknown as Json)).toThrow(TypeError)
  })
})
