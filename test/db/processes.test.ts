import { eq } from 'drizzle-orm'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { openDatabase } from '../../src/db/database.ts'
import { deadProcesses, ProcessRow, pruneProcesses } from '../../src/db/processes.ts'
import { processes } from '../../src/db/schema.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

let world: TestDatabase
beforeAll(async () => {
  world = await createTestDatabase()
})
afterAll(() => world.drop())
afterEach(() => {
  vi.restoreAllMocks()
})

const stored = async (id: string) => (await world.database.db.select().from(processes).where(eq(processes.id, id)))[0]

describe('the row of a process', () => {
  test.each(['control', 'gateway', 'replay'] as const)('the user of %s may keep its row', async role => {
    const database = openDatabase({ url: world.roleUrls[role], max: 2, application: 'test' })
    await using row = await ProcessRow.register(database, { role })
    row.clear('starting')
    row.generation = 7
    await row.heartbeat()
    expect(await stored(row.id)).toMatchObject({ role, pid: process.pid, ready: 'ready', generation: 7 })
    await row.close()
    await database.close()
  })

  test('it is not ready before it says so, and tells the first reason', async () => {
    await using row = await ProcessRow.register(world.database, { role: 'gateway' })
    expect([row.ready, row.state]).toEqual([false, 'starting'])
    row.refuse('policy', 'no revision is active')
    row.clear('starting')
    expect([row.ready, row.state]).toEqual([false, 'no revision is active'])
    row.clear('policy')
    expect([row.ready, row.state]).toEqual([true, 'ready'])
  })

  test.each([[-5_000], [5_000]])(
    'a clock that is %d ms off makes it not ready until it is right again',
    async offset => {
      await using row = await ProcessRow.register(world.database, { role: 'gateway' })
      row.clear('starting')
      const real = Date.now.bind(Date)
      const clock = vi.spyOn(Date, 'now').mockImplementation(() => real() + offset)
      await row.heartbeat()
      expect(row.ready).toBe(false)
      expect(row.state).toMatch(/clock is -?[45]\.\d s off/)
      clock.mockRestore()
      await row.heartbeat()
      expect(row.ready).toBe(true)
    },
  )

  test('a stopped or silent process is dead, a beating one is not, and after 30 days it is forgotten', async () => {
    await using alive = await ProcessRow.register(world.database, { role: 'gateway' })
    const stopped = await ProcessRow.register(world.database, { role: 'gateway' })
    await stopped.close()
    await world.database.sql`insert into processes (id, role, host, pid, heartbeat_at) values
      ('prc_silent', 'gateway', 'h', 1, now() - interval '1 minute'), ('prc_old', 'gateway', 'h', 1, now() - interval '31 days')`
    const dead = await deadProcesses(world.database.db)
    expect(dead).toEqual(expect.arrayContaining([stopped.id, 'prc_silent', 'prc_old']))
    expect(dead).not.toContain(alive.id)
    await pruneProcesses(world.database.db)
    expect([await stored('prc_old'), (await stored('prc_silent'))?.id]).toEqual([undefined, 'prc_silent'])
  })
})
