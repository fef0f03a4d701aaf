import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createWorld, type RecordingWorld, sessionFacts, until } from './world.ts'

let world: RecordingWorld
beforeAll(async () => {
  world = await createWorld()
})
afterAll(() => world[Symbol.asyncDispose]())

describe('what recording costs', () => {
  test('an append of one statement takes some 10 µs at the median, sealed and in the kernel', async () => {
    const journal = await world.journal({ spool_bytes: 512 * 1024 * 1024, tuning: { cutMs: 4_500 } })
    const recorder = await journal.open(sessionFacts())
    const body = {
      verb: 'read',
      decision: 'dec_01m7y48662ax9zvsyjhx1dnp9k',
      text: 'select id, name, city from customers where id = $1 order by name limit 10',
      columns: ['id', 'name', 'city'],
    }
    const took: number[] = []
    for (let i = 0; i < 20_000; i++) {
      const start = performance.now()
      recorder.append([{ conn: 'con_01m7y48662ax9zvsyjhx1dnp9k', kind: 'statement', body }])
      took.push(performance.now() - start)
      if (i % 1_000 === 0) await new Promise(resolve => setImmediate(resolve))
    }
    took.sort((a, b) => a - b)
    const at = (q: number) => Math.round(took[Math.floor(took.length * q)]! * 10_000) / 10
    console.info(`append: median ${at(0.5)} µs, p99 ${at(0.99)} µs`)
    expect(at(0.5)).toBeLessThan(100) // a busy machine; the bench measures
    await recorder.close('done')
    await until(() => journal.pending === 0)
  })
})
