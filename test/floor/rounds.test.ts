import { expect, test } from 'vitest'
import { Rounds } from '../../src/rounds.ts'

/** Rounds that end when the test says so. */
function world() {
  const begun: { end(): void; fail(): void }[] = []
  const rounds = new Rounds(
    () =>
      new Promise<void>((resolve, reject) => {
        begun.push({ end: resolve, fail: () => reject(new Error(`round ${begun.length}`)) })
      }),
  )
  const turn = () => new Promise(resolve => setImmediate(resolve))
  return { rounds, begun, turn }
}

test('the first round begins at once, and all who ask during it share one more', async () => {
  const { rounds, begun, turn } = world()
  const settled: number[] = []
  const asked = [0, 1, 2].map(n => rounds.run().then(() => settled.push(n)))
  await turn()
  expect(begun).toHaveLength(1)
  begun[0]!.end()
  await turn()
  expect(begun).toHaveLength(2)
  expect(settled).toEqual([0])
  begun[1]!.end()
  await Promise.all(asked)
  expect(settled).toEqual([0, 1, 2])
  await turn()
  expect(begun).toHaveLength(2)
  expect(rounds.isIdle).toBe(true)
})

test('whoever asks in the very moment a round ends gets another one', async () => {
  for (let late = 0; late < 8; late++) {
    const { rounds, begun, turn } = world()
    const first = rounds.run()
    begun[0]!.end()
    // one microtask later each time: before, at and behind the end
    for (let i = 0; i < late; i++) await undefined
    const asked = rounds.run()
    await turn()
    expect(begun).toHaveLength(2)
    begun[1]!.end()
    await Promise.all([first, asked])
  }
})

test('a round that fails is told to who asked for it, and the next one runs', async () => {
  const { rounds, begun, turn } = world()
  const first = rounds.run()
  const second = rounds.run()
  begun[0]!.fail()
  await expect(first).rejects.toThrow('round 1')
  await turn()
  begun[1]!.end()
  await second
  expect(rounds.isIdle).toBe(true)
})

test('it is over when what was asked for during the last round is done too', async () => {
  const { rounds, begun, turn } = world()
  let isOver = false
  await rounds.over()
  void rounds.run()
  const over = rounds.over().then(() => (isOver = true))
  void rounds.run().catch(() => {})
  begun[0]!.end()
  await turn()
  expect(isOver).toBe(false)
  begun[1]!.fail()
  await over
  expect(rounds.isIdle).toBe(true)
})
