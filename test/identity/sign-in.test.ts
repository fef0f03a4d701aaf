import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { localPath } from '../../src/identity/sign-in.ts'
import { eventTypes, finish, type IdentityWorld, identityWorld, signIn, untilCallback } from './support.ts'

let world: IdentityWorld
beforeAll(async () => {
  world = await identityWorld()
})
afterAll(() => world.stop())

describe('signing in', () => {
  test('a person signs in by code, PKCE, state and nonce; groups come from the claim', async () => {
    const { begun } = await untilCallback(world, 'erin')
    const asked = new URL(begun.url).searchParams
    expect(asked.get('code_challenge_method')).toBe('S256')
    expect([asked.get('state')?.length, asked.get('nonce')?.length]).toEqual([43, 43])
    const done = await signIn(world, 'erin')
    expect(done.return_to).toBe('/requests')
    const caller = await world.identity.authenticate({ cookie: done.session })
    expect(caller?.via).toBe('web')
    expect(caller?.facts).toMatchObject({
      kind: 'person',
      issuer: world.idp.issuer,
      subject: 'erin',
      name: 'Erin Engineer',
      groups: ['engineers'],
      token: null,
    })
    expect(await eventTypes(world)).toContain('sign_in.succeeded')
  })

  test('the same person is the same subject the next time', async () => {
    const [a, b] = [await signIn(world, 'eli'), await signIn(world, 'eli')]
    expect(a.subject_id).toBe(b.subject_id)
    expect(a.session).not.toBe(b.session)
  })

  test('nothing that is stored gives a session, a state or a refresh token away', async () => {
    const { begun } = await untilCallback(world, 'dana')
    const state = new URL(begun.url).searchParams.get('state')!
    const done = await signIn(world, 'dana')
    for (const table of ['web_sessions', 'sign_ins', 'refresh_tokens', 'subjects', 'audit_inbox']) {
      const rows = await world.database.sql.unsafe(
        `select t::text as text, encode(convert_to(t::text, 'UTF8'), 'escape') from ${table} t`,
      )
      const text = JSON.stringify(rows)
      expect(text).not.toContain(done.session)
      expect(text).not.toContain(Buffer.from(done.session).toString('hex'))
      expect(text).not.toContain(state)
      expect(text).not.toContain(begun.browser)
    }
  })

  test('ID8: a callback with an unknown state, two states or none is refused', async () => {
    const { begun, callback } = await untilCallback(world, 'erin')
    for (const change of [
      (url: URL) => url.searchParams.set('state', 'A'.repeat(43)),
      (url: URL) => url.searchParams.delete('state'),
      (url: URL) => url.searchParams.append('state', 'A'.repeat(43)),
    ]) {
      const url = new URL(callback)
      change(url)
      expect(await finish(world.identity, url, begun.browser)).toMatchObject({ ok: false, code: 'gone' })
    }
    expect(await eventTypes(world)).toContain('sign_in.refused')
  })

  test('ID8: a code of another issuer is refused by its iss, and the sign-in is spent', async () => {
    const { begun, callback } = await untilCallback(world, 'erin')
    const honest = callback.href
    callback.searchParams.set('iss', 'https://evil.example')
    expect(await finish(world.identity, callback, begun.browser)).toMatchObject({ ok: false, code: 'unauthenticated' })
    expect(await finish(world.identity, new URL(honest), begun.browser)).toMatchObject({ ok: false, code: 'gone' })
  })

  test('ID8: a callback without iss is refused where the issuer announced that it sends it', async () => {
    const { begun, callback } = await untilCallback(world, 'erin')
    callback.searchParams.delete('iss')
    expect(await finish(world.identity, callback, begun.browser)).toMatchObject({ ok: false })
  })

  test('ID8: a code that was issued to another sign-in fails its PKCE and its nonce', async () => {
    const victim = await untilCallback(world, 'erin')
    const mine = await untilCallback(world, 'eli')
    const url = new URL(mine.callback)
    url.searchParams.set('code', victim.callback.searchParams.get('code')!)
    expect(await finish(world.identity, url, mine.begun.browser)).toMatchObject({ ok: false, code: 'unauthenticated' })
  })

  test('a callback in another browser than the one that began is refused (login CSRF)', async () => {
    for (const browser of [undefined, 'A'.repeat(43)]) {
      const { callback } = await untilCallback(world, 'erin')
      expect(await finish(world.identity, callback, browser)).toMatchObject({ ok: false, code: 'unauthenticated' })
    }
  })

  test('a callback is good once', async () => {
    const { begun, callback } = await untilCallback(world, 'erin')
    expect(await finish(world.identity, callback, begun.browser)).toMatchObject({ ok: true })
    expect(await finish(world.identity, callback, begun.browser)).toMatchObject({ ok: false, code: 'gone' })
  })

  test('two callbacks of one sign-in at once give one session', async () => {
    const { begun, callback } = await untilCallback(world, 'erin')
    const both = await Promise.all([1, 2].map(() => finish(world.identity, callback, begun.browser)))
    expect(both.filter(outcome => outcome.ok)).toHaveLength(1)
  })

  test('a sign-in that took longer than ten minutes is refused', async () => {
    const { begun, callback } = await untilCallback(world, 'erin')
    await world.database.sql`update sign_ins set expires_at = now() - interval '1 second'`
    expect(await finish(world.identity, callback, begun.browser)).toMatchObject({ ok: false, code: 'gone' })
  })

  test('a flood of sign-ins that nobody finishes locks nobody out, and stays bounded', async () => {
    const { begun, callback } = await untilCallback(world, 'erin')
    await world.database.sql`
      insert into sign_ins (state_hash, sealed, expires_at)
      select sha256(n::text::bytea), '', now() + interval '300 s' from generate_series(1, 20000) n`
    expect((await signIn(world, 'dana')).session).toBeTruthy()
    const done = await finish(world.identity, callback, begun.browser)
    expect(done).toMatchObject({ ok: true })
    const [held] = await world.database.sql<{ n: number }[]>`select count(*)::int as n from sign_ins`
    expect(held?.n).toBeLessThan(20_000)
    await world.database.sql`delete from sign_ins`
  })

  test('an error of the identity provider is a refusal, not a fault', async () => {
    const { begun, callback } = await untilCallback(world, 'erin')
    callback.searchParams.delete('code')
    callback.searchParams.set('error', 'access_denied')
    expect(await finish(world.identity, callback, begun.browser)).toMatchObject({
      ok: false,
      message: expect.stringContaining('access_denied'),
    })
  })

  test('a person who was disabled here cannot sign in, and their sessions are dead', async () => {
    const done = await signIn(world, 'ava')
    await world.database.sql`update subjects set disabled_at = now() where id = ${done.subject_id}`
    expect(await world.identity.authenticate({ cookie: done.session })).toBeNull()
    expect(await world.identity.subjectFacts(done.subject_id)).toBeNull()
    const { begun, callback } = await untilCallback(world, 'ava')
    expect(await finish(world.identity, callback, begun.browser)).toMatchObject({ ok: false })
  })
})

describe('web sessions', () => {
  test('a session ends after its idle time, after its absolute time, and by signing out', async () => {
    const idle = await signIn(world, 'erin')
    await world.database.sql`update web_sessions set seen_at = now() - interval '3 hours'`
    expect(await world.identity.authenticate({ cookie: idle.session })).toBeNull()
    const old = await signIn(world, 'erin')
    await world.database.sql`update web_sessions set expires_at = now() - interval '1 second'`
    expect(await world.identity.authenticate({ cookie: old.session })).toBeNull()
    const left = await signIn(world, 'erin')
    const caller = (await world.identity.authenticate({ cookie: left.session }))!
    const { end_session_url } = await world.identity.signOut(caller, { cookie: left.session })
    expect(end_session_url).toContain(world.idp.issuer)
    expect(await world.identity.authenticate({ cookie: left.session })).toBeNull()
    await world.identity.sweep()
    expect(await world.database.sql`select 1 from web_sessions`).toHaveLength(0)
  })

  test('use moves the idle time on', async () => {
    const done = await signIn(world, 'erin')
    await world.database.sql`update web_sessions set seen_at = now() - interval '119 minutes'`
    expect(await world.identity.authenticate({ cookie: done.session })).not.toBeNull()
    const [row] = await world.database.sql<
      { young: boolean }[]
    >`select seen_at > now() - interval '1 minute' as young from web_sessions`
    expect(row?.young).toBe(true)
  })

  test('a tampered cookie is nobody', async () => {
    const { session } = await signIn(world, 'erin')
    for (const cookie of [
      '',
      session.slice(1),
      session + 'A',
      session.replace(/^./, c => (c === 'A' ? 'B' : 'A')),
      "' or 1=1 --",
    ]) {
      expect(await world.identity.authenticate({ cookie })).toBeNull()
    }
  })
})

test('after the sign-in a browser goes to a path of ours and nowhere else', () => {
  expect(localPath('/requests/req_1?a=b#c')).toBe('/requests/req_1?a=b#c')
  for (const path of [
    '//evil.example',
    '/\\evil.example',
    'https://evil.example',
    '',
    '/\t/evil.example',
    '/a\nb',
    '/' + 'a'.repeat(3000),
    'javascript:alert(1)',
    '/a\\..\\b',
  ]) {
    expect(localPath(path)).toBe('/')
  }
})
