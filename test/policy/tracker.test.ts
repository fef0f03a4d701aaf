import { afterAll, beforeAll, expect, test } from 'vitest'
import { Notices } from '../../src/db/notices.ts'
import { askForLook, lookChannel, Tracker } from '../../src/policy/repository/tracker.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

let db: TestDatabase
beforeAll(async () => {
  db = await createTestDatabase()
})
afterAll(() => db.drop())

function control() {
  const looked: string[] = []
  const done = (what: string) => async () => {
    looked.push(what)
    return { outcome: 'unchanged', commit: 'c' } as const
  }
  return { looked, tracker: new Tracker({ repository: { poll: done('poll'), look: done('look') }, url: db.url }) }
}

test('of several controls one follows the repository, also when another one hears of a push, and the next takes over', async () => {
  const [one, two] = [control(), control()]
  await one.tracker.tick()
  expect(await two.tracker.tick()).toBeNull()
  expect([one.tracker.follows, two.tracker.follows]).toEqual([true, false])
  const notices = new Notices({ url: db.url, application: 'test' })
  notices.listen(lookChannel, payload => (payload === null ? undefined : one.tracker.pushed()))
  await notices.start() // it listens from here on
  await askForLook(db.database)
  await expect.poll(() => one.looked).toEqual(['poll', 'look'])
  await two.tracker.pushed()
  expect(two.looked).toEqual([])
  await one.tracker[Symbol.asyncDispose]()
  await expect.poll(() => two.tracker.tick()).not.toBeNull()
  expect(two.looked).toEqual(['poll'])
  await two.tracker[Symbol.asyncDispose]()
  await notices.close()
})
