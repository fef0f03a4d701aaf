import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { newId } from '../../src/ids.ts'
import { FileStore } from '../../src/recording/file-store.ts'
import { segmentName } from '../../src/recording/store.ts'
import { everyFault, faultKinds, folderForFaults } from '../support/faults/faults.ts'

const folder = folderForFaults()
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const bytes = Buffer.alloc(3000, 5)
const recording = newId('rec')
const names = ['a', 'b'].map((digit, n) => segmentName(recording, 1, n, digit.repeat(64)))

describe('a store of files, at every fault', () => {
  test.each(faultKinds)('%s: what put returned for is there and whole; a second try puts what is not', async kind => {
    const steps = await everyFault({ kind, root: at => join(folder, `${kind}-${at}`) }, async faults => {
      const store = new FileStore(faults.root!)
      const put: string[] = []
      await faults
        .during(async () => {
          for (const name of names) {
            await store.put(name, bytes)
            put.push(name)
          }
        })
        .catch(() => {})
      for (const name of put) expect((await store.get(name, 4000)).equals(bytes)).toBe(true)
      for (const name of names) {
        const there = await store.get(name, 4000).catch(() => undefined)
        expect(there === undefined || there.equals(bytes)).toBe(true) // never half of it
        await store.put(name, bytes)
      }
      if (!faults.dead)
        expect(readdirSync(faults.root!, { recursive: true }).filter(n => String(n).endsWith('.tmp'))).toEqual([])
    })
    expect(steps).toBeGreaterThanOrEqual(kind === 'half' || kind === 'torn' ? 2 : 10)
  })

  test.each(['dropped', 'zeros'] as const)(
    'a loss of power, bytes not synced %s: what put returned for is there',
    async tail => {
      await everyFault(
        { kind: 'dies', machine: true, root: at => join(folder, `${tail}-${at}/store`) },
        async faults => {
          const put: string[] = []
          await faults
            .during(async () => {
              const store = new FileStore(join(faults.root!, 'new/store'))
              for (const name of names) {
                await store.put(name, bytes)
                put.push(name)
              }
            })
            .catch(() => {})
          faults.reset(tail)
          const store = new FileStore(join(faults.root!, 'new/store'))
          for (const name of put) expect((await store.get(name, 4000)).equals(bytes)).toBe(true)
          for (const name of names) await store.put(name, bytes)
        },
      )
    },
  )
})
