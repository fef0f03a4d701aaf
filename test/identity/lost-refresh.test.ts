import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type FrailProvider, frailProvider } from '../support/frail-provider.ts'
import { eventTypes, type IdentityWorld, identityWorld, signIn } from './support.ts'

let front: FrailProvider
let world: IdentityWorld
beforeEach(async () => {
  front = await frailProvider()
  world = await identityWorld({ front, issuer: front.issuer })
})
afterEach(async () => {
  await front.stop()
  await world.stop()
})

async function refresh(frailty: FrailProvider['frailty'] = 'none'): Promise<void> {
  front.frailty = frailty
  await world.database.sql`update refresh_tokens set next_at = now()`
  await world.identity.refreshDue()
  front.frailty = 'none'
}
const facts = (id: string) => world.identity.subjectFacts(id)
async function failure(): Promise<string | null> {
  const [row] = await world.database.sql<{ failures: string | null }[]>`select failures from refresh_tokens`
  return row?.failures ?? null
}

describe('ID11: a refresh without an answer', () => {
  test('a 5xx and a provider that is away are no sign-out, and the next refresh heals them', async () => {
    const { session, subject_id } = await signIn(world, 'dana')
    await refresh('broken')
    expect(await failure()).toBeTruthy()
    const { behind } = front
    front.behind = 'http://127.0.0.1:1'
    await refresh()
    front.behind = behind
    expect(await world.identity.authenticate({ cookie: session })).not.toBeNull()
    expect((await facts(subject_id))?.groups).toContain('dbas')
    await refresh()
    expect(await failure()).toBeNull()
    expect((await facts(subject_id))?.groups_at_ms).toBeGreaterThan(0)
  })

  for (const how of ['lost', 'hang'] as const) {
    test(`an answer that is ${how === 'lost' ? 'lost' : 'waited for in vain'} after the provider exchanged the token gives nothing new, and ends nothing that lives`, async () => {
      const { session, subject_id } = await signIn(world, 'dana')
      world.live.add(subject_id)
      await refresh(how)
      expect(await failure()).toBeTruthy()
      expect(await world.identity.authenticate({ cookie: session })).not.toBeNull() // nothing is known yet
      await refresh() // the old token again: `invalid_grant`
      expect(await world.identity.authenticate({ cookie: session })).toBeNull()
      const after = await facts(subject_id)
      expect(after?.groups).toContain('dbas') // so that a live session is judged as before
      expect(after?.groups_at_ms).toBe(0) // and nothing new is given: `groups_stale`
      await world.identity.sweep()
      expect(await facts(subject_id)).not.toBeNull()
      await world.database.sql`update subjects set groups_at = now() - interval '61 seconds' where id = ${subject_id}`
      await world.identity.sweep() // max_groups_age_s is 60: what lives of theirs ends now
      expect(await facts(subject_id)).toBeNull()
      expect((await eventTypes(world)).filter(type => type === 'groups.changed').length).toBeGreaterThanOrEqual(2)
      const again = await signIn(world, 'dana')
      expect(again.subject_id).toBe(subject_id)
      expect((await facts(subject_id))?.groups).toContain('dbas')
    }, 30_000)
  }

  test('signing in again soon makes all good before anything ends', async () => {
    const { subject_id } = await signIn(world, 'dana')
    world.live.add(subject_id)
    await refresh('lost')
    await refresh()
    await signIn(world, 'dana')
    await world.database.sql`update subjects set groups_at = now() - interval '61 seconds' where id = ${subject_id}`
    await world.identity.sweep()
    expect((await facts(subject_id))?.groups_at_ms).toBeGreaterThan(0)
    await refresh()
    expect(await failure()).toBeNull()
  })

  test('an explicit invalid_grant with no answer lost before is a sign-out at once', async () => {
    const { session, subject_id } = await signIn(world, 'dana')
    await refresh()
    world.idp.removePerson('dana')
    await refresh()
    expect(await world.identity.authenticate({ cookie: session })).toBeNull()
    expect(await facts(subject_id)).toBeNull()
  })

  test('a token that was exchanged before user info failed is kept', async () => {
    const { subject_id } = await signIn(world, 'dana')
    world.config.oidc.groups_claim = 'teams' // not in the ID token: user info is asked
    await refresh('half')
    expect(await failure()).toBeTruthy()
    world.config.oidc.groups_claim = 'groups'
    await refresh()
    expect(await failure()).toBeNull()
    expect((await facts(subject_id))?.groups).toContain('dbas')
  })
})
