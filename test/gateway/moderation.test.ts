import { setTimeout as sleep } from 'node:timers/promises'
import { eq } from 'drizzle-orm'
import type pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { notify } from '../../src/db/notices.ts'
import { newId } from '../../src/ids.ts'
import type { SubjectFacts } from '../../src/policy/points.ts'
import { watchChannel } from '../../src/recording/watchers.ts'
import { sessions } from '../../src/sessions/schema.ts'
import type { Edit } from '../approvals/world.ts'
import { startReplay } from './replay.ts'
import { createGatewayWorld, type GatewayWorld } from './world.ts'

const demanded: Edit = ['access/access.rego', '"from": [', '"moderators": ["security-admins"], "from": [']
const impatient: Edit = ['access/access.rego', '"idle_s": 900', '"idle_s": 2']
let world: GatewayWorld
let a: Awaited<ReturnType<GatewayWorld['gateway']>>
let replay: Awaited<ReturnType<typeof startReplay>>
let dan: SubjectFacts // who connects; a security admin too
let sam: SubjectFacts
let audrey: SubjectFacts

beforeAll(async () => {
  world = await createGatewayWorld()
  a = await world.gateway()
  await world.activate(demanded)
  dan = await world.person('dan', ['dbas', 'security-admins'])
  sam = await world.person('sam', ['security-admins'])
  audrey = await world.person('audrey', ['auditors'])
  replay = await startReplay(world, a.worker.engine)
}, 120_000)
afterAll(async () => {
  await replay?.close()
  await world?.close()
})

const follow = (subject: SubjectFacts, session_id: string) => replay.follow(subject, session_id)

async function opened(): Promise<{ client: pg.Client & { errors: Error[] }; session_id: string }> {
  const issued = await world.ticket(dan)
  const client = await world.connect(a.port, issued)
  const [session] = await world.db.select().from(sessions).where(eq(sessions.ticket_id, issued.id))
  return { client, session_id: session!.id }
}

const asked = (client: pg.Client): Promise<string> =>
  client.query('select 1').then(
    () => 'it ran',
    (error: Error) => error.message,
  )
/** A poll of the gateway, and what a busy machine adds to it. */
const soon = { timeout: 10_000 } as const
const waits = /^waiting for a moderator \(security-admins\): one of them runs `sallyport tail ses_/
const state = (session_id: string) => a.gateway.live.get(session_id)?.moderation.state()

describe('a session for which policy demands a moderator', () => {
  test('waits until one watches, pauses when they leave, and goes on when they return', async () => {
    const { client, session_id } = await opened()
    expect(await asked(client)).toMatch(waits)
    let leave = await follow(sam, session_id)
    await expect.poll(() => asked(client), soon).toBe('it ran')
    leave.abort()
    await expect.poll(() => asked(client), soon).toMatch(waits)
    leave = await follow(sam, session_id)
    await expect.poll(() => asked(client), soon).toBe('it ran')
    await sleep(5_000) // longer than anything lasts that is not renewed
    expect(await asked(client)).toBe('it ran')
    leave.abort()
    await expect.poll(() => state(session_id), soon).toBe('waiting')
    const told = async () =>
      (await world.events('session.moderated'))
        .filter(event => event.session_id === session_id)
        .map(event => [event.body['state'], event.body['by']])
    await expect.poll(told, soon).toEqual([
      ['watched', [sam.id]],
      ['waiting', []],
      ['watched', [sam.id]],
      ['waiting', []],
    ])
    await client.end()
    const recorded: unknown[] = []
    await expect
      .poll(async () => {
        recorded.length = 0
        for await (const event of world.reader.events(session_id))
          if (event.kind === 'moderation') recorded.push(event['state'])
        return recorded.length
      }, soon)
      .toBe(4)
    expect(recorded).toEqual(['watched', 'waiting', 'watched', 'waiting'])
  })

  test('is not moderated by the person themselves, by who is no moderator, nor by a notice alone', async () => {
    const { client, session_id } = await opened()
    const own = await follow(dan, session_id)
    const other = await follow(audrey, session_id)
    await notify(replay.database.db, watchChannel, session_id)
    await sleep(2_500)
    expect(await asked(client)).toMatch(waits)
    own.abort()
    other.abort()
    await client.end()
  })

  test('pauses when the moderator is one no more, or the replay process is silent', async () => {
    const { client, session_id } = await opened()
    const leave = await follow(sam, session_id)
    await expect.poll(() => asked(client), soon).toBe('it ran')
    await world.setGroups(sam.id, ['auditors'])
    await expect.poll(() => asked(client), soon).toMatch(waits)
    await world.setGroups(sam.id, ['security-admins'])
    await expect.poll(() => asked(client), soon).toBe('it ran')
    leave.abort()
    await expect.poll(() => state(session_id), soon).toBe('waiting')
    // A row that nobody beats, as a replay process that was killed leaves it.
    await replay.database.sql`insert into recording_watches (decision_id, session_id, subject_id, process_id)
      values (${newId('dec')}, ${session_id}, ${sam.id}, ${replay.row.id})`
    await expect.poll(() => asked(client), soon).toBe('it ran')
    await expect.poll(() => asked(client), soon).toMatch(waits)
    await client.end()
  })

  test('LC1: ends when nobody watched it for as long as policy lets it be idle', async () => {
    await world.activate(demanded, impatient)
    const { client, session_id } = await opened()
    await expect
      .poll(() => client.errors.map(error => error.message).join(), soon)
      .toContain('no moderator watched it for 2 s')
    await expect
      .poll(async () => (await world.db.select().from(sessions).where(eq(sessions.id, session_id)))[0]!.end_code, soon)
      .toBe('idle')
  })

  test('goes on without one as soon as policy demands none', async () => {
    await world.activate(demanded)
    const { client } = await opened()
    expect(await asked(client)).toMatch(waits)
    await world.activate()
    await expect.poll(() => asked(client), soon).toBe('it ran')
    await client.end()
  })
})
