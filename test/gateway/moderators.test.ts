import { expect, test } from 'vitest'
import type { GatewayGround } from '../../src/gateway/ground.ts'
import type { LiveSession } from '../../src/gateway/live-session.ts'
import { SessionModeration } from '../../src/gateway/moderation/moderation.ts'
import { Moderators } from '../../src/gateway/moderation/moderators.ts'

/** A database that answers who watches when the test says so: a busy one answers two questions in any order. */
function world() {
  const asked: ((watchers: string[]) => void)[] = []
  const sam = { id: 'sub_sam', kind: 'person', name: 'Sam', groups: ['watchers'], groups_at: new Date(), claims: {} }
  const watching = () =>
    new Promise(resolve =>
      asked.push(ids => resolve(ids.map(subject_id => ({ session_id: 'ses_1', subject_id, on_behalf_of: null })))),
    )
  const db = {
    selectDistinct: () => ({ from: () => ({ where: watching }) }),
    select: () => ({ from: () => ({ where: async () => [sam] }) }),
    transaction: async (run: (tx: object) => Promise<unknown>) => run({}),
  }
  const moderation = new SessionModeration('ses_1', { moderators: ['watchers'], idle_s: 60 })
  const session = {
    id: 'ses_1',
    isEnded: false,
    moderation,
    about: { subject: { id: 'sub_dan', on_behalf_of: null } },
    resource: { name: 'shop' },
    recordModeration() {},
  } as unknown as LiveSession
  const ground = {
    database: { db },
    audit: { record: async () => 'evt_1' },
    notices: { listen: () => ({ [Symbol.dispose]() {} }) },
  } as unknown as GatewayGround
  const settled = () => new Promise(resolve => setTimeout(resolve, 20))
  return { moderators: new Moderators(ground, () => [session]), moderation, asked, settled }
}

test('an answer that comes late does not open what a newer one shut', async () => {
  const { moderators, moderation, asked, settled } = world()
  void moderators.look()
  void moderators.look() // the moderator left: a notice came
  await settled()
  if (asked.length > 1) {
    asked[1]!([])
    await settled()
  }
  asked[0]!(['sub_sam'])
  await settled()
  if (asked.length > 1) asked[1]!([])
  await settled()
  expect(asked).toHaveLength(2)
  expect(moderation.state()).toBe('waiting')
})

test('a moderator who is seen opens it, and a look behind another is not lost', async () => {
  const { moderators, moderation, asked, settled } = world()
  const looks = [moderators.look(), moderators.look(), moderators.look()]
  await settled()
  for (const at of [0, 1]) {
    asked[at]!(['sub_sam'])
    await settled()
  }
  await Promise.all(looks)
  expect(asked).toHaveLength(2)
  expect(moderation.state()).toBe('watched')
})
