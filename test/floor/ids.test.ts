import { describe, expect, test } from 'vitest'
import { derivedId, isId, newId } from '../../src/ids.ts'

describe('ids', () => {
  test('no random part comes twice, however many are made at once', () => {
    const made = Array.from({ length: 5000 }, () => newId('dec'))
    expect(made.every(id => isId('dec', id))).toBe(true)
    expect(new Set(made.map(id => id.slice(-16))).size).toBe(5000)
  })

  test('a later millisecond sorts behind an earlier one', async () => {
    const first = newId('evt')
    await new Promise(resolve => setTimeout(resolve, 3))
    expect(first < newId('evt')).toBe(true)
  })

  test('a derived one is the same for the same text and another for another', () => {
    expect(derivedId('dec', 'a')).toBe(derivedId('dec', 'a'))
    expect(derivedId('dec', 'a')).not.toBe(derivedId('dec', 'b'))
  })
})
