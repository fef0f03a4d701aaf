import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { SubjectFacts } from '../../src/identity/facts.ts'
import type { SubjectFacts as PolicyFacts } from '../../src/policy/points.ts'
import { eventTypes, type IdentityWorld, identityWorld, signIn } from './support.ts'

let world: IdentityWorld
beforeEach(async () => {
  world = await identityWorld()
})
afterEach(() => world.stop())

const due = () => world.database.sql`update refresh_tokens set next_at = now()`
const groupsOf = async (id: string) => (await world.identity.subjectFacts(id))?.groups

describe('ID11: groups after the sign-in', () => {
  test('a group removed at the identity provider is gone after the next refresh, and everybody is told', async () => {
    const heard: string[] = []
    await world.database.sql.listen('subjects', id => heard.push(id))
    const { subject_id } = await signIn(world, 'dana')
    world.live.add(subject_id)
    await expect.poll(() => heard).toEqual([subject_id])
    heard.length = world.changed.length = 0
    world.idp.setGroups('dana', ['engineers'])
    expect(await world.identity.refreshDue()).toBe(0) // not due yet
    expect(await groupsOf(subject_id)).toContain('dbas')
    await due()
    expect(await world.identity.refreshDue()).toBe(1)
    expect(await groupsOf(subject_id)).toEqual(['engineers'])
    expect(world.changed).toEqual([subject_id])
    await expect.poll(() => heard).toEqual([subject_id])
    expect(await eventTypes(world)).toContain('groups.changed')
  })

  test('refreshing rotates the refresh token and goes on for ever; nothing is told when nothing changed', async () => {
    const { subject_id } = await signIn(world, 'dana')
    world.changed.length = 0
    for (let i = 0; i < 3; i++) {
      await due()
      expect(await world.identity.refreshDue()).toBe(1)
    }
    expect(world.changed).toEqual([])
    const [row] = await world.database.sql<
      { failures: string | null }[]
    >`select failures from refresh_tokens where subject_id = ${subject_id}`
    expect(row?.failures).toBeNull()
  })

  test('nobody is refreshed who has nothing live', async () => {
    const { session } = await signIn(world, 'dana')
    const caller = (await world.identity.authenticate({ cookie: session }))!
    await world.identity.signOut(caller, { cookie: session })
    await due()
    expect(await world.identity.refreshDue()).toBe(0)
    world.live.add(caller.facts.id)
    expect(await world.identity.refreshDue()).toBe(1)
  })

  test('a person who left the identity provider loses session and groups', async () => {
    const { session, subject_id } = await signIn(world, 'dana')
    world.idp.removePerson('dana')
    await due()
    await world.identity.refreshDue()
    expect(await world.identity.authenticate({ cookie: session })).toBeNull()
    expect(await world.identity.subjectFacts(subject_id)).toBeNull()
    const [row] = await world.database.sql<{ groups: string[] }[]>`select groups from subjects where id = ${subject_id}`
    expect(row?.groups).toEqual([])
    expect(world.changed).toContain(subject_id)
    expect(await world.database.sql`select 1 from refresh_tokens`).toHaveLength(0)
  })

  test('a person who left the identity provider acts through nothing of theirs, until they sign in again', async () => {
    const { session, subject_id } = await signIn(world, 'dana')
    const dana = (await world.identity.authenticate({ cookie: session }))!
    const issued = await world.identity.issueToken(dana, { name: 'old', scopes: ['*'], expires_s: 3600 })
    if (!issued.ok) throw new Error(issued.message)
    const { code } = await world.identity.createLinkCode(subject_id)
    const slack = { team_id: 'T1', user_id: 'U1' }
    expect(await world.identity.bindSlack({ ...slack, code })).toMatchObject({ ok: true })
    await world.identity.signOut(dana, { cookie: session }) // nothing but the token is left of them here
    world.idp.removePerson('dana')
    await due()
    expect(await world.identity.refreshDue()).toBe(1)
    expect(await world.identity.authenticate({ bearer: issued.token })).toBeNull()
    expect(await world.identity.bySlack(slack.team_id, slack.user_id)).toBeNull()
    const wish = { name: 'late', scopes: ['*'], expires_s: 3600 }
    expect(await world.identity.issueToken(dana, wish)).toMatchObject({ ok: false })
    const [event] = await world.database.sql<{ body: { why: string } }[]>`
      select body::jsonb as body from audit_inbox where type = 'token.refused' order by seq desc limit 1`
    expect(event?.body.why).toContain('identity provider')
    await world.database.sql`update subjects set left_at = null where id = ${subject_id}` // as a new sign-in does
    expect(await world.identity.authenticate({ bearer: issued.token })).toMatchObject({ facts: { id: subject_id } })
  })

  test('a token keeps its person’s refresh token, and the sweep of a day later too', async () => {
    const { session } = await signIn(world, 'dana')
    const dana = (await world.identity.authenticate({ cookie: session }))!
    const issued = await world.identity.issueToken(dana, { name: 'ci', scopes: ['*'], expires_s: 3600 })
    if (!issued.ok) throw new Error(issued.message)
    await world.identity.signOut(dana, { cookie: session })
    await world.database.sql`update refresh_tokens set refreshed_at = now() - interval '2 days'`
    await world.identity.sweep()
    await due()
    expect(await world.identity.refreshDue()).toBe(1)
    await world.identity.revokeToken(dana, issued.id)
    await world.database.sql`update refresh_tokens set refreshed_at = now() - interval '2 days'`
    await world.identity.sweep()
    expect(await world.database.sql`select 1 from refresh_tokens`).toHaveLength(0)
  })

  test('an identity provider that is down marks the failure, keeps the groups, and lets them grow old', async () => {
    const { subject_id } = await signIn(world, 'dana')
    await world.idp.stop()
    await due()
    expect(await world.identity.refreshDue()).toBe(1)
    const [row] = await world.database.sql<{ failures: string }[]>`select failures from refresh_tokens`
    expect(row?.failures).toBeTruthy()
    expect(await groupsOf(subject_id)).toContain('dbas')
    const [aged] = await world.database.sql<{ old: boolean }[]>`
      select groups_at < now() - interval '5 milliseconds' as old from subjects where id = ${subject_id}`
    expect(aged?.old).toBe(true) // policy denies with groups_stale once they are too old
  })

  test('a refresh token moved to another person’s row opens nothing', async () => {
    const [dana, erin] = [await signIn(world, 'dana'), await signIn(world, 'erin')]
    await world.database.sql`
      update refresh_tokens set next_at = now(), sealed = (select sealed from refresh_tokens where subject_id = ${dana.subject_id})
      where subject_id = ${erin.subject_id}`
    await world.identity.refreshDue()
    expect(await groupsOf(erin.subject_id)).toEqual(['engineers'])
    const [row] = await world.database.sql<
      { failures: string }[]
    >`select failures from refresh_tokens where subject_id = ${erin.subject_id}`
    expect(row?.failures).toContain('cannot be opened')
  })

  test('two replicas refresh a person once', async () => {
    await signIn(world, 'dana')
    await due()
    const counts = await Promise.all([world.identity.refreshDue(), world.identity.refreshDue()])
    expect(counts[0]! + counts[1]!).toBe(1)
  })
})

test('the facts of this room are those that policy takes', () => {
  const facts = {} as SubjectFacts
  const taken: PolicyFacts = facts
  const given: SubjectFacts = taken
  expect(given).toBe(facts)
})
