import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { holdRoutes } from '../../src/api/holds.ts'
import { recordingRoutes } from '../../src/api/recordings.ts'
import { buildServer } from '../../src/api/server.ts'
import { createAuditWriter } from '../../src/audit/writer.ts'
import { Registry } from '../../src/gateway/registry.ts'
import { findSubject } from '../../src/identity/subjects.ts'
import { liveToken } from '../../src/identity/tokens.ts'
import { newId } from '../../src/ids.ts'
import { Catalog } from '../../src/recording/catalog.ts'
import { FileStore } from '../../src/recording/file-store.ts'
import { Journal } from '../../src/recording/journal.ts'
import { Reader } from '../../src/recording/reader.ts'
import { ReplayClient } from '../../src/recording/replay-client.ts'
import { ReplayServer } from '../../src/recording/replay-server.ts'
import { Sealer } from '../../src/recording/sealer.ts'
import { Secret } from '../../src/secret.ts'
import { type ApiWorld, apiWorld } from '../api/support.ts'
import { signIn } from '../identity/support.ts'
import { GivenEngine } from './decisions.ts'
import { sessionFacts, until } from './world.ts'

const folder = mkdtempSync(join(tmpdir(), 'sallyport-recordings-api-'))
const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const engine = new GivenEngine()
let api: ApiWorld
let server: ReplayServer
let journal: Journal
let own: string
let session: string
const headers: Record<string, Record<string, string>> = {}

beforeAll(async () => {
  let client: ReplayClient
  const lazy = new Proxy({} as ReplayClient, { get: (_, name: keyof ReplayClient) => client[name].bind(client) })
  api = await apiWorld(deps =>
    buildServer(
      {
        ...deps,
        audit: createAuditWriter({ database: deps.database, process_id: newId('prc') }),
        replay: lazy,
        registry: new Registry([]),
      },
      [recordingRoutes, holdRoutes],
    ),
  )
  const { database } = api
  const audit = createAuditWriter({ database, process_id: newId('prc') })
  const store = new FileStore(join(folder, 'store'))
  const identity = await generateX25519Identity()
  server = new ReplayServer({
    database,
    audit,
    engine,
    decisions: api.decisions,
    callKey: publicKey,
    process_id: newId('prc'),
    now: Date.now,
    zone: 'UTC',
    reader: new Reader({ database, store, identities: [new Secret(identity)] }),
    subjectFacts: id => findSubject(database.db, id),
    tokenFacts: id => liveToken(database.db, id),
  })
  client = new ReplayClient({
    ...(await server.listen({ host: '127.0.0.1', port: 0 })),
    callKey: privateKey,
    now: Date.now,
  })
  journal = await Journal.start({
    catalog: new Catalog(database, audit),
    store,
    process_id: newId('prc'),
    spool_root: join(folder, 'spool'),
    spool_bytes: 16 * 1024 * 1024,
    recipients: [await identityToRecipient(identity)],
    tuning: { cutMs: 20 },
  })
  for (const name of ['erin', 'sam']) {
    const signed = await signIn(api, name)
    headers[name] = { cookie: `sallyport=${signed.session}`, origin: api.origin }
    if (name === 'erin') own = signed.subject_id
  }
  const facts = sessionFacts({ subject_id: own })
  session = facts.session_id
  const recorder = await journal.open(facts)
  recorder.append([{ conn: 'con_1', kind: 'statement', body: { text: 'select 1' } }])
  await recorder.close('done')
  await until(() => journal.pending === 0)
  await new Sealer({ database, audit, sessionsEnded: async ids => new Map(ids.map(id => [id, Date.now()])) }).sealDue()
})
afterAll(async () => {
  await journal.close()
  await server.close()
  await api.stop()
  rmSync(folder, { recursive: true })
})

async function call(who: string, method: string, path: string, body?: object) {
  const json: Record<string, string> = body === undefined ? {} : { 'content-type': 'application/json' }
  const answer = await fetch(api.origin + path, {
    method,
    headers: { ...headers[who], ...json },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  return { status: answer.status, text: await answer.text() }
}

describe('recordings in the API', () => {
  test("RE5: what is one's own is listed and read; what is not is refused", async () => {
    expect((await call('erin', 'GET', '/api/recordings')).status).toBe(403)
    expect((await call('erin', 'GET', `/api/recordings?subject_id=${own}`)).status).toBe(200)
    const listed = JSON.parse((await call('sam', 'GET', '/api/recordings?limit=1')).text) as {
      items: { session_id: string; state: string }[]
    }
    expect(listed.items).toMatchObject([{ session_id: session, state: 'sealed', holds: 0 }])
    expect((await call('nobody', 'GET', '/api/recordings')).status).toBe(401)
  })

  test('a recording is verified on request, and its seal is held against the audit log', async () => {
    const details = JSON.parse((await call('erin', 'GET', `/api/recordings/${session}?verify=true`)).text) as object
    expect(details).toMatchObject({ seal_in_log: true, verified: { ok: true, parts: [{ events: 1, problem: null }] } })
  })

  test('RE5: a terminal is exported as asciicast v2, decided as an export; what is none is refused', async () => {
    const facts = sessionFacts({ subject_id: own })
    const recorder = await journal.open(facts)
    const of = (kind: string, body: object) => ({ conn: 'con_1', kind, body: { channel: 0, ...body } })
    recorder.append([of('resize', { columns: 100, rows: 30, term: 'xterm' })])
    recorder.append([of('output', { stream: 'out', data: Buffer.from('hällo\x1b]0;x\x07') })])
    await recorder.close('done')
    await until(() => journal.pending === 0)
    engine.answer = () => ({ effect: 'allow', view: 'masked', reasons: [] })
    engine.asked.length = 0
    const cast = await call('sam', 'GET', `/api/recordings/${facts.session_id}/asciicast`)
    expect(cast.status).toBe(200)
    const lines = cast.text.trimEnd().split('\n')
    expect(JSON.parse(lines[0]!)).toMatchObject({ version: 2, width: 100, height: 30, env: { TERM: 'xterm' } })
    expect(lines.slice(1).map(line => JSON.parse(line) as unknown)).toEqual([[0, 'o', 'hällo']])
    expect(engine.asked).toMatchObject([{ point: 'replay', input: { verb: 'export', view: 'masked' } }])
    expect((await call('sam', 'GET', `/api/recordings/${facts.session_id}/asciicast?channel=7`)).status).toBe(404)
    const none = await call('sam', 'GET', `/api/recordings/${session}/asciicast`)
    expect([none.status, none.text]).toEqual([404, expect.stringContaining('terminal output')])
    engine.answer = () => ({ effect: 'deny', view: 'masked', reasons: [] })
    expect((await call('sam', 'GET', `/api/recordings/${facts.session_id}/asciicast`)).status).toBe(403)
  })

  test('RE5: events come through from the replay process when it allows, and its refusal comes through with rule and remedy', async () => {
    engine.answer = () => ({ effect: 'allow', view: 'masked', reasons: [] })
    const allowed = await call('sam', 'GET', `/api/recordings/${session}/events?verb=export`)
    expect(allowed.status).toBe(200)
    expect(
      allowed.text
        .trimEnd()
        .split('\n')
        .map(line => (JSON.parse(line) as { kind: string }).kind),
    ).toEqual(['recording', 'statement', 'end'])
    engine.answer = () => ({ effect: 'deny', view: 'masked', reasons: [] })
    const refused = await call('sam', 'GET', `/api/recordings/${session}/events`)
    expect(refused.status).toBe(403)
    expect(JSON.parse(refused.text)).toMatchObject({
      error: { code: 'policy_denied', message: 'this is not yours', remedy: 'ask an auditor', rule: 'test.no' },
    })
    expect((await call('sam', 'GET', `/api/recordings/${newId('ses')}/events`)).status).toBe(404)
    expect((await call('sam', 'GET', '/api/recordings/ses_x/events')).status).toBe(400)
  })

  test('RT2: a hold is set, listed, and lifted once', async () => {
    const path = `/api/recordings/${session}/holds`
    const set = await call('sam', 'POST', path, { reason: 'case 12' })
    expect(set.status).toBe(201)
    const { id } = JSON.parse(set.text) as { id: string }
    expect(JSON.parse((await call('sam', 'GET', path)).text)).toMatchObject({
      items: [{ id, reason: 'case 12', lifted_at_ms: null }],
    })
    expect((await call('sam', 'POST', path, { reason: '' })).status).toBe(400)
    expect((await call('sam', 'DELETE', `${path}/${id}`)).status).toBe(200)
    expect((await call('sam', 'DELETE', `${path}/${id}`)).status).toBe(409)
  })
})
