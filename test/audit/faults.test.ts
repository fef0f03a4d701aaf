import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { verifyLog } from '../../src/audit/verify.ts'
import { appendTwice, type Fault, FaultyCopy, faultyDatabase, Injector } from './faults.ts'
import { type LogWorld, logWorld } from './support.ts'

let world: LogWorld
beforeAll(async () => {
  world = await logWorld()
  await world.grow(3)
  await world.sequencer.release()
})
afterAll(() => world.close())

/** One run with a fault at the n-th operation, then one without; the log must be whole. @returns whether the fault was met. */
async function tryAt(fault: Fault, n: number): Promise<boolean> {
  const injector = new Injector(fault, n)
  const database = faultyDatabase(world.database, injector)
  const process_id = `prc_${fault.replace(/\W/g, '')}${n}`
  const said = await appendTwice(database, process_id, n * 10)
  const faulty = world.sequencerWith({ database, copy: new FaultyCopy(world.copy.path, injector) })
  await faulty.step()
  await faulty.step()
  await faulty.release()
  for (let idle = 0; idle < 2; ) idle = (await world.sequencer.step()) === 0 ? idle + 1 : 0
  const hit = `${fault} at ${n}: ${injector.hit}`
  expect(world.sequencer.problem, hit).toBeNull()
  await world.sequencer.release()
  const report = await verifyLog(world.database, { vkey: world.sequencer.vkey, copy: world.copy.path })
  expect(report, hit).toMatchObject({ ok: true, waiting: 0 })
  const there = await world.database.sql<{ number: number }[]>`
    select (body::json ->> 'number')::int as number from audit_inbox where writer like ${`${process_id}.%`}`
  const numbers = there.map(row => row.number)
  for (const number of said) expect(numbers, `${hit}: an event that was said to be recorded`).toContain(number)
  if (fault === 'refused') expect(numbers.length, `${hit}: nothing else is there`).toBe(said.length)
  return injector.hit !== null
}

describe('faults: nothing that was said to be recorded is lost, and the log stays whole', () => {
  // every third operation here, each fault from another one on; `npm run conformance -- audit-faults` does all, and kills
  test.each<[Fault, number]>([
    ['refused', 1],
    ['answer lost', 2],
    ['half', 3],
  ])(
    'FA: the n-th query or write of the copy is %s, n = %i and every third until a run passes clean',
    async (fault, first) => {
      let n = first
      while (await tryAt(fault, n)) n += 3
      expect(n).toBeGreaterThan(25) // it went through appending, sequencing, signing and copying
    },
    120_000,
  )
})
