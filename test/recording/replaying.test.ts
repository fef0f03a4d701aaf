import { generateKeyPairSync } from 'node:crypto'
import { request } from 'node:http'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Caller, SubjectFacts } from '../../src/identity/facts.ts'
import { newId } from '../../src/ids.ts'
import type { Engine } from '../../src/policy/engine.ts'
import { DecisionLog } from '../../src/policy/log/decision-log.ts'
import { CallVerifier, signCall } from '../../src/recording/calls.ts'
import type { Journal } from '../../src/recording/journal.ts'
import { Reader } from '../../src/recording/reader.ts'
import type { SessionFacts } from '../../src/recording/recorder.ts'
import { parseLine, type ReplayLine } from '../../src/recording/render.ts'
import { ReplayClient } from '../../src/recording/replay-client.ts'
import { ReplayServer } from '../../src/recording/replay-server.ts'
import { GivenEngine } from './decisions.ts'
import { createWorld, type RecordingWorld, sessionFacts, until } from './world.ts'

const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const engine = new GivenEngine()
let world: RecordingWorld
let server: ReplayServer
let client: ReplayClient
let address: { host: string; port: number }
let journal: Journal

const person = (id = newId('sub')): SubjectFacts => ({
  id,
  kind: 'person',
  issuer: 'https://idp',
  subject: 'x',
  name: 'Grace',
  email: null,
  groups: ['auditors'],
  groups_at_ms: Date.now(),
  claims: {},
  on_behalf_of: null,
  token: null,
})
let known: SubjectFacts
const tokens = new Map<string, string[]>()
const caller = (facts: SubjectFacts): Caller => ({ facts, via: 'cli', credential: 'x' })

const replayServer = () =>
  new ReplayServer({
    ...world.replay,
    reader: new Reader({ ...world.replay, store: world.store, identities: [world.identity] }),
    engine,
    decisions: new DecisionLog({ database: world.replay.database, engine: engine as unknown as Engine }),
    subjectFacts: async id => (id === known.id ? known : null),
    tokenFacts: async id => (tokens.has(id) ? { id, scopes: tokens.get(id)! } : null),
    now: Date.now,
    zone: 'UTC',
    callKey: publicKey,
  })

beforeAll(async () => {
  world = await createWorld()
  known = person()
  server = replayServer()
  address = await server.listen({ host: '127.0.0.1', port: 0 })
  client = new ReplayClient({ ...address, callKey: privateKey, now: Date.now })
  journal = await world.journal()
})
afterAll(async () => {
  await server.close()
  await world[Symbol.asyncDispose]()
})
beforeEach(() => {
  engine.asked.length = 0
  engine.answer = point => (point === 'replay' ? { effect: 'allow', view: 'masked', reasons: [] } : null)
})

async function recorded(facts: SessionFacts, count = 3): Promise<void> {
  const recorder = await journal.open(facts)
  for (let i = 1; i <= count; i++)
    recorder.append([{ conn: 'con_1', kind: 'statement', body: { text: `select ${i}`, i } }])
  await recorder.close('done')
  await until(() => journal.pending === 0)
}

async function lines(
  facts: SessionFacts,
  query: Record<string, string> = {},
  as = known,
  signal = new AbortController().signal,
): Promise<ReplayLine[]> {
  const stream = await client.events(caller(as), facts.session_id, query, signal)
  let text = ''
  for await (const chunk of stream as AsyncIterable<Buffer>) text += chunk.toString()
  return text.trimEnd().split('\n').map(parseLine)
}

function raw(path: string, authorization?: string): Promise<number> {
  return new Promise((resolve, reject) => {
    request({ ...address, path, headers: authorization === undefined ? {} : { authorization } }, answer => {
      answer.resume()
      resolve(answer.statusCode ?? 0)
    })
      .once('error', reject)
      .end()
  })
}

describe('a replay', () => {
  test('gives facts, events and an end that says it verified; its decision and its event are in the database', async () => {
    const facts = sessionFacts()
    await recorded(facts)
    world.ended.set(facts.session_id, Date.now())
    await world.sealer.sealDue()
    const [first, ...rest] = await lines(facts)
    expect(first).toMatchObject({ kind: 'recording', session_id: facts.session_id, view: 'masked' })
    expect(rest.slice(0, 3).map(line => [line.kind, line.seq, line['text']])).toEqual([
      ['statement', 1, 'select 1'],
      ['statement', 2, 'select 2'],
      ['statement', 3, 'select 3'],
    ])
    expect(rest.at(-1)).toMatchObject({ kind: 'end', ok: true, state: 'sealed' })
    const opened = (await world.events(facts.session_id)).find(event => event.type === 'replay.opened')
    expect(opened?.body['decision']).toBe(first?.['decision_id'])
    expect(
      await world.test.database.sql`select point, effect from decisions where id = ${String(first?.['decision_id'])}`,
    ).toEqual([{ point: 'replay', effect: 'allow' }])
  })

  test('RE5: a recording of somebody else is refused with rule and remedy, and the refusal is an event', async () => {
    const facts = sessionFacts()
    await recorded(facts)
    engine.answer = () => ({ effect: 'deny', view: 'masked', reasons: [] })
    await expect(lines(facts)).rejects.toMatchObject({ code: 'policy_denied', remedy: 'ask an auditor' })
    expect((await world.events(facts.session_id)).map(event => event.type)).toContain('replay.refused')
    expect(engine.asked[0]?.input).toMatchObject({
      own: false,
      view: 'masked',
      verb: 'open',
      recording: { session: facts.session_id },
    })
  })

  test('RE5: policy is told whether it is their own, from the database and not from the call', async () => {
    const facts = sessionFacts({ subject_id: known.id })
    await recorded(facts)
    await lines(facts)
    expect(engine.asked[0]?.input).toMatchObject({ own: true, subject: { id: known.id, groups: ['auditors'] } })
  })

  test('RE5: an undefined answer, an unknown subject and an unwritable event each show nothing', async () => {
    const facts = sessionFacts()
    await recorded(facts)
    engine.answer = () => null
    await expect(lines(facts)).rejects.toMatchObject({ code: 'policy_denied' })
    engine.answer = () => ({ effect: 'allow', view: 'masked', reasons: [] })
    await expect(lines(facts, {}, person())).rejects.toMatchObject({ code: 'unauthenticated' })
    await world.test.database.sql`alter table audit_inbox rename to audit_inbox_away`
    try {
      await expect(lines(facts)).rejects.toMatchObject({ code: 'audit_unavailable' })
    } finally {
      await world.test.database.sql`alter table audit_inbox_away rename to audit_inbox`
    }
  })

  test('RE5: a view that is not known is refused', async () => {
    const facts = sessionFacts()
    await recorded(facts)
    await expect(lines(facts, { view: 'all' })).rejects.toMatchObject({ code: 'bad_request' })
  })

  test('a live session is followed until it is sealed', async () => {
    const facts = sessionFacts()
    const recorder = await journal.open(facts)
    recorder.append([{ conn: 'con_1', kind: 'statement', body: { i: 1 } }])
    const followed = lines(facts, { follow: 'true' })
    await until(() => engine.asked.length > 0)
    recorder.append([{ conn: 'con_1', kind: 'statement', body: { i: 2 } }])
    await recorder.close('done')
    await until(() => journal.pending === 0)
    world.ended.set(facts.session_id, Date.now())
    await world.sealer.sealDue()
    const all = await followed
    expect(all.slice(1, -1).map(line => line['i'])).toEqual([1, 2])
    expect(all.at(-1)).toMatchObject({ kind: 'end', state: 'sealed', ok: true })
  })

  for (const [what, change] of [
    ['the token is revoked', (id: string) => void tokens.delete(id)],
    ['the viewer is disabled', () => void (known = { ...known, id: newId('sub') })],
    ['the group is gone', () => void (engine.answer = () => ({ effect: 'deny', view: 'masked', reasons: [] }))],
  ] as const) {
    test(`RE5: a replay that is followed ends within a second or so when ${what}`, async () => {
      const facts = sessionFacts()
      const recorder = await journal.open(facts)
      recorder.append([{ conn: 'con_1', kind: 'statement', body: { i: 1 } }])
      const id = newId('tok')
      tokens.set(id, ['*'])
      const viewer = { ...known, token: { id, scopes: ['*'] } }
      const followed = lines(facts, { follow: 'true' }, viewer)
      await until(() => engine.asked.length > 0)
      expect((engine.asked[0]!.input as { subject: SubjectFacts }).subject.token).toEqual({ id, scopes: ['*'] })
      change(id)
      const end = { kind: 'end', ok: false, problem: 'policy no longer allows this replay' }
      expect((await followed).at(-1)).toMatchObject(end)
      await expect(lines(facts, {}, viewer)).rejects.toMatchObject({
        code: expect.stringMatching(/unauthenticated|policy_denied/) as string,
      })
      await recorder.close('done')
    })
  }

  test('a replay process that goes in the middle leaves nothing that looks whole, and the next one serves', async () => {
    const facts = sessionFacts()
    const recorder = await journal.open(facts)
    recorder.append([{ conn: 'con_1', kind: 'statement', body: { i: 1 } }])
    const other = replayServer()
    const its = new ReplayClient({
      ...(await other.listen({ host: '127.0.0.1', port: 0 })),
      callKey: privateKey,
      now: Date.now,
    })
    const stream = await its.events(caller(known), facts.session_id, { follow: 'true' }, new AbortController().signal)
    let text = ''
    const ended = (async () => {
      for await (const chunk of stream as AsyncIterable<Buffer>) text += chunk.toString()
    })().catch((error: Error) => error)
    await until(() => text.includes('"recording"'))
    await other.close()
    await ended
    expect(text.split('\n').filter(line => line.includes('"ok":true'))).toEqual([])
    await expect(its.events(caller(known), facts.session_id, {}, new AbortController().signal)).rejects.toMatchObject({
      code: 'not_ready',
      message: 'the replay process did not answer',
    })
    expect((await lines(facts)).at(-1)).toMatchObject({ kind: 'end', ok: true })
    await recorder.close('done')
  })

  test('a viewer that hangs up frees its place at once', async () => {
    const facts = sessionFacts()
    const recorder = await journal.open(facts)
    for (let i = 0; i < 12; i++) {
      const stop = new AbortController()
      await until(() =>
        client.events(caller(known), facts.session_id, { follow: 'true' }, stop.signal).then(
          stream => stream.on('error', () => {}).resume() !== undefined,
          (error: { code: string }) => error.code !== 'rate_limited',
        ),
      )
      stop.abort()
    }
    await recorder.close('done')
    expect(
      (await world.events(facts.session_id)).filter(event => event.type === 'replay.opened').length,
    ).toBeGreaterThanOrEqual(12)
  })

  test('one person opens only so many replays at once', async () => {
    const facts = sessionFacts()
    const recorder = await journal.open(facts)
    const stop = new AbortController()
    for (let i = 0; i < 4; i++) {
      await until(() =>
        client.events(caller(known), facts.session_id, { follow: 'true' }, stop.signal).then(
          stream => stream.on('error', () => {}).resume() !== undefined,
          () => false,
        ),
      )
    }
    await expect(lines(facts)).rejects.toMatchObject({ code: 'rate_limited' })
    stop.abort()
    await recorder.close('done')
  })

  test('a recording that does not verify plays its prefix and says where it ends', async () => {
    const facts = sessionFacts()
    await recorded(facts)
    await recorded(facts)
    await world.test.database.sql`update recording_segments set hash = repeat('0', 64) where part = 2
      and recording_id = (select id from recordings where session_id = ${facts.session_id})`
    let all: ReplayLine[] = []
    await until(async () => (all = await lines(facts).catch(() => [])).length > 0) // the places of the test before are freed
    expect(all).toHaveLength(5)
    expect(all.at(-1)).toMatchObject({
      kind: 'end',
      ok: false,
      problem: expect.stringContaining('part 2, segment 0') as string,
    })
  })
})

describe('RE5: a call to the replay process', () => {
  const path = `/sessions/${newId('ses')}/events`
  const call = { method: 'GET' as const, path, subject_id: newId('sub'), on_behalf_of: null, token: null, via: 'cli' }

  test('RE5: is refused without a signature, with a changed one, and with that of another key', async () => {
    const good = signCall(privateKey, call, Date.now())
    expect(await raw(path)).toBe(401)
    expect(await raw(path, good.slice(0, -4) + 'AAAA')).toBe(401)
    expect(await raw(path, signCall(generateKeyPairSync('ed25519').privateKey, call, Date.now()))).toBe(401)
    expect(await raw(`${path}?view=clear`, good)).toBe(401)
    expect(await raw(path, good)).toBe(404)
  })

  test('RE5: is refused the second time, and when it is old', () => {
    const verifier = new CallVerifier(publicKey, Date.now)
    const header = signCall(privateKey, call, Date.now())
    expect(verifier.check('GET', path, header)).toMatchObject({ subject_id: call.subject_id })
    expect(verifier.check('GET', path, header)).toEqual({ refused: 'it was made before' })
    expect(verifier.check('GET', path, signCall(privateKey, call, Date.now() - 60_000))).toMatchObject({
      refused: expect.stringContaining('fresh') as string,
    })
    expect(verifier.check('POST', path, signCall(privateKey, call, Date.now()))).toMatchObject({
      refused: expect.stringContaining('another call') as string,
    })
  })
})
