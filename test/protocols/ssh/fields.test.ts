import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FieldError, FieldReader, field, mpint, u8, u32, u64 } from '../../../src/protocols/ssh/wire/fields.ts'

describe('fields', () => {
  test('what was written is what is read, and nothing is left', () => {
    fc.assert(
      fc.property(
        fc.nat(255),
        fc.nat(2 ** 32 - 1),
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        fc.uint8Array({ maxLength: 300 }),
        fc.string({ unit: 'grapheme', maxLength: 50 }),
        fc.uint8Array({ minLength: 1, maxLength: 60 }).filter(bytes => bytes.some(byte => byte !== 0)),
        (small, middle, large, bytes, text, number) => {
          const all = [
            u8(small),
            u32(middle),
            u64(large),
            field(Buffer.from(bytes)),
            field(text),
            mpint(Buffer.from(number)),
          ]
          const fields = new FieldReader(Buffer.concat(all))
          expect([fields.u8(), fields.u32(), fields.u64()]).toEqual([small, middle, large])
          expect(fields.bytes().equals(bytes)).toBe(true)
          expect(fields.text()).toBe(text)
          expect(fields.mpint(100).toString('hex')).toBe(
            Buffer.from(number)
              .toString('hex')
              .replace(/^(00)+/, ''),
          )
          fields.end()
        },
      ),
    )
  })

  test('a length beyond the bytes or beyond the limit is refused before anything is taken', () => {
    expect(() => new FieldReader(Buffer.concat([u32(5), Buffer.alloc(4)])).bytes()).toThrow(FieldError)
    expect(() => new FieldReader(u32(0xffffffff)).bytes()).toThrow(FieldError)
    expect(() => new FieldReader(field(Buffer.alloc(11))).bytes(10)).toThrow(FieldError)
    expect(() => new FieldReader(Buffer.alloc(3)).u32()).toThrow(FieldError)
  })

  test('bytes after the end are refused', () => {
    const fields = new FieldReader(Buffer.concat([u8(1), u8(2)]))
    fields.u8()
    expect(() => fields.end()).toThrow('1 bytes after the end')
  })

  test('a text that is not UTF-8 is refused, not mended', () => {
    for (const bytes of ['ff', 'c0af', 'eda080', 'f4908080'])
      expect(() => new FieldReader(field(Buffer.from(bytes, 'hex'))).text()).toThrow(FieldError)
  })

  test('a number that is zero, negative or has needless zeros in front is refused', () => {
    for (const bytes of ['', '00', '80', 'ff01', '0001', '000080'])
      expect(() => new FieldReader(field(Buffer.from(bytes, 'hex'))).mpint(10)).toThrow(FieldError)
    expect(new FieldReader(field(Buffer.from('0080', 'hex'))).mpint(10).toString('hex')).toBe('80')
  })
})
