import { afterAll, beforeAll, expect, test } from 'vitest'
import { createAuditWriter } from '../../src/audit/writer.ts'
import { newId } from '../../src/ids.ts'
import { Following } from '../../src/policy/following.ts'
import { newestRevision } from '../../src/policy/revision-store.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { commit, folder, removeFolders, starterRepository } from './repositories.ts'
import { acceptAll, keys, newEngine, opaPath } from './support.ts'

let db: TestDatabase
beforeAll(async () => {
  db = await createTestDatabase()
})
afterAll(async () => {
  await db.drop()
  removeFolders()
})

function following(source: string, poll_s: number): Following {
  const process_id = newId('prc')
  return new Following({
    database: db.database,
    notices: { listen: () => ({ [Symbol.dispose]() {} }) },
    url: db.url,
    audit: createAuditWriter({ database: db.database, process_id }),
    engine: newEngine(),
    process_id,
    key: keys.privateKey,
    git: { source, ref: 'main', dir: folder() },
    shadow: undefined,
    gate: { opa: opaPath(), protocols: acceptAll },
    first_admins: 'security-admins',
    poll_s,
  })
}

const pace = async (of: Following) => (await of.ticks(async () => {})).find(turn => turn.name === 'policy')!

test('a restart with another poll_s looks at once, and at its own pace from then on; nothing of the old pace is kept', async () => {
  const dir = starterRepository()
  const slow = following(dir, 3600)
  await slow.start()
  const turn = await pace(slow)
  expect(turn.every_ms).toBe(3_600_000)
  const second = commit(dir, [], 'pushed an hour before the next look')
  const fast = following(dir, 1)
  await (await pace(fast)).run() // another control follows as long as the slow one lives
  expect((await newestRevision(db.database.db))?.generation).toBe(1)
  await slow[Symbol.asyncDispose]()
  await expect
    .poll(async () => {
      await fast.start()
      return (await newestRevision(db.database.db))?.commit
    })
    .toBe(second)
  expect((await pace(fast)).every_ms).toBe(1_000)
  const third = commit(dir, [], 'pushed a second before it')
  await (await pace(fast)).run()
  expect(await newestRevision(db.database.db)).toMatchObject({ commit: third, generation: 3 })
  await fast[Symbol.asyncDispose]()
})
