import { generateKeyPairSync } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Api } from '../../src/api/deps.ts'
import { callerOf, permitOf, type RouteGuard } from '../../src/api/guard.ts'
import { buildServer } from '../../src/api/server.ts'
import { SallyportError } from '../../src/errors.ts'
import { Engine } from '../../src/policy/engine.ts'
import { signIn } from '../identity/support.ts'
import { type ApiWorld, apiWorld, buildBase } from './support.ts'

let world: ApiWorld
const web = mkdtempSync(join(tmpdir(), 'sallyport-web-'))
mkdirSync(join(web, 'assets'))
writeFileSync(join(web, 'index.html'), '<!doctype html><html><head><title>app</title></head></html>')
writeFileSync(join(web, 'assets', 'app-1.js'), 'export {}')
beforeAll(async () => {
  world = await apiWorld(buildBase, { web })
})
afterAll(async () => {
  await world.stop()
  rmSync(web, { recursive: true })
})

interface ErrorAnswer {
  error: Record<string, string>
}

async function as(sub: string, kind: 'cookie' | { scopes: string[] } = 'cookie') {
  const { session, subject_id } = await signIn(world, sub)
  let headers: Record<string, string> = { cookie: `sallyport=${session}`, origin: world.origin }
  if (kind !== 'cookie') {
    const caller = (await world.identity.authenticate({ cookie: session }))!
    const issued = await world.identity.issueToken(caller, { name: 't', scopes: kind.scopes, expires_s: 600 })
    if (!issued.ok) throw new Error(issued.message)
    headers = { authorization: `Bearer ${issued.token}` }
  }
  const call = async (method: string, path: string, body?: unknown) => {
    const response = await fetch(world.origin + path, {
      method,
      headers: { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    return { status: response.status, body: (await response.json()) as Record<string, unknown> & ErrorAnswer }
  }
  return { call, subject_id }
}

describe('routes and their points', () => {
  const build = (guard: RouteGuard | undefined, url = '/api/new') => {
    const area = (app: Api) => {
      app.get(url, { config: guard === undefined ? {} : { guard } }, async () => 'secret')
    }
    return buildServer({ ...deps(), web: undefined }, [area])
  }
  const deps = () => ({
    config: { origin: 'http://localhost:1', deployment: 't', zone: 'UTC', oidc: world.config.oidc, control: {} },
    database: world.database,
    identity: world.identity,
    engine: world.engine,
    decisions: { insert: async () => {} } as never,
    now: Date.now,
    ready: () => 'ready',
  })

  test('a route without a point does not register', async () => {
    await expect(build(undefined)).rejects.toThrow('GET /api/new names no policy point')
  })

  test('an open route that is not in the list does not register, nor does a call without an area', async () => {
    await expect(build({ point: 'open' })).rejects.toThrow('not in the list of open routes')
    await expect(build({ point: 'admin', call: 'everything' })).rejects.toThrow('not of the form')
    await (await build({ point: 'self' })).close()
  })

  test('a plain http origin that is not loopback is refused', async () => {
    const far = { ...deps(), config: { ...deps().config, origin: 'http://sallyport.example.com' } }
    await expect(buildServer(far, [])).rejects.toThrow(/plain http/)
  })

  test('a handler that was not let in has no caller and no permit', () => {
    expect(() => callerOf({ caller: null } as never)).toThrow(SallyportError)
    expect(() => permitOf({ permit: null } as never)).toThrow(SallyportError)
  })
})

describe('decisions of the admin point', () => {
  test('who is nobody gets 401 on every guarded route, before the body is read', async () => {
    for (const [method, path] of [
      ['GET', '/api/me'],
      ['GET', '/api/tokens'],
      ['POST', '/api/tokens'],
      ['DELETE', '/api/tokens/x'],
      ['GET', '/api/decisions'],
      ['GET', '/api/policy/status'],
      ['POST', '/api/slack/link-code'],
      ['POST', '/auth/logout'],
    ] as const) {
      for (const headers of [
        {},
        { authorization: 'Basic eDp5' },
        { authorization: 'Bearer x' },
        { cookie: 'sallyport=x' },
      ] as Record<string, string>[]) {
        const answer = await fetch(world.origin + path, {
          method,
          headers: { ...headers, 'content-type': 'application/json' },
          ...(method === 'GET' ? {} : { body: '{bad' }),
        })
        expect([path, answer.status]).toEqual([path, 401])
      }
    }
  })

  test('a denial names rule, place and decision; the decision is in the log before the answer', async () => {
    const erin = await as('erin')
    const { status, body } = await erin.call('GET', '/api/policy/status')
    expect(status).toBe(403)
    expect(body.error).toMatchObject({
      code: 'policy_denied',
      message: 'policy.status: your groups do not allow this',
      remedy: 'ask a security admin',
      rule: 'admin.default',
      at: `admin/admin.rego:3@${'c'.repeat(40)}`,
    })
    const [row] = await world.database.sql<
      { input: string; effect: string }[]
    >`select input, effect from decisions where id = ${body.error['decision_id']!}`
    expect(row?.effect).toBe('deny')
    expect(JSON.parse(row!.input)).toMatchObject({
      call: 'policy.status',
      own: false,
      subject: { id: erin.subject_id },
    })
  })

  test('a security admin reads the policy status, the decisions and one of them', async () => {
    const sam = await as('sam')
    const status = await sam.call('GET', '/api/policy/status')
    expect(status.body).toMatchObject({
      active: { generation: 1 },
      stale: null,
      history: [{ generation: 1, author: 'Sam' }],
      failures: [],
    })
    const list = await sam.call('GET', '/api/decisions?point=admin&effect=allow&limit=5')
    const [first] = list.body['items'] as { id: string }[]
    const one = await sam.call('GET', `/api/decisions/${first!.id}`)
    expect(one.body).toMatchObject({
      id: first!.id,
      digest: world.engine.revision!.digest,
      input: expect.stringContaining('"call"'),
    })
    expect((await sam.call('GET', '/api/decisions/dec_none')).status).toBe(404)
  })

  test('a person issues and revokes a token of their own, and not another’s', async () => {
    const [erin, eli] = [await as('erin'), await as('eli')]
    const issued = await erin.call('POST', '/api/tokens', { name: 'mine', scopes: ['access:request'], expires_s: 600 })
    expect(issued.status).toBe(201)
    const id = issued.body['id'] as string
    expect((await eli.call('DELETE', `/api/tokens/${id}`)).status).toBe(403)
    expect((await eli.call('GET', '/api/tokens?all=true')).status).toBe(403)
    expect(((await erin.call('GET', '/api/tokens')).body['items'] as { id: string }[]).map(row => row.id)).toContain(id)
    expect((await erin.call('DELETE', `/api/tokens/${id}`)).body).toEqual({ revoked: true })
    const machine = {
      name: 'm',
      scopes: ['*'],
      expires_s: 600,
      machine: { name: 'deploy', groups: ['security-admins'] },
    }
    expect((await erin.call('POST', '/api/tokens', machine)).status).toBe(403)
  })

  test('a token’s scopes only subtract', async () => {
    const narrow = await as('sam', { scopes: ['admin:tokens.*'] })
    expect((await narrow.call('GET', '/api/tokens')).status).toBe(200)
    const denied = await narrow.call('GET', '/api/policy/status')
    expect([denied.status, denied.body.error['rule']]).toEqual([403, 'engine.token_scope'])
    const wide = await as('erin', { scopes: ['*'] })
    expect((await wide.call('GET', '/api/policy/status')).status).toBe(403)
  })

  test('a token reads its profile, and cannot bind a Slack account whatever its scopes', async () => {
    for (const scopes of [['access:request'], ['*']]) {
      const token = await as('erin', { scopes })
      expect((await token.call('GET', '/api/me')).status).toBe(200)
      expect((await token.call('POST', '/api/slack/link-code', {})).status).toBe(403)
    }
  })

  test('without a policy every admin call is denied, and says whose turn it is', async () => {
    const { publicKey } = generateKeyPairSync('ed25519')
    const engine = new Engine({ key: publicKey, now: Date.now, zone: 'UTC', max_groups_age_s: 60 })
    const bare = await apiWorld(buildBase, { engine })
    const { session } = await signIn(bare, 'sam')
    const answer = await fetch(`${bare.origin}/api/policy/status`, { headers: { cookie: `sallyport=${session}` } })
    expect(answer.status).toBe(503)
    expect((await answer.json()) as ErrorAnswer).toMatchObject({
      error: { code: 'policy_unavailable', rule: 'engine.policy_missing' },
    })
    await bare.stop()
  })
})

describe('bad input', () => {
  test('each gives one clear error in one shape', async () => {
    const sam = await as('sam')
    for (const [body, status, say] of [
      ['{bad', 400, 'cannot be read'],
      [{ name: 'x' }, 400, 'body/scopes: is missing'],
      [{ name: 'x', scopes: ['*'], expires_s: 600, extra: 1 }, 400, 'body/extra: is unknown here'],
      [{ name: 'x', scopes: ['*'], expires_s: '600' }, 400, 'expires_s'],
      [{ name: 'x', scopes: ['root'], expires_s: 600 }, 400, 'no scopes: root'],
      [{ name: 'x'.repeat(300_000) }, 413, '256 KiB'],
    ] as const) {
      const answer = await sam.call('POST', '/api/tokens', body)
      expect([answer.status, answer.body.error['message']]).toEqual([status, expect.stringContaining(say)])
      expect(Object.keys(answer.body.error)).toEqual(expect.arrayContaining(['code', 'message', 'remedy', 'id']))
    }
    expect((await sam.call('GET', '/api/decisions?limit=abc')).status).toBe(400)
    expect((await sam.call('GET', '/api/nothing')).body.error['code']).toBe('not_found')
  })

  test('a fault of ours says nothing of itself', async () => {
    const area = (app: Api) => {
      app.get('/api/fault', { config: { guard: { point: 'self' } } }, async () => {
        throw new Error('password=hunter2')
      })
    }
    const faulty = await apiWorld(d => buildServer(d, [area]))
    const { session } = await signIn(faulty, 'erin')
    const answer = await fetch(`${faulty.origin}/api/fault`, { headers: { cookie: `sallyport=${session}` } })
    const text = await answer.text()
    expect(answer.status).toBe(500)
    expect(text).not.toContain('hunter2')
    expect(JSON.parse(text)).toMatchObject({ error: { code: 'internal', id: answer.headers.get('x-request-id') } })
    await faulty.stop()
  })
})

describe('what machines and browsers fetch', () => {
  test('health, readiness, numbers and the description of the API', async () => {
    expect(await (await fetch(`${world.origin}/healthz`)).json()).toEqual({ status: 'ok' })
    world.setReady('no database')
    const answer = await fetch(`${world.origin}/readyz`)
    expect([answer.status, await answer.text()]).toEqual([503, expect.stringContaining('no database')])
    world.setReady('ready')
    expect((await fetch(`${world.origin}/readyz`)).status).toBe(200)
    expect(await (await fetch(`${world.origin}/metrics`)).text()).toContain('sallyport_api_seconds')
    expect((await fetch(`${world.origin}/metrics`, { headers: { 'x-forwarded-for': '127.0.0.1' } })).status).toBe(404)
    const { paths } = (await (await fetch(`${world.origin}/openapi.json`)).json()) as { paths: Record<string, unknown> }
    expect(Object.keys(paths)).toEqual(
      expect.arrayContaining(['/api/me', '/api/tokens', '/api/tokens/{id}', '/api/decisions']),
    )
  })

  test('each page of the application is its index, with a fresh nonce in a strict policy', async () => {
    const pages = await Promise.all(['/', '/requests/req_1', '/sign-in'].map(path => fetch(world.origin + path)))
    const nonces = await Promise.all(pages.map(async page => /content="([^"]+)"/.exec(await page.text())?.[1]))
    expect(new Set(nonces).size).toBe(3)
    const policy = pages[0]!.headers.get('content-security-policy')!
    expect(policy).toContain(`'nonce-${nonces[0]}'`)
    expect(policy).toContain("script-src 'self';")
    expect(policy).not.toContain('unsafe')
    expect(pages[0]!.headers.get('cache-control')).toBe('no-store')
  })

  test('files are served, nothing outside their folder is, and what is missing below assets is an error', async () => {
    const file = await fetch(`${world.origin}/assets/app-1.js`)
    expect([file.status, file.headers.get('cache-control'), file.headers.get('x-content-type-options')]).toEqual([
      200,
      'public, max-age=31536000, immutable',
      'nosniff',
    ])
    for (const path of ['/assets/none.js', '/..%2f..%2fetc%2fpasswd', '/assets/..%2f..%2f..%2fetc/passwd', '/%00']) {
      const answer = await fetch(world.origin + path)
      expect(await answer.text()).not.toContain('root:')
      if (path.startsWith('/assets')) expect(answer.status).toBe(404)
    }
  })

  test('a flood from one address is told to wait', async () => {
    const small = await apiWorld(buildBase, { limits: { calls: 5, sign_ins: 2, failures: 3 } })
    const codes = async (path: string, n: number) => {
      const all: number[] = []
      for (let i = 0; i < n; i++) all.push((await fetch(small.origin + path, { redirect: 'manual' })).status)
      return all
    }
    expect(await codes('/auth/login', 3)).toEqual([302, 302, 429])
    expect(await codes('/api/me', 4)).toEqual([401, 401, 401, 429])
    await small.stop()
  })
})
