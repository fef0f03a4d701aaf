import { rmSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { faultKinds, folderForFaults } from '../support/faults/faults.ts'
import { recordAtEveryFault, recoverAtEveryFault, sealAtEveryFault } from './fault-runs.ts'
import { createWorld, type RecordingWorld } from './world.ts'

/** A slice of the steps; `npm run conformance -- faults` takes them all. */
let world: RecordingWorld
const folder = folderForFaults()
beforeAll(async () => {
  world = await createWorld()
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

const slice = (i: number) => ({ from: 5 + 29 * i, runs: 1 })

// Each try has a session, a folder and faults of its own, and mostly waits.
describe.concurrent('RE2: a fault while it is recorded and shipped loses nothing that was taken, and the next run repairs', () => {
  test.each(faultKinds.map((kind, i) => [kind, i] as const))('RE2: %s', async (kind, i) => {
    expect(await recordAtEveryFault({ world, folder, kind, ...slice(i) })).toBeGreaterThan(0)
  })
  test.each([
    ['dropped', 2],
    ['zeros', 3],
  ] as const)('RE2: the machine loses its power, bytes not synced: %s', async (power, i) => {
    expect(await recordAtEveryFault({ world, folder, kind: 'dies', power, ...slice(i) })).toBeGreaterThan(0)
  })
})

describe.concurrent('RE2: a fault in recovery', () => {
  test.each(faultKinds.map((kind, i) => [kind, i] as const))('RE2: %s', async (kind, i) => {
    expect(await recoverAtEveryFault({ world, folder, kind, from: 2 + 5 * i, runs: 1 })).toBeGreaterThan(0)
  })
})

describe('a fault in the seal', () => {
  test.each(['fails', 'unanswered', 'dies'] as const)('%s', async kind => {
    expect(await sealAtEveryFault({ world, folder, kind, runs: 2 })).toBeGreaterThan(0)
  })
})
