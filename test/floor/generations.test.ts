import { expect, test } from 'vitest'
import { Generations } from '../../src/generations.ts'

test('there are never more entries than the bound, and the newest is there', () => {
  const kept = new Generations<number>({ entries: 20, characters: 1 << 20 })
  for (let i = 0; i < 1000; i++) {
    kept.set(`k${i}`, i)
    expect(kept.size).toBeLessThanOrEqual(20)
  }
  expect(kept.get('k999')).toBe(999)
  expect(kept.get('k1')).toBeUndefined()
})

test('the characters of the keys are bounded, and a key longer than half of that is not kept', () => {
  const kept = new Generations<number>({ characters: 1000 })
  for (let i = 0; i < 500; i++) kept.set(String(i).padStart(100, 'k'), i)
  expect(kept.size).toBeLessThanOrEqual(10)
  kept.set('x'.repeat(501), 1)
  expect(kept.get('x'.repeat(501))).toBeUndefined()
  expect(kept.size).toBeGreaterThan(0)
})

test('what is asked for stays while others come and go', () => {
  const kept = new Generations<string>({ entries: 10, characters: 1 << 20 })
  kept.set('asked', 'yes')
  for (let i = 0; i < 500; i++) {
    kept.set(`passing${i}`, 'no')
    expect(kept.get('asked')).toBe('yes')
  }
})

test('a key set again has its new value and is counted once', () => {
  const kept = new Generations<number>({ entries: 4, characters: 100 })
  for (let i = 0; i < 50; i++) kept.set('same', i)
  expect([kept.get('same'), kept.size]).toEqual([49, 1])
  kept.clear()
  expect([kept.get('same'), kept.size]).toEqual([undefined, 0])
})
