import { rmSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { folderForFaults } from '../support/faults/faults.ts'
import { deleteAtEveryFault, moveAtEveryFault } from './keep-faults.ts'
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

describe('a fault in a deletion or a move', () => {
  test.each(['fails', 'unanswered', 'dies'] as const)('RT2: %s in a deletion: the next run finishes', async kind => {
    expect(await deleteAtEveryFault({ world, folder, kind, from: 2, stride: 3, runs: 2 })).toBeGreaterThan(0)
  })
  test.each(['fails', 'unanswered', 'dies'] as const)(
    '%s in a move: nothing is lost, and the next run finishes',
    async kind => {
      expect(await moveAtEveryFault({ world, folder, kind, from: 4, stride: 9, runs: 2 })).toBeGreaterThan(0)
    },
  )
})
