import { createHmac } from 'node:crypto'
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sql } from 'drizzle-orm'
import { register } from 'prom-client'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createAuditWriter } from '../../src/audit/writer.ts'
import { type Database, openDatabase } from '../../src/db/database.ts'
import { newId } from '../../src/ids.ts'
import type { Engine } from '../../src/policy/engine.ts'
import { readDecisionEvent } from '../../src/policy/log/decision-event.ts'
import { DecisionLog } from '../../src/policy/log/decision-log.ts'
import { decisionClass } from '../../src/policy/log/decision-retention.ts'
import { DecisionExports } from '../../src/policy/log/export/exports.ts'
import { fileSink } from '../../src/policy/log/export/file.ts'
import { opaSink } from '../../src/policy/log/export/opa.ts'
import { openSinks } from '../../src/policy/log/export/open.ts'
import { placeDecisions } from '../../src/policy/log/export/places.ts'
import type { Placed, Sink } from '../../src/policy/log/export/sink.ts'
import { exportStates } from '../../src/policy/log/export/state.ts'
import { webhookSink } from '../../src/policy/log/export/webhook.ts'
import { Secret } from '../../src/secret.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { startLogReceiver } from '../support/opa-log-receiver.ts'
import { actionInput, adminInput, engineOn, storeRevision } from './support.ts'

const labels = { app: 'sallyport', id: 'test', version: '0.0.0' } as const
const token = new Secret('s3cret-of-the-service')
let test_db: TestDatabase
let control: Database
let engine: Engine
let receiver: Awaited<ReturnType<typeof startLogReceiver>>
let folder: string
let clock = 0
beforeAll(async () => {
  test_db = await createTestDatabase()
  control = openDatabase({ url: test_db.roleUrls.control, max: 4, application: 'test' })
  engine = await engineOn()
  await storeRevision(test_db.database)
  receiver = await startLogReceiver(token.reveal())
  folder = mkdtempSync(join(tmpdir(), 'sallyport-exports-'))
})
afterAll(async () => {
  await receiver.stop()
  await control.close()
  await test_db.drop()
  rmSync(folder, { recursive: true, force: true })
})
beforeEach(async () => {
  await test_db.database.sql`delete from decision_exports`
  await test_db.database.sql`delete from decisions`
  await test_db.database.sql`delete from action_decisions`
  await test_db.database.sql`delete from decision_places`
  receiver.events.length = 0
  receiver.uploads.length = 0
  receiver.others.length = 0
  clock = 1_000_000
})

async function decide(count: number): Promise<string[]> {
  const log = new DecisionLog({ database: test_db.database, engine })
  const session_id = newId('ses')
  const made = Array.from({ length: count }, (_, i) =>
    i % 5 === 0
      ? engine.decide('admin', adminInput('me')).decision
      : engine.decide('action', actionInput({ kind: `k${i}` }), { session_id }).decision,
  )
  for (const decision of made) await log.insert(test_db.database.db, decision)
  return made.map(decision => decision.id).sort()
}

function exporting(sinks: readonly Sink[], process_id = newId('prc')) {
  return new DecisionExports({
    database: control,
    audit: createAuditWriter({ database: control, process_id }),
    sinks,
    labels,
    process_id,
    now: () => clock,
    random: () => 1,
  })
}
const opa = (change: Partial<Parameters<typeof opaSink>[0]> = {}) =>
  opaSink({ name: 'siem', url: `${receiver.url}/service/`, token, max_bytes: 64 << 10, ...change })
const rowOf = async (name: string) =>
  (await test_db.database.sql<Record<string, never>[]>`select * from decision_exports where name = ${name}`)[0]
const ids = (events: readonly { decision_id: string }[]) => events.map(event => event.decision_id)

describe('export to a decision-log service', () => {
  test('delivers gzipped arrays within their bound, each decision once and in its order, with the bearer token', async () => {
    const made = await decide(300)
    await exporting([opa({ max_bytes: 8 << 10 })]).run()
    expect(receiver.complaints).toEqual([])
    expect(ids(receiver.events).sort()).toEqual(made)
    expect(receiver.uploads.length).toBeGreaterThan(3)
    for (const { bytes } of receiver.uploads) expect(bytes).toBeLessThanOrEqual(8 << 10)
    const order = await test_db.database.sql<
      { id: string }[]
    >`select id, seq from decisions union all select id, seq from action_decisions order by seq`
    expect(ids(receiver.events)).toEqual(order.map(row => row.id))
    readDecisionEvent(JSON.stringify(receiver.events[0]), 'received')
  })

  test('what comes later follows, also when it was decided before', async () => {
    const exports = exporting([opa()])
    const early = await decide(3)
    await exports.run()
    const late = await decide(2)
    for (const table of ['decisions', 'action_decisions'])
      await test_db.database.sql`update ${test_db.database.sql(table)} set at_ms = 1 where id = any(${late})`
    await exports.run()
    await exports.run()
    expect(ids(receiver.events.slice(3)).sort()).toEqual(late)
    expect(receiver.events).toHaveLength(early.length + late.length)
  })

  test('a service that fails is asked ever later, nothing is left out, and the order stays', async () => {
    const made = await decide(20)
    const exports = exporting([opa()])
    receiver.fail(2, 503)
    await exports.run()
    await exports.run() // too early: it is not asked
    expect(await rowOf('siem')).toMatchObject({ seq: '0', last_error: expect.stringContaining('answered 503') })
    clock += 1_000
    await exports.run()
    clock += 1_999
    await exports.run()
    expect(receiver.events).toEqual([])
    clock += 1
    await exports.run()
    expect(ids(receiver.events).sort()).toEqual(made)
    expect(await rowOf('siem')).toMatchObject({ failing_since: null, last_error: null })
  })

  test('RE8: behind a service that was away for an hour comes ten times as much: nothing is lost, each once, in order', async () => {
    await decide(30)
    const exports = exporting([opa({ max_bytes: 8 << 10 })])
    receiver.fail(1_000_000, 503)
    for (const end = clock + 3_600_000; clock < end; clock += 30_000) await exports.run()
    expect(receiver.events).toEqual([])
    await decide(300)
    receiver.fail(0)
    clock += 600_000
    for (let i = 0; i < 20 && receiver.events.length < 330; i++) await exports.run()
    const { sql } = test_db.database
    const placed = await sql<{ id: string }[]>`
      select id, seq from decisions union all select id, seq from action_decisions order by seq`
    expect(ids(receiver.events)).toEqual(placed.map(row => row.id))
    expect([receiver.events.length, new Set(ids(receiver.events)).size]).toEqual([330, 330])
    expect(receiver.complaints).toEqual([])
    expect((await exportStates(control.db))[0]).toMatchObject({ name: 'siem', behind: 0, failing_since_ms: null })
  })

  test('a wrong token is a failure that names no token', async () => {
    await decide(1)
    await exporting([opa({ token: new Secret('wrong') })]).run()
    expect(receiver.complaints.splice(0)).toEqual(['there is no good bearer token'])
    const { last_error } = (await rowOf('siem'))!
    expect(last_error).toMatch(/answered 400$/)
    expect(JSON.stringify(await rowOf('siem'))).not.toContain('wrong')
  })

  test('an export that has failed for a minute raises one alarm, and says when it is mended; the gauge tells how far it is behind', async () => {
    await decide(4)
    const exports = exporting([opa()])
    const alarms = () =>
      test_db.database.sql<{ body: string }[]>`select body from audit_inbox where type = 'alert.raised' order by seq`
    const before = (await alarms()).length
    receiver.fail(3)
    await exports.run()
    expect((await alarms()).length).toBe(before)
    await test_db.database.sql`update decision_exports set failing_since = now() - interval '61 seconds'`
    for (let i = 0; i < 2; i++) {
      clock += 600_000
      await exports.run()
    }
    const text = await register.getSingleMetricAsString('sallyport_decision_export_behind')
    expect(text).toContain('sallyport_decision_export_behind{export="siem"} 4')
    clock += 600_000
    await exports.run()
    const told = (await alarms()).slice(before).map(row => JSON.parse(row.body) as object)
    expect(told).toEqual([
      expect.objectContaining({ what: 'export of decisions siem', mended: false }),
      expect.objectContaining({ what: 'export of decisions siem', mended: true, reason: null }),
    ])
    expect(await register.getSingleMetricAsString('sallyport_decision_export_behind')).toContain('{export="siem"} 0')
  })

  test('an export that works and does not come along is an alarm, once, until it has caught up', async () => {
    await decide(85)
    await test_db.database.sql`update decisions set at_ms = 1`
    await test_db.database.sql`update action_decisions set at_ms = 1`
    const before = new Date()
    const alarms = async () =>
      (
        await test_db.database.sql<{ body: string }[]>`
          select body from audit_inbox where type = 'alert.raised' and at_ms >= ${before.getTime()} order by seq`
      ).map(row => JSON.parse(row.body) as { reason: string | null; mended: boolean })
    const one: Sink = { name: 'slow', send: async () => 1 }
    const exports = exporting([one])
    await exports.run()
    expect(await alarms()).toEqual([
      expect.objectContaining({ mended: false, reason: expect.stringMatching(/^it is \d+ seconds behind$/) }),
    ])
    expect((await exportStates(control.db))[0]).toMatchObject({
      name: 'slow',
      behind: 45,
      failing_since_ms: null,
      alarm: true,
    })
    await exports.run()
    expect(await alarms()).toHaveLength(1)
    await exports.run()
    expect((await alarms()).slice(1)).toEqual([expect.objectContaining({ mended: true, reason: null })])
    expect((await exportStates(control.db))[0]).toMatchObject({ behind: 0, lag_s: 0, alarm: false })
  })

  test('a new export begins with the oldest decision that is left, and is not behind by those that were deleted', async () => {
    await decide(10)
    await exporting([{ name: 'first', send: async due => due.length }]).run()
    await test_db.database.sql`delete from decisions where seq <= 6`
    await test_db.database.sql`delete from action_decisions where seq <= 6`
    const sent: number[] = []
    const broken: Sink = { name: 'second', send: () => Promise.reject(new Error('no')) }
    const process_id = newId('prc')
    await exporting([broken], process_id).run()
    expect((await exportStates(control.db))[0]).toMatchObject({ name: 'second', behind: 4 })
    clock += 60_000
    await exporting([{ name: 'second', send: async due => sent.push(...due.map(each => each.seq)) }], process_id).run()
    expect(sent).toEqual([7, 8, 9, 10])
  })

  test('two processes send one after the other, and who is slow does not move the place', async () => {
    const made = await decide(30)
    let release = () => {}
    const slow: Sink = { name: 'siem', send: due => new Promise(resolve => (release = () => resolve(due.length))) }
    const first = exporting([slow])
    const running = first.run()
    await expect.poll(async () => (await rowOf('siem'))?.['leased_by'] ?? null).not.toBeNull()
    const second = exporting([opa()])
    await second.run()
    expect(receiver.events).toEqual([])
    await test_db.database.sql`update decision_exports set leased_until = now() - interval '1 second'`
    await second.run()
    expect(ids(receiver.events).sort()).toEqual(made)
    const { seq } = (await rowOf('siem'))!
    release()
    await running
    expect((await rowOf('siem'))!['seq']).toBe(seq)
  })

  test('each export has its own place, and one that fails does not keep the others', async () => {
    const made = await decide(5)
    const broken: Sink = { name: 'broken', send: () => Promise.reject(new Error('no')) }
    await exporting([broken, opa()]).run()
    expect(ids(receiver.events).sort()).toEqual(made)
    expect((await rowOf('broken'))!['seq']).toBe('0')
    await exporting([opa()]).run() // the other one is no longer configured
    expect(await rowOf('broken')).toBeUndefined()
  })
})

describe('export to a webhook', () => {
  test('posts events with a signature over time and body', async () => {
    const made = await decide(3)
    const secret = new Secret('hook')
    const sink = webhookSink({ name: 'hook', url: `${receiver.url}/hook`, secret, max_bytes: 256 << 10, now: () => 77 })
    await exporting([sink]).run()
    const [{ headers, body }] = receiver.others as [(typeof receiver.others)[number]]
    const mac = createHmac('sha256', 'hook').update(`77.${body}`).digest('hex')
    expect(headers['x-sallyport-signature']).toBe(`t=77,v1=${mac}`)
    const sent = JSON.parse(body) as { type: string; first: number; events: { decision_id: string }[] }
    expect([sent.type, ids(sent.events).sort()]).toEqual(['decisions', made])
    expect(sent.first).toBeGreaterThan(0)
  })
})

describe('export to files', () => {
  const lines = (seqs: readonly number[]): Placed[] => seqs.map(seq => ({ seq, line: JSON.stringify({ seq }) }))
  const read = (dir: string) =>
    readdirSync(dir)
      .sort()
      .map(name => [name, readFileSync(join(dir, name), 'utf8')] as const)
  const signal = new AbortController().signal

  test('writes lines that the reader of exported logs takes', async () => {
    const dir = join(folder, 'log')
    const made = await decide(7)
    const exports = exporting([fileSink({ name: 'files', folder: dir, max_bytes: 1 << 20 })])
    await exports.run()
    await exports.close()
    const [[, text] = ['', '']] = read(dir)
    const events = text
      .trimEnd()
      .split('\n')
      .map((line, i) => readDecisionEvent(line, `line ${i}`))
    expect(ids(events).sort()).toEqual(made)
  })

  test('begins a new file where one has grown, and goes on in the last one after a restart', async () => {
    const dir = join(folder, 'rotated')
    const open = () => fileSink({ name: 'files', folder: dir, max_bytes: 20 })
    const first = open()
    await first.send(lines([1, 2]), signal)
    await first.send(lines([3]), signal)
    await first.send(lines([4, 5]), signal)
    await first.close?.()
    const second = open()
    await second.send(lines([6]), signal)
    await second.close?.()
    expect(read(dir)).toEqual([
      ['decisions-0000000000000001.jsonl', '{"seq":1}\n{"seq":2}\n'],
      ['decisions-0000000000000003.jsonl', '{"seq":3}\n{"seq":4}\n{"seq":5}\n'],
      ['decisions-0000000000000006.jsonl', '{"seq":6}\n'],
    ])
  })

  test('a line that a crash cut short is taken away before the next', async () => {
    const dir = join(folder, 'torn')
    const sink = fileSink({ name: 'files', folder: dir, max_bytes: 1000 })
    await sink.send(lines([1]), signal)
    await sink.close?.()
    appendFileSync(join(dir, 'decisions-0000000000000001.jsonl'), `{"seq":2,"x":"${'y'.repeat(100_000)}`)
    await sink.send(lines([2]), signal)
    await sink.close?.()
    expect(read(dir)).toEqual([['decisions-0000000000000001.jsonl', '{"seq":1}\n{"seq":2}\n']])
  })
})

describe('retention and exports', () => {
  test('what an export has not delivered yet is not deleted', async () => {
    await decide(10)
    const exports = exporting([opa()])
    receiver.fail(1)
    await exports.run()
    const no = () => sql`false`
    const expired = () =>
      test_db.database.db.transaction(tx =>
        decisionClass({ decision: no, session: no }).expired(tx, Number.MAX_SAFE_INTEGER, 100),
      )
    await test_db.database.sql`update action_decisions set batch = 'evt_x', at_ms = 7`
    expect(await expired()).toHaveLength(0)
    clock += 10_000
    await exports.run()
    expect(await expired()).toHaveLength(10)
  })

  test('places are given once each, without gaps, by however many at once', async () => {
    await decide(50)
    await Promise.all([placeDecisions(control), placeDecisions(control), placeDecisions(control)])
    const [row] = await test_db.database.sql<
      { n: number; distinct: number; span: string }[]
    >`select count(*)::int as n, count(distinct seq)::int as distinct, (max(seq) - min(seq))::text as span
      from (select seq from decisions union all select seq from action_decisions) d`
    expect(row).toEqual({ n: 50, distinct: 50, span: '49' })
  })
})

test.each([
  [{ name: 'a', kind: 'opa', url: 'http://siem.example.com' }, 'plain http'],
  [{ name: 'a', kind: 'opa', url: 'https://user:pass@siem.example.com' }, 'a credential stands in the url'],
] as const)('an export that would give something away is refused: %j', (each, why) => {
  expect(() => openSinks([each], Date.now)).toThrow(why)
})

test('two exports of one name are refused', () => {
  const file = { name: 'a', kind: 'file' as const, folder: '/tmp/x' }
  expect(() => openSinks([file, file], Date.now)).toThrow('two exports called a')
})
