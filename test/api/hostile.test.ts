import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { signIn } from '../identity/support.ts'
import { type ApiWorld, apiWorld, buildBase } from './support.ts'

let world: ApiWorld
let headers: Record<string, string>
beforeAll(async () => {
  world = await apiWorld(buildBase)
  const { session } = await signIn(world, 'sam')
  headers = { cookie: `sallyport=${session}`, origin: world.origin }
})
afterAll(() => world.stop())

const get = (path: string) => fetch(world.origin + path, { headers })
const codeOf = async (response: Response) => ((await response.json()) as { error: { code: string } }).error.code
const decisions = async () => Number((await world.database.sql`select count(*) as n from decisions`)[0]?.['n'])

describe('text that the database cannot hold', () => {
  test.each([
    '/api/decisions/a%00',
    '/api/decisions?subject_id=%00',
    '/api/decisions?resource=%00&subject_id=x',
    '/api/tokens?all=true&cursor=%00',
    '/api/tokens?%00=1',
  ])('%s is the caller’s fault, and is not decided', async path => {
    const before = await decisions()
    const response = await get(path)
    expect([response.status, await codeOf(response)]).toEqual([400, 'bad_request'])
    expect(await decisions()).toBe(before)
  })

  test.each([
    ['NUL in a group', { name: 'x', scopes: ['*'], expires_s: 60, machine: { name: 'm', groups: ['a\0b'] } }],
    [
      'half of a surrogate pair',
      { name: 'x', scopes: ['*'], expires_s: 60, machine: { name: 'm', groups: ['\ud800'] } },
    ],
    ['a name of a member', { 'x\0': 1 }],
  ])('in a body: %s', async (_, body) => {
    const before = await decisions()
    const response = await fetch(`${world.origin}/api/tokens`, {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    expect([response.status, await codeOf(response)]).toEqual([400, 'bad_request'])
    expect(await decisions()).toBe(before)
  })

  test('a body nested by the thousand is refused', async () => {
    const response = await fetch(`${world.origin}/api/tokens`, {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/json' },
      body: '['.repeat(50_000) + ']'.repeat(50_000),
    })
    expect(response.status).toBe(400)
  })
})

test.each(['from_ms=8640000000000001', 'to_ms=9007199254740991', 'from_ms=-1'])(
  'an instant that no clock holds is refused: %s',
  async query => {
    expect((await get(`/api/decisions?${query}`)).status).toBe(400)
  },
)

test('a path that is no text is refused in the one shape of errors', async () => {
  const answer = await new Promise<string>((resolve, reject) => {
    const socket = connect(Number(new URL(world.origin).port), '127.0.0.1')
    let text = ''
    socket
      .on('data', bytes => (text += String(bytes)))
      .on('close', () => resolve(text))
      .on('error', reject)
    socket.write('GET /api/%ff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
  })
  expect(answer).toContain('400')
  expect(answer).toContain('"code":"bad_request"')
  expect(answer).not.toContain('FST_ERR_BAD_URL","message')
})

test('a made-up credential buys no more calls where nobody is asked who they are', async () => {
  const limited = await apiWorld(buildBase, { limits: { calls: 5, sign_ins: 5, failures: 5 } })
  try {
    const statuses: number[] = []
    for (let i = 0; i < 8; i++) {
      const response = await fetch(`${limited.origin}/openapi.json`, {
        headers: { authorization: `Bearer made-up-${i}` },
      })
      statuses.push(response.status)
    }
    expect(statuses.filter(status => status === 429).length).toBeGreaterThan(0)
  } finally {
    await limited.stop()
  }
})
