import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Browser } from '../identity/browser.ts'
import { pkce } from '../identity/support.ts'
import { type ApiWorld, apiWorld, buildBase } from './support.ts'

let world: ApiWorld
beforeAll(async () => {
  world = await apiWorld(buildBase)
})
afterAll(() => world.stop())

const at = (path: string) => world.origin + path
async function signedIn(sub: string): Promise<Browser> {
  const browser = new Browser()
  await browser.signIn(at('/auth/login?return_to=/api/me'), sub, url => url === at('/api/me'))
  return browser
}
const post = (browser: Browser, path: string, headers: Record<string, string>, body: unknown = {}) =>
  browser.send(at(path), {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })

describe('signing in over HTTP', () => {
  test('a browser signs in, is somebody, and signs out', async () => {
    const browser = await signedIn('erin')
    const me = await browser.send(at('/api/me'))
    expect(await me.json()).toMatchObject({
      subject: { name: 'Erin Engineer', email: 'erin@example.test', groups: ['engineers'] },
      via: 'web',
      slack: null,
    })
    const cookie = [...browser.cookies(world.origin)]
    expect(cookie.map(([name]) => name)).toEqual(['sallyport']) // the sign-in's own cookie is gone
    const out = await post(browser, '/auth/logout', { origin: world.origin })
    expect(((await out.json()) as { end_session_url: string }).end_session_url).toContain(world.idp.issuer)
    expect((await browser.send(at('/api/me'))).status).toBe(401)
    const old = `sallyport=${cookie[0]![1].value}`
    expect((await fetch(at('/api/me'), { headers: { cookie: old } })).status).toBe(401)
  })

  test('the cookies are HttpOnly, SameSite=Lax and for the whole site', async () => {
    const login = await fetch(at('/auth/login'), { redirect: 'manual' })
    const [line] = login.headers.getSetCookie()
    expect(line).toMatch(/^sign-in-[0-9a-f]{12}=[\w-]{43}; Max-Age=600; Path=\/; HttpOnly; SameSite=Lax$/)
  })

  test('on an https origin cookies carry the __Host- prefix and Secure, and browsers are told to stay on https', async () => {
    const app = await buildBase({
      config: {
        origin: 'https://sallyport.example',
        deployment: 't',
        zone: 'UTC',
        oidc: world.config.oidc,
        control: {},
      },
      database: world.database,
      identity: world.identity,
      engine: world.engine,
      decisions: world.decisions,
      now: Date.now,
      ready: () => 'ready',
    })
    const { headers } = await app.inject({ url: '/auth/login' })
    expect(headers['set-cookie']).toMatch(
      /^__Host-sign-in-[0-9a-f]{12}=[\w-]{43}; Max-Age=600; Path=\/; HttpOnly; Secure; SameSite=Lax$/,
    )
    expect(headers['strict-transport-security']).toBe('max-age=31536000')
    await app.close()
  })

  test('a callback that does not fit shows a page that says what to do, and signs nobody in', async () => {
    const answer = await fetch(at('/auth/callback?state=x&code=y'), { redirect: 'manual' })
    expect(answer.status).toBe(410)
    expect(answer.headers.get('content-type')).toContain('text/html')
    expect(await answer.text()).toContain('/auth/login')
    expect(answer.headers.getSetCookie().join()).not.toMatch(/sallyport=[\w-]/)
  })

  test('a callback carried to another browser signs nobody in', async () => {
    const victim = new Browser()
    const attacker = new Browser()
    const back = await attacker.signIn(at('/auth/login'), 'eli', url => url.includes('/auth/callback'))
    const answer = await victim.send(back.url)
    expect(answer.status).toBe(401)
    expect((await victim.send(at('/api/me'))).status).toBe(401)
  })
})

describe('CSRF', () => {
  test('a call that changes something by cookie needs our own origin', async () => {
    const browser = await signedIn('erin')
    for (const headers of [
      {},
      { origin: 'https://evil.example' },
      { origin: 'null' },
      { 'sec-fetch-site': 'same-site' },
      { origin: world.origin, 'sec-fetch-site': 'cross-site' },
    ]) {
      const answer = await post(browser, '/api/slack/link-code', headers)
      expect(answer.status).toBe(400)
    }
    expect((await post(browser, '/api/slack/link-code', { origin: world.origin })).status).toBe(200)
  })

  test('a form of another site is not even read', async () => {
    const browser = await signedIn('erin')
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x']) {
      const answer = await post(browser, '/api/slack/link-code', { origin: world.origin, 'content-type': type })
      expect(answer.status).toBe(415)
    }
  })
})

describe('the command line', () => {
  const ask = (challenge: string, state = 's'.repeat(22), port = 43_210) =>
    `/auth/cli?${new URLSearchParams({ port: String(port), challenge, state })}`

  test('a person who is not signed in signs in first, sees what is asked, allows it, and the terminal gets its bearer', async () => {
    const browser = new Browser()
    const { verifier, challenge } = pkce()
    const page = await browser.signIn(at(ask(challenge)), 'erin', () => false)
    const html = await page.response!.text()
    expect(html).toContain('Erin Engineer')
    expect(html).toContain('43210')
    expect(page.response!.headers.get('content-security-policy')).toContain("form-action 'self' http://127.0.0.1:43210")
    const allowed = await browser.send(page.url, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded', origin: world.origin },
      body: '',
    })
    expect(allowed.status).toBe(303)
    const back = new URL(allowed.headers.get('location')!)
    expect([back.origin, back.searchParams.get('state'), back.searchParams.get('iss')]).toEqual([
      'http://127.0.0.1:43210',
      's'.repeat(22),
      world.origin,
    ])
    const exchange = { code: back.searchParams.get('code'), verifier }
    const redeemed = await post(new Browser(), '/auth/cli/token', {}, exchange)
    const { token } = (await redeemed.json()) as { token: string }
    const me = await fetch(at('/api/me'), { headers: { authorization: `Bearer ${token}` } })
    expect(await me.json()).toMatchObject({ via: 'cli', subject: { name: 'Erin Engineer' } })
    expect((await post(new Browser(), '/auth/cli/token', {}, exchange)).status).toBe(410)
  })

  test('no other site and no bearer can press the button', async () => {
    const browser = await signedIn('erin')
    const { challenge } = pkce()
    const form = { 'content-type': 'application/x-www-form-urlencoded' }
    expect(
      (
        await browser.send(at(ask(challenge)), {
          method: 'POST',
          headers: { ...form, origin: 'https://evil.example' },
          body: '',
        })
      ).status,
    ).toBe(400)
    expect((await fetch(at(ask(challenge)), { method: 'POST', headers: form })).status).toBe(401)
  })

  test('a port below 1024, a short challenge and a missing state are refused', async () => {
    for (const path of [ask(pkce().challenge, 's'.repeat(22), 80), ask('short'), ask(pkce().challenge, 's')]) {
      expect((await fetch(at(path), { redirect: 'manual' })).status).toBe(400)
    }
  })
})
