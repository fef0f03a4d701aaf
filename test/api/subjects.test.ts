import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { eventTypes, signIn } from '../identity/support.ts'
import { type ApiWorld, apiWorld, buildBase } from './support.ts'

let world: ApiWorld
beforeAll(async () => {
  world = await apiWorld(buildBase)
})
afterAll(() => world.stop())

async function as(sub: string) {
  const { session, subject_id } = await signIn(world, sub)
  return { id: subject_id, headers: { cookie: `sallyport=${session}`, origin: world.origin } }
}
async function call(headers: Record<string, string>, method: string, path: string, body?: unknown) {
  const response = await fetch(world.origin + path, {
    method,
    headers: { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  return { status: response.status, body: (await response.json()) as Record<string, never> }
}
const reason = { reason: 'left the company' }

describe('disabling subjects', () => {
  test('a machine that is disabled is refused at once with every token, and works again when it is enabled', async () => {
    const sam = await as('sam')
    const issued = await call(sam.headers, 'POST', '/api/tokens', {
      name: 'ci',
      scopes: ['*'],
      expires_s: 600,
      machine: { name: 'builder', groups: ['ci'] },
    })
    const { token, subject_id } = issued.body as unknown as { token: string; subject_id: string }
    const bearer = { authorization: `Bearer ${token}` }
    expect(await call(bearer, 'GET', '/api/me')).not.toMatchObject({ status: 401 })
    const heard: string[] = []
    await world.database.sql.listen('subjects', id => heard.push(id))
    const done = await call(sam.headers, 'POST', `/api/subjects/${subject_id}/disable`, reason)
    expect(done).toMatchObject({ status: 200, body: { name: 'builder', disabled: true } })
    expect(await call(bearer, 'GET', '/api/me')).toMatchObject({ status: 401 })
    expect(await world.identity.subjectFacts(subject_id)).toBeNull()
    expect(world.changed).toContain(subject_id)
    await expect.poll(() => heard).toContain(subject_id)
    const more = { name: 'more', scopes: ['*'], expires_s: 600, machine: { name: 'builder', groups: ['ci'] } }
    expect(await call(sam.headers, 'POST', '/api/tokens', more)).toMatchObject({ status: 409 })
    expect(await call(sam.headers, 'POST', `/api/subjects/${subject_id}/disable`, reason)).toMatchObject({
      status: 409,
    })
    const { body } = await call(sam.headers, 'GET', '/api/subjects?name=builder')
    expect(body).toMatchObject({ items: [{ id: subject_id, kind: 'machine', disabled_at_ms: expect.any(Number) }] })
    expect(await call(sam.headers, 'POST', `/api/subjects/${subject_id}/enable`, reason)).toMatchObject({ status: 200 })
    expect(await call(bearer, 'GET', '/api/me')).not.toMatchObject({ status: 401 })
    expect(await eventTypes(world)).toEqual(expect.arrayContaining(['subject.disabled', 'subject.enabled']))
  })

  test('a person who is disabled is signed out, and cannot sign in until they are enabled', async () => {
    const [sam, dana] = [await as('sam'), await as('dana')]
    expect(await call(sam.headers, 'POST', `/api/subjects/${dana.id}/disable`, reason)).toMatchObject({ status: 200 })
    expect(await call(dana.headers, 'GET', '/api/me')).toMatchObject({ status: 401 })
    await expect(as('dana')).rejects.toThrow()
    expect(await call(sam.headers, 'POST', `/api/subjects/${dana.id}/enable`, reason)).toMatchObject({ status: 200 })
    expect(await call(dana.headers, 'GET', '/api/me')).toMatchObject({ status: 401 }) // the old session stays ended
    expect(await call((await as('dana')).headers, 'GET', '/api/me')).toMatchObject({ status: 200 })
  })

  test('only those whom policy lets may, nobody disables themselves, and an unknown id is named', async () => {
    const [sam, dana] = [await as('sam'), await as('dana')]
    expect(await call(dana.headers, 'POST', `/api/subjects/${sam.id}/disable`, reason)).toMatchObject({ status: 403 })
    expect(await call(dana.headers, 'GET', '/api/subjects')).toMatchObject({ status: 403 })
    expect(await call(sam.headers, 'POST', `/api/subjects/${sam.id}/disable`, reason)).toMatchObject({ status: 409 })
    expect(await call(sam.headers, 'POST', `/api/subjects/sub_${'0'.repeat(26)}/disable`, reason)).toMatchObject({
      status: 404,
    })
    expect(await call(sam.headers, 'POST', `/api/subjects/${dana.id}/disable`, {})).toMatchObject({ status: 400 })
  })
})
