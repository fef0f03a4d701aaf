import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compileTransform, hashOf, keepLast, redacted } from '../../src/masking/transforms.ts'

const key = Buffer.alloc(32, 1)
const text = fc.string({ unit: 'binary', maxLength: 300 })

describe('a transform', () => {
  test('redact, fixed and null say nothing of the value', () => {
    fc.assert(
      fc.property(text, value => {
        expect(compileTransform({ kind: 'redact' }, key)(value)).toBe(redacted)
        expect(compileTransform({ kind: 'fixed', value: 'x' }, key)(value)).toBe('x')
        expect(compileTransform({ kind: 'null' }, key)(value)).toBeNull()
        expect(compileTransform({ kind: 'never heard of' }, key)(value)).toBe(redacted)
      }),
    )
  })

  test('partial hides at least half of the characters, whatever it is told to keep', () => {
    fc.assert(
      fc.property(text, fc.integer({ min: 0, max: 64 }), (value, keep) => {
        const shown = Array.from(keepLast(value, keep))
        const all = Array.from(value)
        expect(shown.length).toBeLessThanOrEqual(all.length)
        const separators = new Set(' -./@:()+')
        const characters = all.filter(c => !separators.has(c)).length
        const tail = all.slice(all.length - shown.length)
        const kept = shown.filter((c, i) => !separators.has(c) && !(c === '*' && tail[i] !== '*')).length
        const stars = tail.filter(c => c === '*').length
        expect(kept - stars).toBeLessThanOrEqual(Math.min(keep, Math.floor(characters / 2)))
        expect(shown.join('').isWellFormed()).toBe(value.isWellFormed() || shown.join('').isWellFormed())
      }),
      { numRuns: 5000 },
    )
  })

  test.each([
    ['4111 1111 1111 1234', 4, '**** **** **** 1234'],
    ['123-45-6789', 4, '***-**-6789'],
    ['ann@example.com', 3, '***@*******.com'],
    ['ab', 4, '*b'],
    ['a', 4, '*'],
    ['', 4, ''],
    ['secret', 0, '******'],
    ['😀😀😀😀', 1, '***😀'],
    ['x'.repeat(500), 2, `${'*'.repeat(64)}xx`],
  ])('partial of %s keeping %i is %s', (value, keep, shown) => {
    expect(keepLast(value, keep)).toBe(shown)
  })

  test('hash is equal for equal values only, and another under another key', () => {
    fc.assert(
      fc.property(text, text, (a, b) => {
        expect(hashOf(a, key)).toMatch(/^[0-9a-f]{32}$/)
        expect(hashOf(a, key) === hashOf(b, key)).toBe(Buffer.from(a).equals(Buffer.from(b)))
        expect(hashOf(a, key)).not.toBe(hashOf(a, Buffer.alloc(32, 2)))
      }),
    )
  })

  test('a fixed value is bounded', () => {
    expect(compileTransform({ kind: 'fixed', value: 'x'.repeat(9999) }, key)('v')).toHaveLength(1024)
  })
})
