import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Caller } from '../../src/identity/facts.ts'
import { challengeOf, confirmationText } from '../../src/identity/pkce.ts'
import { eventTypes, type IdentityWorld, identityWorld, pkce, signIn } from './support.ts'

let world: IdentityWorld
let erin: Caller
let cookie: string
beforeAll(async () => {
  world = await identityWorld()
  cookie = (await signIn(world, 'erin')).session
  erin = (await world.identity.authenticate({ cookie }))!
})
afterAll(() => world.stop())

const where = { address: '192.0.2.1', user_agent: 'sallyport/1' }

async function cliToken(): Promise<string> {
  const { verifier, challenge } = pkce()
  const code = await world.identity.issueCliCode(erin, { challenge, port: 4711 })
  const done = await world.identity.redeemCliCode({ code, verifier, ...where })
  if (!done.ok) throw new Error(done.message)
  return done.token
}

describe('the command line', () => {
  test('a code and its verifier give a bearer that is this person', async () => {
    expect(await world.identity.authenticate({ bearer: await cliToken() })).toMatchObject({
      via: 'cli',
      facts: { id: erin.facts.id },
    })
  })

  test('a code is good once, for its verifier only, and for a minute', async () => {
    const { verifier, challenge } = pkce()
    expect(challengeOf(verifier)).toBe(challenge)
    const code = await world.identity.issueCliCode(erin, { challenge, port: 4711 })
    expect(await world.identity.redeemCliCode({ code, verifier: pkce().verifier, ...where })).toMatchObject({
      ok: false,
    })
    expect(await world.identity.redeemCliCode({ code, verifier, ...where })).toMatchObject({ ok: false, code: 'gone' })
    const late = await world.identity.issueCliCode(erin, { challenge, port: 4711 })
    await world.database.sql`update sign_ins set expires_at = now()`
    expect(await world.identity.redeemCliCode({ code: late, verifier, ...where })).toMatchObject({ ok: false })
    const twice = await world.identity.issueCliCode(erin, { challenge, port: 4711 })
    const both = await Promise.all([1, 2].map(() => world.identity.redeemCliCode({ code: twice, verifier, ...where })))
    expect(both.filter(done => done.ok)).toHaveLength(1)
  })

  test('page and terminal show the same words for one challenge and others for another', () => {
    const [a, b] = [pkce().challenge, pkce().challenge]
    expect(confirmationText(a)).toMatch(/^[2-9A-Z]{4}-[2-9A-Z]{4}$/)
    expect(confirmationText(a)).not.toBe(confirmationText(b))
  })
})

describe('API tokens', () => {
  const issue = async (input: Partial<Parameters<typeof world.identity.issueToken>[1]> = {}, by = erin) => {
    const issued = await world.identity.issueToken(by, {
      name: 'ci',
      scopes: ['access:request'],
      expires_s: 3600,
      ...input,
    })
    if (!issued.ok) throw new Error(issued.message)
    return issued
  }

  test('a token acts as its person with its scopes, and only its hash is stored', async () => {
    const issued = await issue()
    expect(await world.identity.authenticate({ bearer: issued.token })).toMatchObject({
      via: 'token',
      credential: issued.id,
      facts: { id: erin.facts.id, token: { id: issued.id, scopes: ['access:request'] } },
    })
    const rows = JSON.stringify(await world.database.sql`select t::text from api_tokens t`)
    const secret = issued.token.slice(-43)
    expect(rows).not.toContain(secret)
    expect(rows).not.toContain(Buffer.from(secret).toString('hex'))
  })

  test('a machine is made on first use, and its groups cannot be changed by another token', async () => {
    const machine = { name: 'deploy', groups: ['deployers'] }
    const first = await issue({ machine })
    expect(await world.identity.authenticate({ bearer: first.token })).toMatchObject({
      facts: { kind: 'machine', issuer: 'sallyport', name: 'deploy', groups: ['deployers'] },
    })
    expect((await issue({ machine })).subject_id).toBe(first.subject_id)
    const more = { name: 'deploy', groups: ['deployers', 'dbas'] }
    expect(
      await world.identity.issueToken(erin, { name: 'x', scopes: ['*'], expires_s: 60, machine: more }),
    ).toMatchObject({ ok: false, code: 'conflict' })
  })

  test('a token begets no token with more scopes than its own', async () => {
    const { token } = await issue()
    const caller = (await world.identity.authenticate({ bearer: token }))!
    const wish = { name: 'more', scopes: ['*'], expires_s: 60 }
    expect(await world.identity.issueToken(caller, wish)).toMatchObject({ ok: false })
    expect(await world.identity.issueToken(caller, { ...wish, scopes: ['access:request'] })).toMatchObject({ ok: true })
  })

  test('a token begets no token that outlives it', async () => {
    const caller = (await world.identity.authenticate({ bearer: (await issue({ expires_s: 600 })).token }))!
    const wish = { name: 'heir', scopes: ['access:request'] }
    expect(await world.identity.issueToken(caller, { ...wish, expires_s: 601 })).toMatchObject({ ok: false })
    const machine = { name: 'heir', groups: ['deployers'] }
    expect(await world.identity.issueToken(caller, { ...wish, machine, expires_s: 601 })).toMatchObject({ ok: false })
    expect(await world.identity.issueToken(caller, { ...wish, expires_s: 60 })).toMatchObject({ ok: true })
  })

  test('a token that is revoked takes with it what was issued with it, and begets nothing in that moment', async () => {
    const stolen = await issue()
    const thief = (await world.identity.authenticate({ bearer: stolen.token }))!
    const child = await issue({ expires_s: 1200, machine: { name: 'child', groups: [] } }, thief)
    const grandchild = await issue({ expires_s: 600 }, (await world.identity.authenticate({ bearer: child.token }))!)
    expect(await world.identity.revokeToken(erin, stolen.id)).toBe(true)
    for (const { token } of [stolen, child, grandchild])
      expect(await world.identity.authenticate({ bearer: token })).toBeNull()
    const late = { name: 'late', scopes: ['access:request'], expires_s: 60 }
    expect(await world.identity.issueToken(thief, late)).toMatchObject({ ok: false, code: 'unauthenticated' })
    const events = await world.database.sql<{ body: { token: string; with?: string } }[]>`
      select body::jsonb as body from audit_inbox where type = 'token.revoked' order by seq`
    expect(events.map(event => event.body.with).filter(id => id === stolen.id)).toHaveLength(2)
  })

  test('nobody hides a token behind thousands of others: a subject has at most a hundred good ones', async () => {
    const dana = (await world.identity.authenticate({ cookie: (await signIn(world, 'dana')).session }))!
    const first = await issue({}, dana)
    const wish = { name: 'many', scopes: ['access:request'], expires_s: 600 }
    for (let i = 0; i < 97; i++) await issue({}, dana)
    const last = await Promise.all(Array.from({ length: 6 }, () => world.identity.issueToken(dana, wish)))
    expect(last.filter(issued => issued.ok)).toHaveLength(2)
    const page = await world.identity.listTokens({ subject_id: dana.facts.id, limit: 99 })
    const rest = await world.identity.listTokens({ subject_id: dana.facts.id, limit: 99, before: page.at(-1)!.id })
    expect(rest.map(row => row.id)).toEqual([first.id])
    await world.identity.revokeToken(dana, first.id)
    expect(await world.identity.issueToken(dana, wish)).toMatchObject({ ok: true })
  })

  test('a revoked, expired or changed token is nobody, and the refusal is an event', async () => {
    const [revoked, expired, changed] = [await issue(), await issue(), await issue()]
    expect(await world.identity.revokeToken(erin, revoked.id)).toBe(true)
    expect(await world.identity.revokeToken(erin, revoked.id)).toBe(false)
    await world.database.sql`update api_tokens set expires_at = now() where id = ${expired.id}`
    const last = changed.token.at(-2) === 'A' ? 'B' : 'A'
    for (const bearer of [revoked.token, expired.token, changed.token.slice(0, -2) + last + changed.token.at(-1)]) {
      expect(await world.identity.authenticate({ bearer })).toBeNull()
    }
    const types = await eventTypes(world)
    expect(types.filter(type => type === 'token.refused').length).toBeGreaterThanOrEqual(3)
    expect(types).toEqual(expect.arrayContaining(['token.issued', 'token.revoked']))
  })

  test('a token cannot live for a second or for ever', async () => {
    for (const expires_s of [0, 59, 400 * 86_400]) {
      expect(await world.identity.issueToken(erin, { name: 'x', scopes: ['*'], expires_s })).toMatchObject({
        ok: false,
      })
    }
  })

  test('the list says what a token is and never its text', async () => {
    const rows = await world.identity.listTokens({ subject_id: erin.facts.id, limit: 100 })
    expect(rows[0]).toMatchObject({ subject_name: 'Erin Engineer', created_by: erin.facts.id })
    expect(JSON.stringify(rows)).not.toContain('sallyport_')
  })
})

test('ID12: each credential is good at its own place only', async () => {
  const cli = await cliToken()
  const { verifier, challenge } = pkce()
  const code = await world.identity.issueCliCode(erin, { challenge, port: 4711 })
  const issued = await world.identity.issueToken(erin, { name: 'x', scopes: ['*'], expires_s: 60 })
  if (!issued.ok) throw new Error(issued.message)
  for (const bearer of [
    cookie,
    `sallyport_cli_${cookie}`,
    code,
    `sallyport_cli_${code}`,
    'eyJhbGciOiJub25lIn0.e30.',
    cli + 'A',
    issued.id,
  ]) {
    expect(await world.identity.authenticate({ bearer })).toBeNull()
  }
  for (const other of [cli, cli.slice(-43), code, issued.token, issued.token.slice(-43)]) {
    expect(await world.identity.authenticate({ cookie: other })).toBeNull()
  }
  expect(await world.identity.redeemCliCode({ code: cookie, verifier, ...where })).toMatchObject({ ok: false })
  expect(await world.identity.authenticate({ bearer: 'bad', cookie })).toBeNull()
})
