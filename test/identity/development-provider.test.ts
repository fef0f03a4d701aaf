import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import * as oidc from 'openid-client'
import { afterAll, expect, test } from 'vitest'
import { startIdentityProvider } from '../../src/dev/idp/provider.ts'
import { Browser } from './browser.ts'
import { pkce } from './support.ts'

const dataDir = mkdtempSync(join(tmpdir(), 'sallyport-idp-'))
afterAll(() => rmSync(dataDir, { recursive: true }))

const redirect_uri = 'http://127.0.0.1:4000/auth/callback'
const start = (port: number) =>
  startIdentityProvider({
    port,
    dataDir,
    clients: [{ client_id: 'c', client_secret: 'a-secret', redirect_uris: [redirect_uri] }],
  })
const config = (issuer: string) =>
  oidc.discovery(new URL(issuer), 'c', undefined, oidc.ClientSecretBasic('a-secret'), {
    execute: [oidc.allowInsecureRequests],
  })

async function signIn(issuer: string, sub: string, browser: Browser) {
  const { verifier, challenge } = pkce()
  const server = await config(issuer)
  const url = oidc.buildAuthorizationUrl(server, {
    redirect_uri,
    scope: 'openid profile email groups offline_access',
    prompt: 'consent',
    state: 's',
    code_challenge: challenge,
    code_challenge_method: 'S256',
  })
  const back = await browser.signIn(url.href, sub, at => at.startsWith(redirect_uri))
  return oidc.authorizationCodeGrant(server, new URL(back.url), { pkceCodeVerifier: verifier, expectedState: 's' })
}

test('one browser plays several people one after the other; each sign-in asks who', async () => {
  const idp = await start(0)
  const browser = new Browser()
  for (const sub of ['erin', 'dana', 'erin']) {
    expect((await signIn(idp.issuer, sub, browser)).claims()?.sub).toBe(sub)
  }
  await idp.stop()
})

test('a refresh token and changed groups outlive a restart', async () => {
  const first = await start(0)
  const tokens = await signIn(first.issuer, 'dana', new Browser())
  first.setGroups('dana', ['night-shift'])
  await first.stop()
  await setTimeout(100) // until this process knows that its kept-alive connection is gone
  expect(statSync(join(dataDir, 'identity-provider.json')).mode & 0o777).toBe(0o600)
  const second = await start(Number(new URL(first.issuer).port))
  const fresh = await oidc.refreshTokenGrant(await config(second.issuer), tokens.refresh_token!)
  expect(fresh.claims()?.['groups']).toEqual(['night-shift'])
  await second.stop()
})

test('a sign-in without PKCE is refused', async () => {
  const idp = await start(0)
  const url = oidc.buildAuthorizationUrl(await config(idp.issuer), { redirect_uri, scope: 'openid', state: 's' })
  const answer = await fetch(url, { redirect: 'manual' })
  expect(answer.headers.get('location')).toContain('error=invalid_request')
  await idp.stop()
})

test('groups change by a JSON call from this machine, and from no web page', async () => {
  const idp = await start(0)
  const call = (headers: Record<string, string>, body: string, path = '/dev/people/eli/groups') =>
    fetch(idp.issuer + path, { method: 'POST', headers, body })
  const json = { 'content-type': 'application/json' }
  expect((await call(json, '{"groups":["a"]}')).status).toBe(200)
  expect((await call({ ...json, origin: 'https://evil.example' }, '{"groups":["dbas"]}')).status).toBe(403)
  expect((await call({ 'content-type': 'text/plain' }, '{"groups":["dbas"]}')).status).toBe(400)
  expect((await call(json, '{"groups":"dbas"}')).status).toBe(400)
  expect((await call(json, '{"groups":["a"]}', '/dev/people/nobody/groups')).status).toBe(404)
  const { people } = (await (await fetch(`${idp.issuer}/dev/people`)).json()) as {
    people: { sub: string; groups: string[] }[]
  }
  expect(people.find(person => person.sub === 'eli')?.groups).toEqual(['a'])
  await idp.stop()
})

test('a port that is taken is an error at the start', async () => {
  const idp = await start(0)
  await expect(start(Number(new URL(idp.issuer).port))).rejects.toThrow(/EADDRINUSE/)
  await idp.stop()
})
