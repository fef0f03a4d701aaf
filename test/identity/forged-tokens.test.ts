import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { SignJWT, UnsecuredJWT } from 'jose'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Identity } from '../../src/identity/door.ts'
import { createIdentity } from '../../src/identity/identity.ts'
import { type ForgingIssuer, startForgingIssuer } from './forging-issuer.ts'
import { finish, type IdentityWorld, identityWorld, oidcSettings } from './support.ts'

let issuer: ForgingIssuer
let world: IdentityWorld
let identity: Identity
const freshIdentity = () =>
  createIdentity({
    ...world,
    config: { origin: world.origin, oidc: oidcSettings(issuer.issuer) },
    ports: { liveSubjects: async () => [], onGroupsChanged: () => {} },
  })

beforeAll(async () => {
  world = await identityWorld()
})
afterAll(() => world.stop())
beforeEach(async () => {
  issuer = await startForgingIssuer()
  identity = freshIdentity()
})
afterEach(() => issuer.stop())

/** A whole sign-in in which the issuer answers as the test set it up. */
async function attempt() {
  const begun = await identity.beginSignIn({ return_to: '/', address: '192.0.2.1' })
  if (!begun.ok) return begun
  const asked = new URL(begun.url).searchParams
  if (issuer.nonce !== 'none') issuer.nonce = asked.get('nonce') ?? undefined
  else issuer.nonce = undefined
  const callback = new URL(`${world.origin}/auth/callback`)
  callback.search = new URLSearchParams({ code: 'c', state: asked.get('state')!, iss: issuer.issuer }).toString()
  return finish(identity, callback, begun.browser)
}

const signedBy =
  (alg: string, key: Parameters<SignJWT['sign']>[0], kid = 'k1') =>
  (claims: Record<string, unknown>) =>
    new SignJWT(claims).setProtectedHeader({ alg, kid }).sign(key)

describe('ID9: signatures of ID tokens', () => {
  test('a good RS256 token is let in', async () => {
    expect(await attempt()).toMatchObject({ ok: true })
  })

  test('alg none is refused although the issuer lists it', async () => {
    issuer.idToken = async claims => new UnsecuredJWT(claims).encode()
    expect(await attempt()).toMatchObject({ ok: false })
  })

  test('HS256 keyed with the public key, or with the client secret, is refused', async () => {
    const pem = createPublicKey(issuer.key).export({ type: 'spki', format: 'pem' })
    for (const secret of [pem.toString(), 'client-secret-of-the-tests']) {
      issuer.idToken = signedBy('HS256', new TextEncoder().encode(secret))
      expect(await attempt()).toMatchObject({ ok: false })
    }
  })

  test('a signature by another key under a known kid, and an unknown kid, are refused', async () => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    issuer.idToken = signedBy('RS256', privateKey)
    expect(await attempt()).toMatchObject({ ok: false })
    issuer.idToken = signedBy('RS256', privateKey, 'k2')
    expect(await attempt()).toMatchObject({ ok: false })
  })

  test('an algorithm that the issuer does not list is refused', async () => {
    issuer.idToken = signedBy('RS512', issuer.key)
    expect(await attempt()).toMatchObject({ ok: false })
  })

  test('an issuer that offers no asymmetric algorithm of ours cannot be used at all', async () => {
    issuer.metadata = { id_token_signing_alg_values_supported: ['HS256', 'none'] }
    expect(await attempt()).toMatchObject({ ok: false, code: 'not_ready' })
  })

  test('while the key set is down, known keys serve and nobody new is trusted', async () => {
    issuer.jwks = null
    expect(await attempt()).toMatchObject({ ok: false })
    issuer.jwks = { keys: [{ ...createPublicKey(issuer.key).export({ format: 'jwk' }), kid: 'k1', alg: 'RS256' }] }
    expect(await attempt()).toMatchObject({ ok: true })
    issuer.jwks = null
    expect(await attempt()).toMatchObject({ ok: true })
  })
})

describe('claims of ID tokens', () => {
  test.each([
    ['another audience', { aud: 'somebody-else' }],
    ['another issuer', { iss: 'https://evil.example' }],
    ['expired', { exp: 1_000_000 }],
    ['another nonce', { nonce: 'x' }],
    ['no subject', { sub: undefined }],
    ['an empty subject', { sub: '' }],
    ['groups as one text', { groups: 'engineers' }],
    ['groups with a number', { groups: ['engineers', 1] }],
    ['groups with a NUL', { groups: ['a\0b'] }],
    ['501 groups', { groups: Array.from({ length: 501 }, (_, i) => `g${i}`) }],
    ['a group of 257 characters', { groups: ['g'.repeat(257)] }],
  ])('%s: refused', async (_, claims) => {
    issuer.claims = claims
    expect(await attempt()).toMatchObject({ ok: false })
    expect(await world.database.sql`select 1 from subjects where issuer = ${issuer.issuer}`).toHaveLength(0)
  })

  test('ID8: a token without a nonce is refused', async () => {
    issuer.nonce = 'none'
    expect(await attempt()).toMatchObject({ ok: false })
  })

  test('no groups claim means no groups; groups that only the user-info endpoint gives are read there', async () => {
    issuer.claims = { groups: undefined }
    const without = await attempt()
    expect(without.ok && (await identity.subjectFacts(without.subject_id))?.groups).toEqual([])
    issuer.userinfo = { sub: 'mallory', groups: ['b', 'a', 'b'] }
    identity = freshIdentity() // its metadata now has the endpoint
    const done = await attempt()
    expect(done.ok && (await identity.subjectFacts(done.subject_id))?.groups).toEqual(['a', 'b'])
  })

  test('ID10: an e-mail address links nobody, verified or not', async () => {
    issuer.claims = { sub: 'first', email: 'dana@example.test', email_verified: true, groups: ['dbas'] }
    const first = await attempt()
    for (const email_verified of [false, true]) {
      issuer.claims = { sub: `other-${email_verified}`, email: 'dana@example.test', email_verified, groups: [] }
      const other = await attempt()
      if (!first.ok || !other.ok) throw new Error('both may sign in')
      expect(other.subject_id).not.toBe(first.subject_id)
      expect((await identity.subjectFacts(other.subject_id))?.groups).toEqual([])
    }
  })

  test('a name with control characters is not shown, and claims of odd shapes are left out', async () => {
    issuer.claims = {
      name: 'Eve\u202e\u0007',
      acr: 'high',
      amr: ['otp'],
      level: 1.5,
      deep: { a: 1 },
      lone: '\ud800',
      long: 'x'.repeat(257),
    }
    const done = await attempt()
    if (!done.ok) throw new Error(done.message)
    const facts = await identity.subjectFacts(done.subject_id)
    expect(facts?.name).toBe('mallory')
    expect(facts?.claims).toEqual({ acr: 'high', amr: ['otp'] })
  })
})

test('an issuer on plain http that is not loopback is refused at the start', () => {
  const honest = issuer
  issuer = { ...honest, issuer: 'http://idp.example.com' }
  expect(freshIdentity).toThrow(/not https/)
  issuer = honest
})

test('an issuer that cannot be reached refuses the sign-in, and works as soon as it is there again', async () => {
  issuer.down = true
  expect(await attempt()).toMatchObject({ ok: false, code: 'not_ready' })
  issuer.down = false
  await expect.poll(async () => (await attempt()).ok, { timeout: 5_000, interval: 300 }).toBe(true)
})
