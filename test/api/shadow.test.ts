import { generateKeyPairSync } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Group } from '../../src/policy/impact/groups.ts'
import { storeShadow, writeWeighed } from '../../src/policy/shadow/store.ts'
import { signIn } from '../identity/support.ts'
import { rawBundle } from '../policy/support.ts'
import { type ApiWorld, apiWorld, buildBase } from './support.ts'

let world: ApiWorld
beforeAll(async () => {
  world = await apiWorld(buildBase)
})
afterAll(() => world.stop())

async function shadowAs(sub: string, query = '') {
  const { session } = await signIn(world, sub)
  const headers = { cookie: `sallyport=${session}`, origin: world.origin }
  const response = await fetch(`${world.origin}/api/policy/shadow${query}`, { headers })
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}

const side = (effect: 'allow' | 'deny') => ({ effect, code: 'policy' as const, reasons: [] })
const group = (n: number): Group => ({
  point: 'action',
  change: 'denied',
  subject: { id: `sub_${n}`, name: `N\u0000 ${n}` },
  resource: 'db',
  role: 'reader',
  before: side('allow'),
  after: side('deny'),
  details: [],
  count: n,
  first_at_ms: 1,
  last_at_ms: 2,
  examples: ['dec_1'],
})

describe('the shadow over the API', () => {
  test('says that there is none, and nothing to whom policy does not let', async () => {
    expect((await shadowAs('sam')).body).toMatchObject({ shadow: null, active: { generation: 1 }, groups: [] })
    expect((await shadowAs('erin')).status).toBe(403)
  })

  test('lists what would be decided differently beside the active revision, the largest group first', async () => {
    const { privateKey } = generateKeyPairSync('ed25519')
    const of = { commit: 'd'.repeat(40), author: 'Sam', subject_line: 'next', signer: null }
    const number = await storeShadow(world.database, privateKey, of, { bundle: await rawBundle({}) })
    const groups = [1, 2, 3].map(group)
    const weighed = {
      judged: 9,
      diverged: 7,
      left: 0,
      groups: [
        [1, groups],
        [2, [group(4)]],
      ] as const,
    }
    await writeWeighed(world.database, number, 'prc_1', [weighed], 5)
    await writeWeighed(
      world.database,
      number,
      'prc_2',
      [{ judged: 1, diverged: 1, left: 0, groups: [[1, [group(3)]]] }],
      0,
    )
    const { status, body } = await shadowAs('sam', '?limit=2')
    expect(status).toBe(200)
    expect(body['shadow']).toMatchObject({ commit: of.commit, problems: [] })
    expect(body['counts']).toEqual({ judged: 10, diverged: 8, skipped: 5, left: 0, processes: 2 })
    const shown = body['groups'] as Group[]
    expect(shown.map(each => [each.subject?.id, each.count])).toEqual([
      ['sub_3', 6],
      ['sub_2', 2],
    ])
    expect(shown[0]!.subject!.name).toBe('N\ufffd 3')
  })
})
