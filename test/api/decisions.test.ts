import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readDecisionEvent } from '../../src/policy/log/decision-event.ts'
import { signIn } from '../identity/support.ts'
import { type ApiWorld, apiWorld, buildBase } from './support.ts'

let world: ApiWorld
beforeAll(async () => {
  world = await apiWorld(buildBase)
})
afterAll(() => world.stop())

interface Page {
  readonly items: { readonly id: string; readonly subject_id: string; readonly effect: string }[]
  readonly next: string | null
}

async function as(sub: string) {
  const { session, subject_id } = await signIn(world, sub)
  const headers = { cookie: `sallyport=${session}`, origin: world.origin }
  const get = async (path: string) => {
    const response = await fetch(world.origin + path, { headers })
    return { status: response.status, text: await response.text() }
  }
  return {
    id: subject_id,
    get,
    page: async (query: string) => JSON.parse((await get(`/api/decisions?${query}`)).text) as Page,
  }
}

describe('the decision log over the API', () => {
  test('an engineer sees their own decisions, an auditor with the right to it everybody’s', async () => {
    const [erin, eli, sam] = [await as('erin'), await as('eli'), await as('sam')]
    await erin.get('/api/policy/status')
    await eli.get('/api/policy/status')
    const own = await erin.page('point=admin&effect=deny')
    expect(own.items.length).toBeGreaterThan(0)
    expect(new Set(own.items.map(item => item.subject_id))).toEqual(new Set([erin.id]))
    expect((await erin.get(`/api/decisions?subject_id=${eli.id}`)).status).toBe(403)
    expect((await erin.get('/api/decisions?subject=eli@example.com')).status).toBe(403)
    const all = await sam.page('point=admin&effect=deny')
    expect(new Set(all.items.map(item => item.subject_id))).toEqual(new Set([erin.id, eli.id]))
    expect((await sam.page(`subject=${eli.id}&effect=deny`)).items.map(item => item.subject_id)).toEqual([eli.id])
    expect((await sam.page('subject=nobody')).items).toEqual([])
  })

  test('pages follow one another without a gap, and a cursor of another kind is refused', async () => {
    const sam = await as('sam')
    const { items } = await sam.page('limit=4&to_ms=253402300799999')
    const first = await sam.page('limit=2')
    const second = await sam.page(`limit=2&cursor=${first.next}&text=decisions.list`)
    expect(first.items).toHaveLength(2)
    expect(second.items.every(item => !first.items.some(other => other.id === item.id))).toBe(true)
    expect(items).toHaveLength(4)
    for (const cursor of ['x', '1', "1.dec_'", '1.evt_00', '99999999999999999.dec_0'])
      expect((await sam.get(`/api/decisions?cursor=${encodeURIComponent(cursor)}`)).status).toBe(400)
  })

  test('an export is lines of OPA’s decision log, oldest first, for those whom policy lets', async () => {
    const [erin, sam] = [await as('erin'), await as('sam')]
    expect((await erin.get('/api/decisions/export')).status).toBe(403)
    const { status, text } = await sam.get('/api/decisions/export?point=admin')
    expect(status).toBe(200)
    const events = text
      .trimEnd()
      .split('\n')
      .map((line, i) => readDecisionEvent(line, `line ${i + 1}`))
    expect(events.length).toBeGreaterThan(3)
    const times = events.map(event => event.timestamp)
    expect(times).toEqual([...times].sort())
    expect(events[0]).toMatchObject({ labels: { app: 'sallyport', id: 'test' }, path: 'sallyport/admin/result' })
    expect((await sam.get('/api/decisions/export?to_ms=1')).text).toBe('')
  })
})
