import { generateKeyPairSync } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { eq } from 'drizzle-orm'
import type pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createAuditWriter } from '../../src/audit/writer.ts'
import { type Database, openDatabase } from '../../src/db/database.ts'
import { notify } from '../../src/db/notices.ts'
import { ProcessRow } from '../../src/db/processes.ts'
import type { Caller } from '../../src/identity/facts.ts'
import { findSubject } from '../../src/identity/subjects.ts'
import { newId } from '../../src/ids.ts'
import { DecisionLog } from '../../src/policy/decision-log.ts'
import type { SubjectFacts } from '../../src/policy/points.ts'
import { ReplayClient } from '../../src/recording/replay-client.ts'
import { ReplayServer } from '../../src/recording/replay-server.ts'
import { watchChannel } from '../../src/recording/watchers.ts'
import { sessions } from '../../src/sessions/schema.ts'
import type { Edit } from '../approvals/world.ts'
import { createGatewayWorld, type GatewayWorld } from './world.ts'

const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const demanded: Edit = ['access/access.rego', '"from": [', '"moderators": ["security-admins"], "from": [']
const impatient: Edit = ['access/access.rego', '"idle_s": 900', '"idle_s": 2']
let world: GatewayWorld
let a: Awaited<ReturnType<GatewayWorld['gateway']>>
let database: Database // of the replay process
let row: ProcessRow
let server: ReplayServer
let replay: ReplayClient
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
  database = openDatabase({ url: world.test.roleUrls.replay, max: 4, application: 'test replay' })
  row = await ProcessRow.register(database, { role: 'replay' })
  const { engine } = a.worker
  server = new ReplayServer({
    database,
    engine,
    reader: world.reader,
    audit: createAuditWriter({ database, process_id: row.id }),
    decisions: new DecisionLog({ database, engine }),
    tokenFacts: async () => null,
    subjectFacts: id => findSubject(database.db, id),
    process_id: row.id,
    now: Date.now,
    zone: 'UTC',
    callKey: publicKey,
  })
  const address = await server.listen({ host: '127.0.0.1', port: 0 })
  replay = new ReplayClient({ ...address, callKey: privateKey, now: Date.now })
}, 120_000)
afterAll(async () => {
  await server?.close()
  await row?.close()
  await database?.close()
  await world?.close()
})

/** Follows a session as `sallyport tail` does. @returns what makes them leave. */
async function follow(subject: SubjectFacts, session_id: string): Promise<AbortController> {
  const leave = new AbortController()
  const caller = { facts: subject, via: 'cli', credential: 'x' } as Caller
  const stream = await replay.events(caller, session_id, { follow: 'true' }, leave.signal)
  stream.on('error', () => {}).resume()
  return leave
}

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
    await notify(database.db, watchChannel, session_id)
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
    await database.sql`insert into recording_watches (decision_id, session_id, subject_id, process_id)
      values (${newId('dec')}, ${session_id}, ${sam.id}, ${row.id})`
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
