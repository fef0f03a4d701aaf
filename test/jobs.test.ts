import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { startJobs } from '../src/jobs.ts'
import { createTestDatabase, type TestDatabase } from './support/database.ts'

let world: TestDatabase
const unhandled: unknown[] = []
const note = (error: unknown) => void unhandled.push(error)
beforeAll(async () => {
  world = await createTestDatabase()
})
afterAll(() => world.drop())
beforeEach(() => void process.on('unhandledRejection', note))
afterEach(() => void process.off('unhandledRejection', note))

describe('FA2: the queue of jobs', () => {
  test('dropped while it runs, it takes no process down, and each job goes on running all the same', async () => {
    const runs = { a: 0, b: 0 }
    const running = await startJobs({
      url: world.roleUrls.control,
      jobs: [
        { name: 'a', every_ms: 400, run: async () => void runs.a++ },
        {
          name: 'b',
          every_ms: 400,
          run: async () => {
            runs.b++
            throw new Error('this job always fails')
          },
        },
      ],
    })
    await sleep(1_000)
    await world.database.sql`drop schema jobs cascade`
    await world.database.sql`select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and pid <> pg_backend_pid() and usename = 'sallyport_control'`
    const before = { ...runs }
    await vi.waitFor(() => {
      expect(runs.a).toBeGreaterThanOrEqual(before.a + 3)
      expect(runs.b).toBeGreaterThanOrEqual(before.b + 3)
    }, 25_000)
    await running[Symbol.asyncDispose]()
    expect(unhandled).toEqual([])
  }, 40_000)

  test('two replicas run a job no more than its sweepers do, and one that is slow never runs twice at once in a process', async () => {
    await world.database.sql`create schema if not exists jobs`
    await world.database.sql`grant all on schema jobs to sallyport_control`
    const now = [0, 0]
    const most = [0, 0]
    const job = (i: number) => ({
      name: 'slow',
      every_ms: 100,
      run: async () => {
        most[i] = Math.max(most[i]!, ++now[i]!)
        await sleep(350)
        now[i]!--
      },
    })
    const both = await Promise.all([0, 1].map(i => startJobs({ url: world.roleUrls.control, jobs: [job(i)] })))
    await sleep(2_000)
    await Promise.all(both.map(one => one[Symbol.asyncDispose]()))
    expect(most).toEqual([1, 1])
    expect(unhandled).toEqual([])
  }, 40_000)
})
