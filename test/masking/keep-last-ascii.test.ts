import fc from 'fast-check'
import { expect, test } from 'vitest'
import { keepLast, keepLastAscii } from '../../src/masking/transforms.ts'

const ascii = fc.string({ unit: fc.constantFrom(...'aZ09 -.@/:()+,_\0'), maxLength: 200 })

test('masking from bytes to bytes shows exactly what masking of the text shows', () => {
  fc.assert(
    fc.property(ascii, fc.integer({ min: -1, max: 80 }), (text, keep) => {
      const source = Buffer.from(`<<${text}>>`)
      const target = Buffer.alloc(text.length + 3, 0xff)
      const length = keepLastAscii(source, 2, 2 + text.length, keep, target, 3)
      expect(target.toString('latin1', 3, 3 + length)).toBe(keepLast(text, keep))
      expect([...target.subarray(0, 3), ...target.subarray(3 + length)].every(byte => byte === 0xff)).toBe(true)
    }),
    { numRuns: 2000 },
  )
})

test('a text that is not ASCII is left to the function that knows characters', () => {
  for (const text of ['é', 'abc…', 'e\u0301', '\u{1f600}12345678']) {
    const source = Buffer.from(text)
    expect(keepLastAscii(source, 0, source.length, 4, Buffer.alloc(source.length), 0)).toBe(-1)
  }
})
