import fc from 'fast-check'
import { expect, test } from 'vitest'
import { detect, iban, luhn } from '../../src/masking/detectors.ts'

const names = (text: string) => detect(text).map(d => d.name)

test.each([
  ['write to ann@example.com today', ['email']],
  ['card 4111 1111 1111 1111', ['card']],
  ['card 4111-1111-1111-1112', []],
  ['GB82 WEST 1234 5698 7654 32', ['iban']],
  ['GB83 WEST 1234 5698 7654 32', []],
  ['ssn 536-90-4399', ['national_id_us']],
  ['ssn 000-12-3456', []],
  ['AB 12 34 56 C', ['national_id_uk']],
  ['-----BEGIN RSA PRIVATE KEY-----', ['private_key']],
  ['AKIAIOSFODNN7EXAMPLE', ['access_key']],
  ['nothing here 2026-11-21 12:00', []],
])('%s', (text, expected) => {
  expect(names(text)).toEqual(expected)
})

test('a changed digit is no card and no IBAN', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 15 }), fc.integer({ min: 1, max: 9 }), (i, d) => {
      const digits = [...'4111111111111111']
      digits[i] = String((Number(digits[i]) + d) % 10)
      expect(luhn(digits.join(''))).toBe(false)
    }),
  )
  expect(iban('DE89370400440532013000')).toBe(true)
  expect(iban('DE89370400440532013001')).toBe(false)
})

test('ends on a mebibyte of hostile text, which a regular expression that backtracks would not, and never throws', () => {
  for (const text of [
    'a'.repeat(1 << 20),
    '1 '.repeat(1 << 19),
    'a@'.repeat(1 << 19),
    'AB12 '.repeat(1 << 18),
    'eyJ'.repeat(1 << 18),
  ])
    detect(text)
  fc.assert(fc.property(fc.string({ unit: 'binary' }), text => void detect(text)))
})
