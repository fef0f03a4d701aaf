import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createAuditWriter } from '../../src/audit/writer.ts'
import { digest } from '../../src/canonical.ts'
import { logClasses } from '../../src/control-keeping.ts'
import { type Database, openDatabase } from '../../src/db/database.ts'
import { newId } from '../../src/ids.ts'
import type { Engine } from '../../src/policy/engine.ts'
import { dayOf } from '../../src/policy/log/decision-days.ts'
import { DecisionLog } from '../../src/policy/log/decision-log.ts'
import { type SweptLog, sweepLogs } from '../../src/recording/log-retention.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { GivenEngine } from './decisions.ts'

const engine = new GivenEngine()
let owner: TestDatabase
let control: Database
let audit: ReturnType<typeof createAuditWriter>
beforeAll(async () => {
  owner = await createTestDatabase()
  control = openDatabase({ url: owner.roleUrls.control, max: 4, application: 'test' })
  audit = createAuditWriter({ database: control, process_id: newId('prc') })
})
afterAll(async () => {
  await control.close()
  await owner.drop()
})
beforeEach(() => {
  engine.answer = () => ({ keep_s: 150_000, legal_hold: false })
})

const decisions = () => new DecisionLog({ database: control, engine: engine as unknown as Engine })
const sweep = (database = control): Promise<Record<string, SweptLog>> =>
  sweepLogs({ database, audit, engine, decisions: decisions(), classes: logClasses() })

/** One access from the question to the end of its session, all of it `age_s` ago, with the events that told of it. */
async function accessed(age_s: number, options: { live?: boolean } = {}) {
  const { sql } = owner.database
  const [sub, dec, action, req, vot, grt, tkt, ses] = (
    ['sub', 'dec', 'dec', 'req', 'vot', 'grt', 'tkt', 'ses'] as const
  ).map(newId) as [string, string, string, string, string, string, string, string]
  const approver = newId('sub')
  const rec = newId('rec')
  for (const id of [sub, approver])
    await sql`insert into subjects (id, kind, issuer, subject, name) values (${id}, 'person', 'x', ${id}, 'Ada')`
  const at_ms = Date.now() - age_s * 1000
  await sql`insert into decisions (id, at_ms, point, effect, code, input_digest, input, result, reasons)
    values (${dec}, ${at_ms}, 'access', 'allow', 'policy', 'd', '{}', '{}', '[]')`
  await sql`insert into action_decisions (id, at_ms, point, effect, code, input_digest, input, result, reasons, session_id, batch, day)
    values (${action}, ${at_ms}, 'action', 'allow', 'policy', 'd', '{}', '{}', '[]', ${ses}, ${newId('evt')}, ${dayOf(null, at_ms)})`
  const at = sql`to_timestamp(${at_ms}::float8 / 1000)`
  await sql`insert into requests (id, subject_id, resource, role, duration_s, reason, hash, state, decision_id, via, client, created_at, expires_at, ended_at, ended_by)
    values (${req}, ${sub}, 'shop', 'reader', 3600, 'why not', 'h', 'approved', ${dec}, 'api', '{}', ${at}, ${at}, ${at}, 'x')`
  await sql`insert into votes (id, request_id, request_hash, requester_id, approver_id, groups, stage, answer, via, decision_id)
    values (${vot}, ${req}, 'h', ${sub}, ${approver}, '[]', 0, 'approve', 'api', ${dec})`
  await sql`insert into slack_messages (request_id, purpose, channel, state, wanted) values (${req}, 'requester', 'C1', 'x', '{}')`
  await sql`insert into grants (id, request_id, subject_id, resource, role, starts_at, ends_at, decision_id, ended_at)
    values (${grt}, ${req}, ${sub}, 'shop', 'reader', ${at} - interval '1 hour', ${at}, ${dec}, ${at})`
  await sql`insert into tickets (id, grant_id, subject_id, resource, role, protocol, sealed, decision_id, unused_until, ended_at)
    values (${tkt}, ${grt}, ${sub}, 'shop', 'reader', 'postgres', '\\x00', ${dec}, ${at}, ${at})`
  await sql`insert into sessions (id, ticket_id, grant_id, subject_id, resource, role, protocol, decision_id, ends_at, idle_s, max_connections, ended_at, end_code)
    values (${ses}, ${tkt}, ${grt}, ${sub}, 'shop', 'reader', 'postgres', ${dec}, ${at}, 60, 1, ${options.live ? null : at}, ${options.live ? null : 'expired'})`
  await sql`insert into connections (id, session_id, process_id, client_address, closed_at)
    values (${newId('con')}, ${ses}, 'prc_x', '192.0.2.1', ${options.live ? null : at})`
  await sql`insert into leases (id, session_id, process_id, resource, protocol, kind, state) values (${newId('lea')}, ${ses}, 'prc_x', 'shop', 'postgres', 'role', 'reaped')`
  await sql`insert into recordings (id, session_id, subject_id, subject_name, resource, role, protocol, settings, decision_id, state, receipt)
    values (${rec}, ${ses}, ${sub}, 'Ada', 'shop', 'reader', 'postgres', '{}', 'dec_x', 'deleted', '{"step": "done", "decision_id": "dec_receipt"}')`
  const told: string[] = []
  await control.db.transaction(async tx => {
    told.push(
      await audit.record(tx, {
        type: 'request.created',
        body: { request_id: req, reason: 'why not' },
        subject_id: sub,
      }),
    )
    told.push(
      await audit.record(tx, { type: 'ticket.issued', body: { ticket_id: tkt, grant_id: grt }, subject_id: sub }),
    )
    told.push(await audit.record(tx, { type: 'session.ended', body: { code: 'expired' }, session_id: ses }))
  })
  await sql`update audit_places set idx = seq where idx is null` // as the sequencer does
  return { sub, dec, action, req, grt, tkt, ses, rec, told }
}
type Accessed = Awaited<ReturnType<typeof accessed>>

async function left({ dec, action, req, tkt, ses, told }: Accessed) {
  const { sql } = owner.database
  const [row] = await sql<Record<string, number>[]>`select
    (select count(*) from sessions where id = ${ses})::int as sessions,
    (select count(*) from tickets where id = ${tkt})::int as tickets,
    (select count(*) from requests where id = ${req})::int as requests,
    ((select count(*) from decisions where id = ${dec}) + (select count(*) from action_decisions where id = ${action}))::int as decisions,
    (select count(*) from audit_inbox where id = any(${told}::text[]))::int as leaves,
    (select count(body) + count(salt) from audit_inbox where id = any(${told}::text[]))::int as said`
  return row
}
const all = { sessions: 1, tickets: 1, requests: 1, decisions: 2, leaves: 3, said: 6 }
const gone = { sessions: 0, tickets: 0, requests: 0, decisions: 0, leaves: 3, said: 0 }

describe('retention of the logs', () => {
  test('RT1: sessions, requests and decisions go when their time is over; leaves stay, what they said goes, receipts tell', async () => {
    const old = await accessed(200_000)
    const young = await accessed(100_000)
    const swept = await sweep()
    expect(swept['sessions']).toMatchObject({ keep_s: 150_000 })
    expect(await left(old)).toEqual(gone)
    expect(await left(young)).toEqual(all)
    const receipts = await owner.database.sql<
      { body: { class: string; count: number; keep_s: number; decision: string } }[]
    >`
      select body::jsonb as body from audit_inbox where type = 'log.erased' order by seq`
    expect(receipts.map(r => r.body.class)).toEqual(['sessions', 'requests', 'decisions'])
    expect(receipts[0]?.body).toMatchObject({
      count: 1,
      keep_s: 150_000,
      first: old.ses,
      bodies_erased: 2,
      commit: 'c0ffee',
    })
    const [decided] = await owner.database.sql`select point from decisions where id = ${receipts[0]!.body.decision}`
    expect(decided?.['point']).toBe('retention')
    const again = await sweep()
    expect(Object.values(again).map(s => s.deleted)).toEqual([0, 0, 0])
  })

  test('RT1: an undefined answer keeps, and so does a hold that policy demands', async () => {
    const old = await accessed(200_000)
    engine.answer = () => null
    expect(await sweep()).toMatchObject({ sessions: { keep_s: null, deleted: 0 } })
    engine.answer = () => ({ keep_s: 150_000, legal_hold: true })
    await sweep()
    expect(await left(old)).toEqual(all)
  })

  test('RT1: what something still needs stays: of a live session all, of a kept session its request and decisions', async () => {
    const live = await accessed(200_000, { live: true })
    await sweep()
    expect(await left(live)).toEqual(all)
    const kept = await accessed(200_000)
    const asking = (name: string) => ({ keep_s: name === 'sessions' ? 300_000 : 150_000, legal_hold: false })
    engine.answer = (_: unknown, input: unknown) => asking((input as { class: string }).class)
    await sweep()
    expect(await left(kept)).toMatchObject({ sessions: 1, requests: 1, decisions: 1 }) // the action's own decision may go
    await owner.database.sql`update leases set state = 'stuck' where session_id = ${kept.ses}`
    engine.answer = () => ({ keep_s: 150_000, legal_hold: false })
    await sweep()
    expect(await left(kept)).toMatchObject({ sessions: 1, requests: 1 }) // its credential may still be on the target
  })

  test('RT1: a decision that the audit log does not cover yet, and that of a receipt, stay', async () => {
    const old = await accessed(200_000)
    const { sql } = owner.database
    await sql`update action_decisions set batch = null where id = ${old.action}`
    await sql`update recordings set receipt = jsonb_build_object('step', 'done', 'decision_id', ${old.dec}::text) where id = ${old.rec}`
    await sweep()
    expect(await left(old)).toEqual({ ...gone, decisions: 2 })
  })

  test('RT2: a session whose recording plays or is held stays, with its request and its decisions', async () => {
    const { sql } = owner.database
    const plays = await accessed(200_000)
    await sql`update recordings set state = 'sealed', receipt = null where id = ${plays.rec}`
    const held = await accessed(200_000)
    const hold = newId('hld')
    await sql`insert into legal_holds (id, recording_id, reason, set_by) values (${hold}, ${held.rec}, 'case 12', 'x')`
    await sweep()
    expect(await left(plays)).toEqual(all)
    expect(await left(held)).toEqual(all)
    await sql`update legal_holds set lifted_at = now(), lifted_by = 'x' where id = ${hold}`
    await sweep()
    expect(await left(held)).toEqual(gone)
  })

  test('RT2: a rule of 30 s where days were meant keeps a day, in the code and in the database', async () => {
    engine.answer = () => ({ keep_s: 30, legal_hold: false })
    const today = await accessed(80_000)
    expect(await sweep()).toMatchObject({ decisions: { keep_s: 86_400 } })
    expect(await left(today)).toEqual(all)
    const { sql } = owner.database
    await sql`insert into decisions (id, at_ms, point, effect, code, input_digest, input, result, reasons)
      values ('dec_young', ${Date.now() - 80_000_000}, 'admin', 'allow', 'policy', 'd', '{}', '{}', '[]')`
    await control.sql`delete from decisions where id = 'dec_young'`
    expect(await sql`select 1 from decisions where id = 'dec_young'`).toHaveLength(1)
  })

  test('RT2: killed in the middle of a batch, nothing of it is gone, and the next run finishes', async () => {
    const old = await accessed(200_000)
    const sessions = logClasses()[0]!
    const killed = {
      ...sessions,
      remove: async (...args: Parameters<typeof sessions.remove>) => {
        await sessions.remove(...args)
        throw new Error('killed')
      },
    }
    const options = { database: control, audit, engine, decisions: decisions() }
    expect(await sweepLogs({ ...options, classes: [killed] })).toMatchObject({ sessions: { deleted: 0 } })
    expect(await left(old)).toEqual(all)
    await sweep()
    expect(await left(old)).toEqual(gone)
  })

  test('RT2: who tries what is about to go does not take the trace of that along', async () => {
    const old = await accessed(200_000)
    const tries: [Parameters<typeof audit.record>[1]['type'], Record<string, string>][] = [
      ['ticket.refused', { ticket_id: old.tkt, address: '192.0.2.66' }],
      ['vote.refused', { request_id: old.req, code: 'conflict' }],
    ]
    const tried = await control.db.transaction(async tx => {
      const ids: string[] = []
      for (const [type, body] of tries) ids.push(await audit.record(tx, { type, body } as never))
      return ids
    })
    const { sql } = owner.database
    await sql`update audit_places set idx = seq where idx is null`
    await sweep()
    expect(await left(old)).toEqual(gone)
    const said = () => sql`select id from audit_inbox where id = any(${tried}::text[]) and body is not null`
    expect(await said()).toHaveLength(2)
  })

  test('RT2: without its receipt in the log nothing is deleted', async () => {
    const old = await accessed(200_000)
    await owner.database.sql`alter table audit_writers rename to audit_writers_away`
    await sweep()
    await owner.database.sql`alter table audit_writers_away rename to audit_writers`
    expect(await left(old)).toEqual(all)
    await sweep()
    expect(await left(old)).toEqual(gone)
  })

  test('RT1: a day of action decisions of which nothing is needed goes whole, with one receipt; any other goes row by row', async () => {
    const { sql } = owner.database
    const days = [9, 8, 7, 6].map(ago => new Date(Date.now() - ago * 86_400_000).toISOString().slice(0, 10))
    const [whole, younger, uncovered, held] = days as [string, string, string, string]
    for (const day of days) await sql.unsafe(`select decision_days.make_one('${day}')`)
    const live = await accessed(6 * 86_400, { live: true })
    const insert = (
      id: string,
      day: string,
      options: { at_ms?: number; batch?: string | null; session?: string } = {},
    ) => {
      const { at_ms = Date.parse(day) + 1000, batch = 'evt_1', session = null } = options
      return sql`insert into action_decisions (id, at_ms, point, effect, code, input_digest, input, result, reasons, session_id, batch, day)
        values (${id}, ${at_ms}, 'action', 'allow', 'policy', 'd', '{}', '{}', '[]', ${session}, ${batch}, ${day})`
    }
    for (const day of days)
      for (let i = 0; i < 3; i++) await insert(`dec_${day}_${i}`, day, { at_ms: Date.parse(day) + 9 - i })
    await insert('dec_young', younger, { at_ms: Date.now() - 1000 })
    await insert('dec_uncovered', uncovered, { batch: null })
    await insert('dec_of_living', held, { session: live.ses })
    const swept = await sweep()
    expect(swept['decisions']?.deleted).toBeGreaterThanOrEqual(12)
    const left = await sql`select id from action_decisions where day = any(${days}::text[]::date[]) order by id`
    expect(left.map(row => row['id']).filter(id => id !== live.action)).toEqual([
      'dec_of_living',
      'dec_uncovered',
      'dec_young',
    ])
    const kept =
      await sql`select c.relname as name from pg_class c where relname = any(${days.map(day => `d${day.replaceAll('-', '')}`)})`
    expect(kept.map(row => row['name'])).not.toContain(`d${whole.replaceAll('-', '')}`)
    expect(kept).toHaveLength(3)
    const receipts = await sql<{ body: Record<string, unknown> }[]>`
      select body::jsonb as body from audit_inbox where type = 'log.erased' and body::jsonb ->> 'first' = ${`dec_${whole}_2`}`
    expect(receipts).toHaveLength(1)
    const ids = [2, 1, 0].map(i => `dec_${whole}_${i}`)
    expect(receipts[0]!.body).toMatchObject({
      class: 'decisions',
      count: 3,
      last: ids[2],
      ids_digest: digest(ids.join('\n')),
    })
  })

  test('RT2: without its receipt in the log no day is dropped', async () => {
    const { sql } = owner.database
    const day = new Date(Date.now() - 12 * 86_400_000).toISOString().slice(0, 10)
    await sql.unsafe(`select decision_days.make_one('${day}')`)
    await sql`insert into action_decisions (id, at_ms, point, effect, code, input_digest, input, result, reasons, batch, day)
      values ('dec_whole', ${Date.parse(day)}, 'action', 'allow', 'policy', 'd', '{}', '{}', '[]', 'evt_1', ${day})`
    const there = async () => (await sql`select 1 from action_decisions where id = 'dec_whole'`).length
    await sql`alter table audit_writers rename to audit_writers_away`
    await sweep()
    await sql`alter table audit_writers_away rename to audit_writers`
    expect(await there()).toBe(1)
    await sweep()
    expect(await there()).toBe(0)
  })
})
