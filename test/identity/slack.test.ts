import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventTypes, type IdentityWorld, identityWorld, signIn } from './support.ts'

let world: IdentityWorld
let erin: string
let dana: string
beforeAll(async () => {
  world = await identityWorld()
  erin = (await signIn(world, 'erin')).subject_id
  dana = (await signIn(world, 'dana')).subject_id
})
afterAll(() => world.stop())

const team_id = 'T1'
let users = 0
const user = () => `U${++users}`
const code = async (subject: string) => (await world.identity.createLinkCode(subject)).code

test('the Slack account that types the code is bound to the person who was shown it', async () => {
  const user_id = user()
  const made = await world.identity.createLinkCode(erin)
  expect(made.code).toMatch(/^[2-9A-HJKMNP-TV-Z]{8}$/)
  const bound = await world.identity.bindSlack({ team_id, user_id, code: made.code.toLowerCase() })
  expect(bound).toMatchObject({ ok: true, subject: { id: erin, name: 'Erin Engineer' } })
  expect((await world.identity.bySlack(team_id, user_id))?.id).toBe(erin)
  expect(await world.identity.bySlack('T2', user_id)).toBeNull()
  expect(await world.identity.slackOf(erin)).toMatchObject({ team_id, user_id })
  expect(await eventTypes(world)).toContain('slack.bound')
})

test('a code is good once, for two minutes, and until the next one is made', async () => {
  const used = await code(erin)
  const first = user()
  expect(await world.identity.bindSlack({ team_id, user_id: first, code: used })).toMatchObject({ ok: true })
  expect(await world.identity.bindSlack({ team_id, user_id: user(), code: used })).toMatchObject({
    ok: false,
    code: 'gone',
  })
  const old = await code(erin)
  await code(erin)
  expect(await world.identity.bindSlack({ team_id, user_id: user(), code: old })).toMatchObject({ ok: false })
  const late = await code(erin)
  await world.database.sql`update slack_link_codes set expires_at = now()`
  expect(await world.identity.bindSlack({ team_id, user_id: user(), code: late })).toMatchObject({ ok: false })
})

test('a person who links another Slack account leaves the first one', async () => {
  const [first, second] = [user(), user()]
  await world.identity.bindSlack({ team_id, user_id: first, code: await code(erin) })
  await world.identity.bindSlack({ team_id, user_id: second, code: await code(erin) })
  expect(await world.identity.bySlack(team_id, first)).toBeNull()
  expect((await world.identity.bySlack(team_id, second))?.id).toBe(erin)
  const last = async () => {
    const [event] = await world.database.sql<{ body: { user_id: string; why: string } }[]>`
      select body::jsonb as body from audit_inbox where type = 'slack.unbound' order by seq desc limit 1`
    return event?.body
  }
  expect(await last()).toMatchObject({ user_id: first, why: 'another account was linked' })
  expect(await world.identity.unbindSlack(erin)).toBe(true)
  expect(await last()).toMatchObject({ user_id: second, why: 'unlinked' })
})

test('a Slack account that is bound to somebody is not moved to somebody else, and the tricked person keeps theirs', async () => {
  const [hers, his] = [user(), user()]
  await world.identity.bindSlack({ team_id, user_id: hers, code: await code(dana) })
  await world.identity.bindSlack({ team_id, user_id: his, code: await code(erin) })
  expect(await world.identity.bindSlack({ team_id, user_id: hers, code: await code(erin) })).toMatchObject({
    ok: false,
    code: 'conflict',
  })
  expect((await world.identity.bySlack(team_id, hers))?.id).toBe(dana)
  expect((await world.identity.bySlack(team_id, his))?.id).toBe(erin)
  expect(await world.identity.unbindSlack(dana)).toBe(true)
  expect(await world.identity.unbindSlack(dana)).toBe(false)
  expect(await world.identity.bySlack(team_id, hers)).toBeNull()
})

test('a Slack account that guesses is stopped after ten codes', async () => {
  const user_id = user()
  for (let i = 0; i < 10; i++) {
    expect(await world.identity.bindSlack({ team_id, user_id, code: `AAAAAAA${'23456789AB'[i]}` })).toMatchObject({
      code: 'gone',
    })
  }
  expect(await world.identity.bindSlack({ team_id, user_id, code: await code(erin) })).toMatchObject({
    ok: false,
    code: 'rate_limited',
  })
})

test('no code stands in the database in a form that could be tried out', async () => {
  const made = await code(erin)
  const rows = JSON.stringify(await world.database.sql`select t::text from slack_link_codes t`)
  expect(rows).not.toContain(made)
  expect(rows).not.toContain(Buffer.from(made).toString('hex'))
})

test('a disabled person is nobody in Slack', async () => {
  const user_id = user()
  await world.identity.bindSlack({ team_id, user_id, code: await code(dana) })
  await world.database.sql`update subjects set disabled_at = now() where id = ${dana}`
  expect(await world.identity.bySlack(team_id, user_id)).toBeNull()
})
