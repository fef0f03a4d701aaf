import { afterAll, beforeAll, expect, test } from 'vitest'
import { deliverNotices, notice } from '../../src/policy/repository/notices.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

let db: TestDatabase
beforeAll(async () => {
  db = await createTestDatabase()
})
afterAll(() => db.drop())

test('news is told once, in order; what cannot be delivered is tried again and holds up nothing', async () => {
  await db.database.db.transaction(async tx => {
    await notice(tx, 'a', 'first')
    await notice(tx, 'a', 'first, again')
  })
  await db.database.db.transaction(tx => notice(tx, 'b', 'x'.repeat(10_000)))
  await db.database.db
    .transaction(async tx => {
      await notice(tx, 'c', 'of something that did not happen')
      tx.rollback()
    })
    .catch(() => {})
  const heard: string[] = []
  const broken = async (message: string) => {
    if (message === 'first') throw new Error('channel_not_found')
    heard.push(message)
  }
  await deliverNotices(db.database, broken)
  expect(heard.map(message => message.length)).toEqual([2802])
  const deliver = () => deliverNotices(db.database, async message => void heard.push(message))
  await deliver() // not due yet
  expect(heard).toHaveLength(1)
  expect(
    await db.database.sql`select attempts, last_error from policy_notices where delivered_at is null`,
  ).toMatchObject([{ last_error: 'channel_not_found' }])
  await db.database.sql`update policy_notices set next_try_at = now()`
  await Promise.all([deliver(), deliver()])
  expect(heard.slice(1)).toEqual(['first'])
})
