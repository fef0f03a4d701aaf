import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { effectsOf, personalRows } from '../../src/control-keeping.ts'
import { newId } from '../../src/ids.ts'
import type { Engine } from '../../src/policy/engine.ts'
import { batchDecisions } from '../../src/policy/log/decision-batch.ts'
import { DecisionLog } from '../../src/policy/log/decision-log.ts'
import { Erasure } from '../../src/recording/erasure.ts'
import { raiseFloor, readFloors } from '../../src/recording/floors.ts'
import { liftHold, setHold } from '../../src/recording/holds.ts'
import type { Journal } from '../../src/recording/journal.ts'
import { type Actor, listProposals, Proposals } from '../../src/recording/proposals.ts'
import { GivenEngine } from './decisions.ts'
import { createWorld, type RecordingWorld, sessionFacts, until } from './world.ts'

/** What takes two people: a lower floor, and the erasure of what one person left behind. */
let world: RecordingWorld
let journal: Journal
const engine = new GivenEngine()
const person = (id = newId('sub')): Actor => ({ id, kind: 'person', token: null })
const [sam, ava] = [person(), person()]
beforeAll(async () => {
  world = await createWorld()
  journal = await world.journal()
})
afterAll(() => world[Symbol.asyncDispose]())
beforeEach(() => {
  engine.answer = () => ({ keep_s: 0, legal_hold: false })
})

const decisionLog = () => new DecisionLog({ database: world.control.database, engine: engine as unknown as Engine })
const erasureOf = (more: object = {}) =>
  new Erasure({ ...world.control, store: world.store, engine, decisions: decisionLog(), rows: personalRows(), ...more })
const proposalsOf = (more: object = {}) =>
  new Proposals({ ...world.control, effects: effectsOf(world.control.audit, erasureOf()), ...more })
const dec = () => newId('dec')
const lower = (keep_s = 3600) => ({
  kind: 'floor' as const,
  body: { class: 'recording', keep_s },
  reason: 'a test',
  decision_id: dec(),
})
const typesBy = async (id: string) => {
  const rows = await world.test.database
    .sql`select type from audit_inbox where body::jsonb ->> 'proposal' = ${id} order by seq`
  return rows.map(row => row['type'])
}

describe('a floor', () => {
  test('is a day where nobody said otherwise; one person raises it, and nobody lowers it alone', async () => {
    const { database, audit } = world.control
    const change = { database, audit, by: sam.id, reason: 'audits', decision_id: dec(), class: 'recording' as const }
    expect(await readFloors(database.db)).toMatchObject({ recording: 86_400, sessions: 86_400 })
    expect(await raiseFloor({ ...change, keep_s: 30 * 86_400 })).toBe(true)
    expect(await raiseFloor({ ...change, keep_s: 86_400 })).toBe(false)
    expect((await readFloors(database.db)).recording).toBe(30 * 86_400)
  })

  test('goes down when a second person confirms; both stand in the log', async () => {
    const proposals = proposalsOf()
    const { id } = await proposals.propose(sam, lower())
    await expect(proposals.confirm(sam, id, dec())).rejects.toMatchObject({ code: 'policy_denied' })
    expect((await readFloors(world.control.database.db)).recording).toBe(30 * 86_400)
    await proposals.confirm(ava, id, dec())
    expect((await readFloors(world.control.database.db)).recording).toBe(3600)
    await expect(proposals.confirm(ava, id, dec())).rejects.toMatchObject({ code: 'gone' })
    expect(await typesBy(id)).toEqual(['proposal.made', 'proposal.confirmed'])
    const [event] = await world.test.database.sql`
      select body::jsonb as body from audit_inbox where type = 'retention.floor_changed' order by seq desc limit 1`
    expect(event?.['body']).toMatchObject({ before_s: 30 * 86_400, keep_s: 3600, by: sam.id, confirmed_by: ava.id })
  })

  test('is no matter for machines and tokens', async () => {
    const proposals = proposalsOf()
    const { id } = await proposals.propose(sam, lower(0))
    for (const actor of [
      { ...ava, kind: 'machine' },
      { ...ava, token: { id: 'tok_x' } },
    ]) {
      await expect(proposals.confirm(actor, id, dec())).rejects.toMatchObject({ code: 'policy_denied' })
      await expect(async () => proposals.propose(actor, lower())).rejects.toMatchObject({ code: 'policy_denied' })
    }
    await proposals.refuse(sam, id, dec(), 'thought better of it')
    await expect(proposals.confirm(ava, id, dec())).rejects.toMatchObject({ code: 'gone' })
  })

  test('the database refuses a confirmation by the one who proposed, too', async () => {
    const { id } = await proposalsOf().propose(sam, lower(0))
    const forged = world.control.database
      .sql`update proposals set state = 'confirmed', answered_by = proposed_by where id = ${id}`
    await expect(forged).rejects.toMatchObject({ code: '23514' })
    await proposalsOf().refuse(ava, id, dec(), undefined)
  })

  test('what nobody answered for a day is over', async () => {
    const { id } = await proposalsOf({ expires_s: 0 }).propose(sam, lower(0))
    await expect(proposalsOf().confirm(ava, id, dec())).rejects.toMatchObject({ code: 'gone' })
    expect(await proposalsOf().expireDue()).toBe(1)
    expect((await listProposals(world.control.database.db)).find(p => p.id === id)?.state).toBe('expired')
    expect(await typesBy(id)).toEqual(['proposal.made', 'proposal.expired'])
  })

  test('two who confirm and refuse at once leave one answer', async () => {
    const { id } = await proposalsOf().propose(sam, lower(7200))
    const answers = await Promise.allSettled([
      proposalsOf().confirm(ava, id, dec()),
      proposalsOf().refuse(ava, id, dec(), 'no'),
    ])
    expect(answers.filter(a => a.status === 'fulfilled')).toHaveLength(1)
  })
})

/** A person with a recording, a decision, an event and an address, who may not act any more. */
async function somebody(): Promise<{
  id: string
  email: string
  rec: string
  ses: string
  dec: string
  told: string[]
}> {
  const { sql } = world.test.database
  const id = newId('sub')
  const email = `${id}@example.test`
  const facts = sessionFacts({ subject_id: id, subject_name: 'Erin Engineer' })
  await sql`insert into subjects (id, kind, issuer, subject, name, email, claims, disabled_at)
    values (${id}, 'person', 'https://idp', ${id}, 'Erin Engineer', ${email}, '{"phone": "555"}', now() - interval '1 second')`
  const recorder = await journal.open(facts)
  recorder.append([{ conn: 'con_1', kind: 'statement', body: { text: 'select 1' } }])
  await recorder.close('done')
  await until(() => journal.pending === 0)
  world.ended.set(facts.session_id, Date.now())
  await world.sealer.sealDue()
  const decision = dec()
  await sql`insert into decisions (id, at_ms, point, effect, code, input_digest, input, result, reasons, subject_id, session_id)
    values (${decision}, ${Date.now()}, 'access', 'allow', 'policy', 'd', ${`{"subject":{"email":"${email}"}}`}, '{}', '[]', ${id}, ${facts.session_id})`
  const { audit, database } = world.control
  const told = await database.db.transaction(async tx => [
    await audit.record(tx, {
      type: 'session.opened',
      body: { why: 'to mend' },
      subject_id: id,
      session_id: facts.session_id,
    }),
    await audit.record(tx, { type: 'alert.raised', body: { about: `mail of ${email}` } }),
  ])
  await batchDecisions(database, audit)
  await sql`update audit_places set idx = seq where idx is null` // as the sequencer does
  return { id, email, rec: recorder.recording_id, ses: facts.session_id, dec: decision, told }
}

async function left({ id, email, rec, dec: decision, told }: Awaited<ReturnType<typeof somebody>>) {
  const { sql } = world.test.database
  const [row] = await sql`select
    (select state from recordings where id = ${rec}) as recording,
    (select subject_name from recordings where id = ${rec}) as shown,
    (select count(wrapped)::int from recording_keys where recording_id = ${rec}) as keys,
    (select input from decisions where id = ${decision}) as input,
    (select count(body)::int from audit_inbox where id = any(${told}::text[])) as told,
    (select name from subjects where id = ${id}) as name,
    (select count(*)::int from audit_inbox where strpos(body, ${email}) > 0) as mentions`
  return row!
}

describe('an erasure', () => {
  const propose = (subject_id: string) =>
    proposalsOf().propose(sam, { kind: 'erasure', body: { subject_id }, reason: 'asked for it', decision_id: dec() })
  const confirmed = async (subject_id: string) => {
    const { id } = await propose(subject_id)
    await proposalsOf().confirm(ava, id, dec())
    return id
  }

  test('destroys the keys, and takes what events and decisions said, and the name; proofs stay', async () => {
    const erin = await somebody()
    const other = await somebody()
    expect(await erasureOf().preview(erin.id)).toMatchObject({
      recordings: 1,
      held: 0,
      rows: { events: 2, decisions: 1 },
      name: 'erased',
    })
    expect(await left(erin)).toMatchObject({ recording: 'sealed', keys: 1, told: 2 })
    const id = await confirmed(erin.id)
    expect(await erasureOf().run()).toBe(1)
    expect(await left(erin)).toMatchObject({
      recording: 'deleted',
      shown: 'erased person',
      keys: 0,
      input: 'null',
      told: 0,
      name: 'erased person',
      mentions: 0,
    })
    expect(await left(other)).toMatchObject({ recording: 'sealed', keys: 1, told: 2, name: 'Erin Engineer' })
    const { sql } = world.test.database
    const [decision] = await sql`select erased, input_digest from decisions where id = ${erin.dec}`
    expect(decision).toEqual({ erased: ['/input'], input_digest: 'd' })
    const [recording] = await sql`select receipt from recordings where id = ${erin.rec}`
    expect(recording?.['receipt']).toMatchObject({ erasure: id, keys_destroyed: 1, step: 'done', keep_s: 0 })
    expect(await typesBy(id)).toEqual(['proposal.made', 'proposal.confirmed', 'subject.erased'])
    expect(await erasureOf().run()).toBe(0)
  })

  test('leaves what a legal hold keeps, says so once, and goes on when it is lifted', async () => {
    const erin = await somebody()
    const acting = { ...world.control, session_id: erin.ses, by: sam.id, decision_id: dec() }
    const hold = await setHold({ ...acting, reason: 'a lawsuit', case: 'C-1' })
    const id = await confirmed(erin.id)
    for (let i = 0; i < 2; i++) expect(await erasureOf().run()).toBe(0)
    expect(await left(erin)).toMatchObject({ recording: 'sealed', keys: 1, told: 1, name: 'Erin Engineer' })
    expect((await left(erin))['input']).not.toBe('null')
    expect((await listProposals(world.control.database.db)).find(p => p.id === id)?.progress).toMatchObject({
      waiting: { held: 1 },
    })
    await liftHold({ ...acting, hold_id: hold.id, reason: 'settled' })
    expect(await erasureOf().run()).toBe(1)
    expect(await left(erin)).toMatchObject({
      recording: 'deleted',
      keys: 0,
      told: 0,
      input: 'null',
      name: 'erased person',
    })
    expect(await typesBy(id)).toEqual([
      'proposal.made',
      'proposal.confirmed',
      'subject.erasure_waits',
      'subject.erased',
    ])
  })

  test('keeps the name where policy keeps it', async () => {
    engine.answer = (_, input) => ({
      keep_s: (input as { class: string }).class === 'identity' ? 3600 : 0,
      legal_hold: false,
    })
    const erin = await somebody()
    await confirmed(erin.id)
    expect(await erasureOf().run()).toBe(1)
    expect(await left(erin)).toMatchObject({ recording: 'deleted', told: 0, name: 'Erin Engineer' })
  })

  test('RT2: killed at any step, the next run finishes, and every event is there once', async () => {
    for (const step of ['keys', 'data', 'rows'] as const) {
      const erin = await somebody()
      const id = await confirmed(erin.id)
      const rows = personalRows().map(each => ({
        ...each,
        erase: async (...args: Parameters<typeof each.erase>) => {
          await each.erase(...args)
          if (step === 'rows' && each.name === 'decisions') throw new Error('killed')
        },
      }))
      const onStep = (at: string) => {
        if (at === step) throw new Error('killed')
      }
      expect(await erasureOf({ rows, onStep }).run()).toBe(0)
      expect(await erasureOf().run()).toBe(1)
      expect(await left(erin)).toMatchObject({
        recording: 'deleted',
        keys: 0,
        told: 0,
        input: 'null',
        name: 'erased person',
      })
      expect(await typesBy(id)).toEqual(['proposal.made', 'proposal.confirmed', 'subject.erased'])
      expect((await world.events(erin.ses)).filter(e => e.type === 'recording.deleted')).toHaveLength(1)
    }
  })

  test('of somebody who may still act is refused, as is that of nobody', async () => {
    const id = newId('sub')
    await world.test.database
      .sql`insert into subjects (id, kind, issuer, subject, name) values (${id}, 'person', 'https://idp', ${id}, 'Eli')`
    await expect(erasureOf().check(world.control.database.db, id)).rejects.toMatchObject({ code: 'conflict' })
    await expect(erasureOf().check(world.control.database.db, newId('sub'))).rejects.toMatchObject({
      code: 'not_found',
    })
    const { id: proposal } = await propose(id)
    await expect(proposalsOf().confirm(ava, proposal, dec())).rejects.toMatchObject({ code: 'conflict' })
  })
})
