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
    expect(await groupsOf(subject_id)).toEqual([])
    expect(world.changed).toContain(subject_id)
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
