import { sql } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { inclusionProof, leafHash, merkleRoot, verifyInclusion } from '../../src/audit/merkle.ts'
import { createAuditWriter } from '../../src/audit/writer.ts'
import { openDatabase } from '../../src/db/database.ts'
import { newId } from '../../src/ids.ts'
import type { Decision } from '../../src/policy/decision.ts'
import type { Engine } from '../../src/policy/engine.ts'
import { batchLeaves, dropLeaves, keepLeavesOfDay } from '../../src/policy/log/batch-leaves.ts'
import { batchDecisions } from '../../src/policy/log/decision-batch.ts'
import { dayOf } from '../../src/policy/log/decision-days.ts'
import { decisionEvent } from '../../src/policy/log/decision-event.ts'
import { decisionLeaf } from '../../src/policy/log/decision-leaf.ts'
import { DecisionLog } from '../../src/policy/log/decision-log.ts'
import { decisionClass } from '../../src/policy/log/decision-retention.ts'
import {
  type DecisionFilter,
  type DecisionPlace,
  getDecision,
  listDecisions,
  searchDecisions,
} from '../../src/policy/log/decision-store.ts'
import { actionDecisions } from '../../src/policy/schema.ts'
import { timeFacts } from '../../src/policy/time.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { actionInput, adminInput, engineer, engineOn, now, rawEngine, storeRevision } from './support.ts'

let db: TestDatabase
let engine: Engine

beforeAll(async () => {
  db = await createTestDatabase()
  engine = await engineOn()
  await storeRevision(db.database)
})
afterAll(() => db.drop())

const replayInput = () => ({
  own: true,
  reason: null,
  recording: {
    id: 'rec_1',
    labels: {},
    live: false,
    protocol: 'postgres',
    resource: 'shop-db',
    role: 'reader',
    session: 'ses_1',
    started_at_ms: now,
    subject: engineer.id,
  },
  time: timeFacts(now, 'UTC'),
  verb: 'open' as const,
  view: 'masked' as const,
})

const decide = (kind: string, session_id = newId('ses')) =>
  engine.decide('action', actionInput({ kind }), { session_id }).decision

describe('the decision log', () => {
  test('keeps a decision as it was: input, result, reasons, revision', async () => {
    const log = new DecisionLog({ database: db.database, engine })
    const { decision } = engine.decide('action', actionInput({ verb: 'write' }), {
      session_id: 'ses_x',
      request_id: 'req_x',
    })
    await db.database.db.transaction(tx => log.insert(tx, decision))
    const row = await getDecision(db.database.db, decision.id)
    expect(row).toMatchObject({
      effect: 'deny',
      code: 'policy',
      generation: 1,
      input: decision.input,
      input_digest: decision.input_digest,
      session_id: 'ses_x',
      request_id: 'req_x',
      count: 1,
    })
    expect(row?.reasons).toEqual(decision.reasons)
  })

  test('a decision goes with the transaction that it was inserted in', async () => {
    const log = new DecisionLog({ database: db.database, engine })
    const decision = decide('rolled back')
    await db.database.db
      .transaction(async tx => {
        await log.insert(tx, decision)
        throw new Error('no')
      })
      .catch(() => {})
    expect(await getDecision(db.database.db, decision.id)).toBeUndefined()
  })

  test('repeats are counted, in the queue and over several workers', async () => {
    const [a, b] = [
      new DecisionLog({ database: db.database, engine }),
      new DecisionLog({ database: db.database, engine }),
    ]
    const decision = decide('repeat')
    for (let i = 0; i < 5; i++) expect(a.append(decision)).toBe(true)
    expect(a.waiting).toBe(1)
    b.append(decision)
    await Promise.all([a.flush(), b.flush()])
    expect((await getDecision(db.database.db, decision.id))?.count).toBe(6)
    await Promise.all([a.close(), b.close()])
    expect(a.append(decision)).toBe(false)
  })

  test('writes within 250 ms without being told', async () => {
    const log = new DecisionLog({ database: db.database, engine })
    const decision = decide('by itself')
    log.append(decision)
    await expect.poll(() => getDecision(db.database.db, decision.id), { timeout: 2000, interval: 25 }).toBeDefined()
    await log.close()
  })

  test('the gateway and the replay user may write it, and change nothing but the count', async () => {
    for (const role of ['gateway', 'replay'] as const) {
      const database = openDatabase({ url: db.roleUrls[role], max: 1, application: 'test' })
      const log = new DecisionLog({ database, engine })
      const replay = { ...replayInput(), subject: engineer }
      const decision: Decision = role === 'replay' ? engine.decide('replay', replay).decision : decide(`as ${role}`)
      log.append(decision)
      await log.flush()
      log.append(decision)
      expect(await log.close()).toBe(0)
      expect((await getDecision(db.database.db, decision.id))?.count).toBe(2)
      await expect(database.sql`update decisions set effect = 'allow'`).rejects.toThrow('permission denied')
      await database.close()
    }
  })

  test('a full queue refuses instead of dropping, and takes again when the database is back', async () => {
    const broken = openDatabase({ url: db.roleUrls.gateway, max: 1, application: 'test' })
    await broken.close()
    const target = { database: broken }
    const log = new DecisionLog({
      get database() {
        return target.database
      },
      engine,
      capacity: 3,
    })
    const made = ['one', 'two', 'three', 'four'].map(kind => decide(`full ${kind}`))
    expect(made.map(d => log.append(d))).toEqual([true, true, true, false])
    await log.flush()
    expect(log.waiting).toBe(3)
    target.database = db.database
    await log.flush()
    expect([log.waiting, log.append(made[3]!)]).toEqual([0, true])
    expect(await log.close()).toBe(0)
    for (const decision of made) expect(await getDecision(db.database.db, decision.id)).toBeDefined()
  })

  test('what the decision_log point names is not stored; the digest stays that of the whole input', async () => {
    const log = new DecisionLog({ database: db.database, engine })
    const input = adminInput('me')
    const { decision } = engine.decide('admin', { ...input, subject: { ...input.subject, claims: { secret: 'ssn' } } })
    await log.insert(db.database.db, decision)
    const row = await getDecision(db.database.db, decision.id)
    expect(JSON.parse(row!.input)).toMatchObject({ call: 'me', subject: { id: 'sub_ada', claims: '[masked]' } })
    expect(row?.input_digest).toBe(decision.input_digest)
    expect([row?.erased, row?.masked]).toEqual([[], ['/input/subject/claims']])
  })

  test.each([
    [{ erase: ['/result'], mask: [] }, []],
    [{ erase: ['/result/reasons'], mask: [] }, []],
    [{ erase: [], mask: ['/result/reasons'] }, []],
    [{ erase: ['/result/reasons/0'], mask: [] }, [{ rule: '[masked]', message: '[masked]' }]],
    [
      { erase: [], mask: ['/result/reasons/0/message'] },
      [{ rule: 'test.rule', message: '[masked]', remedy: 'ask quietly' }],
    ],
    [
      { erase: ['/result/reasons/0/remedy', '/result/reasons/0/message'], mask: [] },
      [{ rule: 'test.rule', message: '[masked]' }],
    ],
    [{ erase: ['/result/reasons/7', '/result/nothing'], mask: ['/results'] }, null],
  ])('what %j hides of a result is in no column, no word and no export of it', async ({ erase, mask }, reasons) => {
    const decision = {
      ...decide('hidden'),
      reasons: [{ rule: 'test.rule', message: 'quietly refused', remedy: 'ask quietly', at: 'a.rego:1@c' }],
      result: {
        effect: 'deny' as const,
        reasons: [{ rule: 'test.rule', message: 'quietly refused', remedy: 'ask quietly' }],
      },
    }
    const hiding = { decide: () => ({ decision: { result: { erase, mask } } }) } as unknown as Engine
    const log = new DecisionLog({ database: db.database, engine: hiding })
    await log.insert(db.database.db, decision)
    const row = (await getDecision(db.database.db, decision.id))!
    expect(row.reasons).toEqual(reasons ?? decision.reasons)
    const found = await searchDecisions(db.database, { session_id: row.session_id!, text: 'refused' }, 1)
    expect(found.items).toHaveLength(reasons === null ? 1 : 0)
    const event = decisionEvent(row, { app: 'sallyport', id: 'test', version: '0' })
    expect(event.includes('refused')).toBe(reasons === null)
  })

  test('a batch event carries the Merkle root over its decisions, and each is covered once', async () => {
    const audit = createAuditWriter({ database: db.database, process_id: newId('prc') })
    while ((await batchDecisions(db.database, audit)) > 0);
    const log = new DecisionLog({ database: db.database, engine })
    const session = newId('ses')
    for (let i = 0; i < 7; i++) log.append(decide(`batch ${i}`, session))
    await log.close()
    expect(await batchDecisions(db.database, audit)).toBe(7)
    expect(await batchDecisions(db.database, audit)).toBe(0)
    const rows = (await listDecisions(db.database.db, { session_id: session })).sort((a, b) => (a.id < b.id ? -1 : 1))
    const [event] = await db.database.sql<{ body: string }[]>`select body from audit_inbox where id = ${rows[0]!.batch}`
    const body = JSON.parse(event!.body) as { root?: string; count?: number }
    expect(JSON.stringify(body)).toContain(merkleRoot(rows.map(row => Buffer.from(decisionLeaf(row)))).toString('hex'))
    expect(new Set(rows.map(r => r.batch)).size).toBe(1)
  })

  test('a decision keeps its path to the root of its batch when retention deletes its siblings, and the last one leaves nothing', async () => {
    const audit = createAuditWriter({ database: db.database, process_id: newId('prc') })
    while ((await batchDecisions(db.database, audit)) > 0);
    const log = new DecisionLog({ database: db.database, engine })
    const session = newId('ses')
    for (let i = 0; i < 7; i++) log.append(decide(`kept ${i}`, session))
    await log.close()
    await batchDecisions(db.database, audit)
    const rows = (await listDecisions(db.database.db, { session_id: session })).sort((a, b) => (a.id < b.id ? -1 : 1))
    const event = rows[0]!.batch!
    const root = merkleRoot(rows.map(row => Buffer.from(decisionLeaf(row))))
    const none = () => sql`false`
    const { remove } = decisionClass({ decision: none, session: none })
    const deleted = (ids: string[]) => db.database.db.transaction(tx => remove(tx, ids, Date.now() + 172_800_000))
    await deleted([rows[0]!.id, rows[5]!.id])
    await deleted([rows[2]!.id])
    for (const row of [rows[1]!, rows[6]!]) {
      const { hashes, read } = await batchLeaves(db.database.db, actionDecisions, event)
      const index = hashes.findIndex(hash => hash.equals(leafHash(decisionLeaf(row))))
      const path = await inclusionProof(index, 7, read)
      expect([index, verifyInclusion(leafHash(decisionLeaf(row)), index, 7, path, root)]).toEqual([
        rows.indexOf(row),
        true,
      ])
    }
    await deleted(rows.map(row => row.id))
    expect(await db.database.sql`select 1 from decision_batches where event = ${event}`).toHaveLength(0)
  })

  test('a decision keeps its path to the root of its batch when a whole day of its siblings is dropped; a day that has its batches to itself leaves nothing', async () => {
    const audit = createAuditWriter({ database: db.database, process_id: newId('prc') })
    while ((await batchDecisions(db.database, audit)) > 0);
    const [old, young] = ['2026-01-01', '2026-01-02']
    const log = new DecisionLog({ database: db.database, engine })
    const session = newId('ses')
    const batch = async (of: string, days: readonly string[]) => {
      for (let i = 0; i < 5; i++) log.append(decide(`${of} ${i}`, session))
      await log.flush()
      const rows = (await listDecisions(db.database.db, { session_id: session }))
        .filter(row => row.batch === null)
        .sort((a, b) => (a.id < b.id ? -1 : 1))
      for (const [i, row] of rows.entries())
        await db.database
          .sql`update action_decisions set day = ${days[i % days.length]!}::text::date where id = ${row.id}`
      await batchDecisions(db.database, audit)
      const [{ batch } = { batch: '' }] = await db.database.sql<{ batch: string }[]>`
        select batch from action_decisions where id = ${rows[0]!.id}`
      return { rows, event: batch, root: merkleRoot(rows.map(row => Buffer.from(decisionLeaf(row)))) }
    }
    const shared = await batch('shared', [old, young])
    const own = await batch('own', [old])
    await log.close()
    await db.database.db.transaction(async tx => {
      const batches = await keepLeavesOfDay(tx, old)
      expect(new Set(batches)).toEqual(new Set([shared.event, own.event]))
      await tx.execute(sql`delete from action_decisions where day = ${old}::date`)
      await dropLeaves(tx, batches)
    })
    const kept = await db.database.sql<{ event: string }[]>`
      select event from decision_batches where event in (${shared.event}, ${own.event})`
    expect(kept.map(row => row.event)).toEqual([shared.event])
    const { hashes, read } = await batchLeaves(db.database.db, actionDecisions, shared.event)
    for (const index of [1, 3]) {
      const leaf = leafHash(decisionLeaf(shared.rows[index]!))
      expect(hashes[index]!.equals(leaf)).toBe(true)
      expect(verifyInclusion(leaf, index, 5, await inclusionProof(index, 5, read), shared.root)).toBe(true)
    }
    await db.database.db.transaction(async tx => {
      const batches = await keepLeavesOfDay(tx, young)
      await tx.execute(sql`delete from action_decisions where day = ${young}::date`)
      await dropLeaves(tx, batches)
    })
    expect(await db.database.sql`select 1 from decision_batches where event = ${shared.event}`).toHaveLength(0)
  })

  test('a search finds by subject, resource, effect, rule, revision, time and text, page by page', async () => {
    const log = new DecisionLog({ database: db.database, engine })
    const session_id = newId('ses')
    for (let i = 0; i < 5; i++)
      log.append({
        ...engine.decide('action', actionInput({ kind: `paged${i}`, verb: 'write' }), { session_id }).decision,
        at_ms: now + i,
      })
    await log.close()
    const find = (filter: DecisionFilter, limit = 100, after?: DecisionPlace) =>
      searchDecisions(db.database, { session_id, ...filter }, limit, after)
    const all = (await find({})).items
    expect(all.map(row => row.at_ms - now)).toEqual([4, 3, 2, 1, 0])
    const [rule] = all[0]!.reasons
    for (const [filter, found] of [
      [{ subject_ids: ['sub_ada', 'sub_none'] }, 5],
      [{ subject_ids: [] }, 0],
      [{ resource: 'shop-db', effect: 'deny' }, 5],
      [{ effect: 'allow' }, 0],
      [{ rule: rule!.rule }, 5],
      [{ rule: 'access.default' }, 0],
      [{ revision: '1' }, 5],
      [{ revision: 'ccccccc' }, 5],
      [{ revision: 'abcdef0' }, 0],
      [{ revision: '1234567' }, 0],
      [{ revision: "1' or true" }, 0],
      [{ from_ms: now + 1, to_ms: now + 3 }, 2],
      [{ text: 'Paged3' }, 1],
      [{ text: 'customers page' }, 5],
      [{ text: 'customers nowhere' }, 0],
      [{ text: "' | !" }, 0],
    ] as [DecisionFilter, number][])
      expect((await find(filter)).items, JSON.stringify(filter)).toHaveLength(found)
    const seen: string[] = []
    for (let after: DecisionPlace | undefined; ; ) {
      const page = await find({}, 2, after)
      seen.push(...page.items.map(row => row.id))
      if (page.next === null) break
      after = page.next
    }
    expect(seen).toEqual(all.map(row => row.id))
  })

  test('a revision that is named by seven digits may be the generation, the beginning of a commit, or both', async () => {
    const session_id = newId('ses')
    const [as] = await db.database.sql<{ commit: string }[]>`select commit from revisions where generation = 1`
    const copy = (generation: number, commit: string) => db.database.sql`
      insert into revisions (generation, commit, digest, opa_version, opts, bundle, rules, signature, author, subject_line)
      select ${generation}, ${commit}, digest, opa_version, opts, bundle, rules, signature, author, subject_line from revisions where generation = 1`
    await copy(1_234_567, as!.commit)
    await copy(1_234_568, `1234567${'a'.repeat(33)}`)
    await copy(1_234_569, `9876543${'a'.repeat(33)}`)
    for (const generation of [1_234_567, 1_234_568, 1_234_569])
      await db.database.sql`
        insert into action_decisions (id, at_ms, point, effect, code, generation, input_digest, input, result, reasons, session_id, day)
        values (${`dec_of${generation}`}, ${now}, 'action', 'allow', 'policy', ${generation}, '', '{}', '{}', '[]', ${session_id}, ${dayOf(session_id, 0)}::text::date)`
    const found = async (revision: string) =>
      (await searchDecisions(db.database, { revision, session_id }, 10)).items.map(row => row.generation).sort()
    expect(await found('1234567')).toEqual([1_234_567, 1_234_568])
    expect(await found('1234568')).toEqual([1_234_568])
    expect(await found('9876543')).toEqual([1_234_569])
    expect(await found('98765')).toEqual([])
    await db.database.sql`delete from action_decisions where session_id = ${session_id}`
    await db.database.sql`delete from revisions where generation > 1000000`
  })

  test('what many rows hold, and what only old ones hold, is found newest first all the same', async () => {
    const session_id = newId('ses')
    const day = dayOf(session_id, 0)
    await db.database.sql`
      insert into action_decisions (id, at_ms, point, effect, code, input_digest, input, result, reasons, session_id, words, day)
      select 'dec_many' || lpad(g::text, 5, '0'), ${now}::bigint + g, 'action', 'allow', 'policy', '', '{}', '{}', '[]', ${session_id}::text,
        array_to_tsvector(array['frequent'] || case when g < 600 then array['elder'] else '{}' end), ${day}::text::date
      from generate_series(1, 2000) g`
    const found = async (text: string, limit: number, after?: DecisionPlace) =>
      (await searchDecisions(db.database, { text, session_id }, limit, after)).items.map(row => row.at_ms - now)
    expect(await found('frequent', 3)).toEqual([2000, 1999, 1998])
    expect(await found('elder', 3)).toEqual([599, 598, 597])
    expect(await found('elder', 1000)).toHaveLength(599)
    expect(await found('elder', 2, { at_ms: now + 3, id: 'dec_many00003' })).toEqual([2, 1])
  })

  test('filters find what they name, newest first', async () => {
    const found = await listDecisions(db.database.db, {
      point: 'action',
      effect: 'deny',
      resource: 'shop-db',
      subject_id: 'sub_ada',
      limit: 1,
    })
    expect(found).toHaveLength(1)
    expect(await listDecisions(db.database.db, { session_id: 'ses_none' })).toEqual([])
    expect(await listDecisions(db.database.db, { to_ms: 0 })).toEqual([])
  })
})

describe('rows that the database does not like', () => {
  test('a NUL in the message of a reason keeps neither its decision nor any other out of the log', async () => {
    const nul = await rawEngine({
      action: `package sallyport.action
result := {"effect": "deny", "reasons": [{"rule": "test.rule", "message": $"{input.action.kind} \\u005c is denied"}]}`,
    })
    const log = new DecisionLog({ database: db.database, engine: nul })
    const decided = ['a\u0000b', 'c'].map(
      kind => nul.decide('action', actionInput({ kind }), { session_id: newId('ses') }).decision,
    )
    expect(decided.map(d => log.append(d))).toEqual([true, true])
    expect(await log.close()).toBe(0)
    const row = await getDecision(db.database.db, decided[0]!.id)
    expect(row?.reasons[0]?.message).toBe('a\ufffdb \\ is denied')
    expect(row?.result).toContain('a\\u0000b')
    expect(await getDecision(db.database.db, decided[1]!.id)).toBeDefined()
  })

  test('a row that cannot be written waits in its place, counted, and the others go in', async () => {
    const log = new DecisionLog({ database: db.database, engine, capacity: 3 })
    const [good, other] = [decide('first'), decide('second')]
    const bad = { ...decide('third'), id: 'dec_\u0000' }
    expect([good, bad, other].map(d => log.append(d))).toEqual([true, true, true])
    await log.flush()
    expect(log.waiting).toBe(1)
    expect(await getDecision(db.database.db, other.id)).toBeDefined()
    expect([log.append(decide('fourth')), log.append(decide('fifth')), log.append(decide('sixth'))]).toEqual([
      true,
      true,
      false,
    ])
    expect(await log.close()).toBe(1)
  })

  test('a count goes beyond 2^31 − 1', async () => {
    const log = new DecisionLog({ database: db.database, engine })
    const decision = decide('again and again')
    log.append(decision)
    await log.flush()
    await db.database.sql`update action_decisions set count = 2147483647 where id = ${decision.id}`
    log.append(decision)
    expect(await log.close()).toBe(0)
    expect((await getDecision(db.database.db, decision.id))?.count).toBe(2147483648)
  })
})
