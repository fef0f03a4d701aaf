import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Grouped } from '../../src/sessions/grouped.ts'

function recorded(write: (items: readonly number[]) => Promise<readonly number[]> = async items => items) {
  const groups: number[][] = []
  const grouped = new Grouped<number, number>(items => {
    groups.push([...items])
    return write(items)
  }, 3)
  return { groups, add: (item: number) => grouped.add(item) }
}

test('one alone is written alone, and gets its own result', async () => {
  const { groups, add } = recorded(async items => items.map(item => item * 10))
  expect(await add(1)).toBe(10)
  expect(groups).toEqual([[1]])
})

test('what comes together is one write, in order, and no write is larger than the most', async () => {
  const { groups, add } = recorded(async items => items.map(item => item * 10))
  expect(await Promise.all([1, 2, 3, 4].map(add))).toEqual([10, 20, 30, 40])
  expect(groups).toEqual([[1, 2, 3], [4]])
})

test('what comes while one is being written goes into the next', async () => {
  const { groups, add } = recorded(async items => {
    await sleep(20)
    return items
  })
  const first = add(1)
  await sleep(5)
  await Promise.all([first, add(2), add(3)])
  expect(groups).toEqual([[1], [2, 3]])
})

test('one that cannot be written fails alone', async () => {
  const { groups, add } = recorded(async items => {
    if (items.includes(2)) throw new Error('no')
    return items
  })
  const results = await Promise.allSettled([add(1), add(2), add(3)])
  expect(results.map(result => result.status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  expect(groups).toEqual([[1, 2, 3], [1], [2], [3]])
  expect(await add(4)).toBe(4) // and the next ones are written
})
