import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { type Bounds, Together } from '../../src/together.ts'

function recorded(
  answer: (questions: readonly number[]) => Promise<readonly number[]> = async questions => questions,
  bounds: Partial<Bounds> = {},
) {
  const goes: number[][] = []
  const together = new Together<number, number>(
    questions => {
      goes.push([...questions])
      return answer(questions)
    },
    { most: 3, again: 'each', ...bounds },
  )
  return { goes, ask: (question: number) => together.ask(question) }
}

test('one alone is asked alone, and gets its own answer', async () => {
  const { goes, ask } = recorded(async questions => questions.map(item => item * 10))
  expect(await ask(1)).toBe(10)
  expect(goes).toEqual([[1]])
})

test('what comes together is one go, in order, and none is larger than the most', async () => {
  const { goes, ask } = recorded(async questions => questions.map(item => item * 10))
  expect(await Promise.all([1, 2, 3, 4].map(ask))).toEqual([10, 20, 30, 40])
  expect(goes).toEqual([[1, 2, 3], [4]])
})

test('what comes while one is under way goes into the next', async () => {
  const { goes, ask } = recorded(async questions => {
    await sleep(20)
    return questions
  })
  const first = ask(1)
  await sleep(5)
  await Promise.all([first, ask(2), ask(3)])
  expect(goes).toEqual([[1], [2, 3]])
})

test('a question that fails fails alone', async () => {
  const { goes, ask } = recorded(async questions => {
    if (questions.includes(2)) throw new Error('no')
    return questions
  })
  const answers = await Promise.allSettled([1, 2, 3].map(ask))
  expect(answers.map(each => each.status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  expect(goes).toEqual([[1, 2, 3], [1], [2], [3]])
  expect(await ask(4)).toBe(4) // and the next ones are asked
})

test('where a go is dear, those of one that failed are asked again in halves, one after the other', async () => {
  let underWay = 0
  const { goes, ask } = recorded(
    async questions => {
      expect(++underWay).toBe(1)
      await sleep(1)
      underWay--
      if (questions.includes(3)) throw new Error('no three')
      return questions.map(n => n * 2)
    },
    { most: 8, again: 'halves' },
  )
  const answers = await Promise.allSettled([1, 2, 3, 4, 5].map(ask))
  expect(answers.map(each => (each.status === 'fulfilled' ? each.value : null))).toEqual([2, 4, null, 8, 10])
  expect(goes).toEqual([[1, 2, 3, 4, 5], [1, 2], [3, 4, 5], [3], [4, 5]])
  expect(await ask(6)).toBe(12)
})

test('when nobody waits any more nothing is asked again', async () => {
  const given = new AbortController()
  const { goes, ask } = recorded(
    async () => {
      given.abort()
      throw new Error('killed')
    },
    { signal: given.signal },
  )
  const answers = await Promise.allSettled([1, 2].map(ask))
  expect(answers.map(each => each.status)).toEqual(['rejected', 'rejected'])
  expect(goes).toEqual([[1, 2]])
})
