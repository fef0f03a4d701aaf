import { generateKeyPairSync } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Caller } from '../../src/identity/facts.ts'
import { newId } from '../../src/ids.ts'
import type { Engine } from '../../src/policy/engine.ts'
import { DecisionLog } from '../../src/policy/log/decision-log.ts'
import type { Journal } from '../../src/recording/journal.ts'
import { unwrapPartKey } from '../../src/recording/part-key.ts'
import { Reader } from '../../src/recording/reader.ts'
import type { SessionFacts } from '../../src/recording/recorder.ts'
import { parseLine, type ReplayLine } from '../../src/recording/render.ts'
import { ReplayClient } from '../../src/recording/replay-client.ts'
import { ReplayServer } from '../../src/recording/replay-server.ts'
import { Retention } from '../../src/recording/retention.ts'
import type { Secret } from '../../src/secret.ts'
import { GivenEngine } from './decisions.ts'
import { createWorld, orphan, type RecordingWorld, sessionFacts, until } from './world.ts'

const canary = 'SECRET-canary'
const engine = new GivenEngine()
const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const viewer = newId('sub')
let world: RecordingWorld
let journal: Journal
let reader: Reader // with both identities
let blind: Reader // with the identity of what people saw

beforeAll(async () => {
  world = await createWorld()
  journal = await world.journal()
  const { store, identity, originals } = world
  blind = new Reader({ ...world.replay, store, identities: [identity] })
  reader = new Reader({ ...world.replay, store, identities: [identity], originals_identities: [originals.identity] })
})
afterAll(() => world[Symbol.asyncDispose]())
beforeEach(() => {
  engine.answer = point => (point === 'retention' ? { keep_s: 60, legal_hold: false } : { ...clear })
})
const clear = { effect: 'allow', view: 'clear', reasons: [] } as const
const sealing = (more: Partial<SessionFacts['settings']> = {}) =>
  sessionFacts({
    settings: { level: 'full', results: 'all', head_rows: 0, strict: false, originals: 'sealed', ...more },
  })

/** What was typed and what was seen, in turn. */
async function recorded(facts: SessionFacts, turns = 3): Promise<string> {
  const recorder = await journal.open(facts)
  for (let i = 1; i <= turns; i++) {
    recorder.originals?.append([{ conn: 'con_1', kind: 'input', body: { data: `${canary} ${i}`, i } }])
    recorder.append([{ conn: 'con_1', kind: 'output', body: { data: `*** ${i}`, i } }])
  }
  await recorder.close('done')
  await until(() => journal.pending === 0)
  world.ended.set(facts.session_id, Date.now())
  await world.sealer.sealDue()
  return recorder.recording_id
}

async function play(from: Reader, facts: SessionFacts, view?: 'masked' | 'clear') {
  const events: { kind: string; i: unknown }[] = []
  for await (const event of from.events(facts.session_id, view === undefined ? {} : { view }))
    events.push({ kind: event.kind, i: event['i'] })
  return events.map(event => `${event.kind} ${event.i}`)
}

const allOf = (folder: string): Buffer =>
  Buffer.concat(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter(file => file.isFile())
      .map(file => readFileSync(join(file.parentPath, file.name))),
  )

describe('the layer of originals', () => {
  test('is merged into the clear view in the order of time, and is not in the masked view', async () => {
    const facts = sealing()
    await recorded(facts)
    expect(await play(reader, facts)).toEqual(['output 1', 'output 2', 'output 3'])
    expect(await play(reader, facts, 'clear')).toEqual([
      'input 1',
      'output 1',
      'input 2',
      'output 2',
      'input 3',
      'output 3',
    ])
  })

  test('is a part of the same recording: in its seal, in the log, and of other recipients', async () => {
    const facts = sealing()
    const id = await recorded(facts)
    const { sql } = world.test.database
    const [row] = await sql<
      { seal: { parts: object[] } }[]
    >`select seal from recordings where session_id = ${facts.session_id}`
    expect(row!.seal.parts).toMatchObject([{ part: 1 }, { part: 2, layer: 'originals', last_seq: 3, ending: 'clean' }])
    expect(row!.seal.parts[0]).not.toHaveProperty('layer')
    const keys = await sql<
      { wrapped: Buffer }[]
    >`select wrapped from recording_keys where recording_id = ${id} order by part`
    const opens = (identity: Secret, part: number) =>
      unwrapPartKey([identity], keys[part - 1]!.wrapped).then(
        () => true,
        () => false,
      )
    const { identity, originals } = world
    expect([await opens(identity, 1), await opens(identity, 2)]).toEqual([true, false])
    expect([await opens(originals.identity, 1), await opens(originals.identity, 2)]).toEqual([false, true])
    const started = (await world.events(facts.session_id)).filter(event => event.type === 'recording.started')
    expect(started.map(event => event.body['layer'])).toEqual([undefined, 'originals'])
  })

  test('MK17: nothing of it lies anywhere in clear', async () => {
    const facts = sealing()
    await recorded(facts)
    expect(allOf(world.folder).includes(canary)).toBe(false)
  })

  test('without its identity the clear view is refused, and its hashes, chain and seal verify all the same', async () => {
    const facts = sealing()
    await recorded(facts)
    expect(await play(blind, facts)).toHaveLength(3)
    await expect(play(blind, facts, 'clear')).rejects.toThrow('other recipients')
    const report = await blind.verify(facts.session_id)
    expect(report).toMatchObject({
      ok: true,
      parts: [
        { layer: 'masked', opened: true, events: 3 },
        { layer: 'originals', opened: false, last_seq: 3 },
      ],
    })
    expect((await reader.verify(facts.session_id)).parts[1]).toMatchObject({ opened: true, events: 3 })
    const { sql } = world.test.database
    await sql`update recording_segments set hash = repeat('0', 64) where part = 2
      and recording_id = ${report.recording_id}`
    expect(await blind.verify(facts.session_id)).toMatchObject({ ok: false, parts: [{ problem: null }, { part: 2 }] })
  })

  test('a row that calls it masked shows nothing of it: the masked view ends there', async () => {
    const facts = sealing()
    const id = await recorded(facts)
    await world.test.database.sql`update recording_parts set layer = 'masked' where recording_id = ${id} and part = 2`
    await expect(play(reader, facts)).rejects.toThrow('other recipients')
    await world.test.database.sql`update recording_parts set layer = 'originals' where recording_id = ${id}`
    await expect(play(reader, facts)).rejects.toThrow(/the seal names the parts 1, but/)
  })

  test('originals: drop keeps nothing, and what a protocol gives goes nowhere', async () => {
    const facts = sessionFacts()
    const recorder = await journal.open(facts)
    expect(recorder.originals).toBeNull()
    await recorder.close('done')
    const [row] = await world.test.database.sql<{ n: number }[]>`
      select count(*)::int as n from recording_parts p join recordings r on r.id = p.recording_id where r.session_id = ${facts.session_id}`
    expect(row!.n).toBe(1)
  })

  test('where nobody could open it the session is refused, with what to do, and nothing was begun', async () => {
    const poor = await world.journal({ originals_recipients: [], process_id: (await world.process()).process_id })
    const facts = sealing()
    await expect(poor.open(facts)).rejects.toMatchObject({
      code: 'recording_unavailable',
      message: expect.stringContaining('names nobody who could open them') as string,
      remedy: expect.stringContaining('originals_recipients') as string,
    })
    await (await poor.open(sessionFacts())).close('done')
    const rows = await world.test.database.sql`select 1 from recordings where session_id = ${facts.session_id}`
    expect(rows).toHaveLength(0)
  })

  test('recipients that open recordings are refused for it, and so is a typing error', async () => {
    const other = await identityToRecipient(await generateX25519Identity())
    const start = (originals_recipients: string[]) => world.journal({ originals_recipients })
    await expect(start([other, world.recipient])).rejects.toMatchObject({
      code: 'bad_config',
      message: expect.stringContaining('recording.recipients and recording.originals_recipients') as string,
    })
    await expect(start(['age1nobody'])).rejects.toThrow('recording.originals_recipients: "age1nobody" is no X25519')
  })

  test('RE2: of a process that died it is recovered with the rest, as its own layer', async () => {
    const side = await world.process()
    const dying = await world.journal({ process_id: side.process_id, tuning: { cutMs: 60_000 } })
    const facts = sealing()
    const recorder = await dying.open(facts)
    recorder.originals?.append([{ conn: 'con_1', kind: 'input', body: { data: canary, i: 1 } }])
    recorder.append([{ conn: 'con_1', kind: 'output', body: { data: '***', i: 1 } }])
    await recorder.flush()
    orphan(join(world.folder, 'spool'), side.process_id)
    await world.die(side)
    await until(async () => (await journal.recoverDue()).length > 0)
    world.ended.set(facts.session_id, Date.now())
    await world.sealer.sealDue()
    expect(await play(reader, facts, 'clear')).toEqual(['input 1', 'output 1'])
    expect(await play(blind, facts)).toEqual(['output 1'])
    expect(await blind.verify(facts.session_id)).toMatchObject({ ok: true, state: 'interrupted' })
  })

  test('RT1: it goes with its recording: both keys first', async () => {
    const facts = sealing()
    const id = await recorded(facts)
    await world.test.database.sql`update recordings set sealed_at = sealed_at - interval '2 days' where id = ${id}`
    const steps: string[] = []
    await new Retention({
      ...world.control,
      store: world.store,
      engine,
      decisions: new DecisionLog({ database: world.control.database, engine: engine as unknown as Engine }),
      onStep: (step, recording) => void (recording === id && steps.push(step)),
    }).sweep()
    expect(steps).toEqual(['keys', 'data', 'done'])
    const [keys] = await world.test.database.sql<{ wrapped: number; destroyed: number }[]>`
      select count(wrapped)::int as wrapped, count(destroyed_at)::int as destroyed from recording_keys where recording_id = ${id}`
    expect(keys).toEqual({ wrapped: 0, destroyed: 2 })
    expect(readdirSync(join(world.folder, 'store'))).not.toContain(id)
  })
})

describe('the clear view', () => {
  const servers: ReplayServer[] = []
  let open: ReplayClient
  let shut: ReplayClient
  const serve = async (from: Reader) => {
    const server = new ReplayServer({
      ...world.replay,
      reader: from,
      engine,
      decisions: new DecisionLog({ database: world.replay.database, engine: engine as unknown as Engine }),
      subjectFacts: async id =>
        id === viewer
          ? ({ id, kind: 'person', groups: ['security-admins'], claims: {} } as unknown as Caller['facts'])
          : null,
      tokenFacts: async id => ({ id, scopes: ['*'] }),
      now: Date.now,
      zone: 'UTC',
      callKey: publicKey,
    })
    servers.push(server)
    const address = await server.listen({ host: '127.0.0.1', port: 0 })
    return new ReplayClient({ ...address, callKey: privateKey, now: Date.now })
  }
  beforeAll(async () => {
    open = await serve(reader)
    shut = await serve(blind)
  })
  afterAll(async () => {
    for (const server of servers) await server.close()
  })

  async function lines(client: ReplayClient, facts: SessionFacts, query: Record<string, string>) {
    const caller = { facts: { id: viewer, on_behalf_of: null, token: null }, via: 'cli' } as unknown as Caller
    const stream = await client.events(caller, facts.session_id, query, new AbortController().signal)
    let text = ''
    for await (const chunk of stream as AsyncIterable<Buffer>) text += chunk.toString()
    return text.trimEnd().split('\n').map(parseLine) as [ReplayLine, ...ReplayLine[]]
  }
  const asked = { view: 'clear', reason: 'incident 4711' }

  test('RE5: gives both layers, with a reason, and each opening is an event of its own', async () => {
    const facts = sealing()
    await recorded(facts, 1)
    const [first, ...rest] = await lines(open, facts, asked)
    expect(first).toMatchObject({ kind: 'recording', view: 'clear' })
    expect(rest.map(line => line.kind)).toEqual(['input', 'output', 'end'])
    const events = (await world.events(facts.session_id)).filter(event => event.type.startsWith('replay.'))
    expect(events).toMatchObject([
      {
        type: 'replay.originals_opened',
        body: { view: 'clear', reason: 'incident 4711', decision: first['decision_id'] },
      },
    ])
  })

  test('RE5: without a reason it is refused before policy is asked', async () => {
    const facts = sealing()
    await recorded(facts, 1)
    engine.asked.length = 0
    for (const reason of ['', '   ']) {
      await expect(lines(open, facts, { view: 'clear', reason })).rejects.toMatchObject({ code: 'bad_request' })
    }
    expect(engine.asked).toEqual([])
  })

  test('RE5: where policy gives the masked view it is refused, and that is an event too', async () => {
    const facts = sealing()
    await recorded(facts, 1)
    engine.answer = () => ({ effect: 'allow', view: 'masked', reasons: [] })
    await expect(lines(open, facts, asked)).rejects.toMatchObject({ code: 'policy_denied' })
    expect((await world.events(facts.session_id)).map(event => event.type)).toContain('replay.refused')
    expect((await lines(open, facts, {})).map(line => line.kind)).toEqual(['recording', 'output', 'end'])
  })

  test('a process without the identity, and a recording without the layer, each say so in one line', async () => {
    const facts = sealing()
    await recorded(facts, 1)
    await expect(lines(shut, facts, asked)).rejects.toMatchObject({
      code: 'bad_config',
      message: 'the replay process holds no identity for originals',
    })
    const dropped = sessionFacts()
    await recorded(dropped, 1)
    await expect(lines(open, dropped, asked)).rejects.toMatchObject({ code: 'unsupported' })
  })
})
