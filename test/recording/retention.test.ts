import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { newId } from '../../src/ids.ts'
import type { Engine } from '../../src/policy/engine.ts'
import { DecisionLog } from '../../src/policy/log/decision-log.ts'
import { liftHold, setHold, standingHolds } from '../../src/recording/holds.ts'
import type { Journal } from '../../src/recording/journal.ts'
import { findRecording, sealIsInLog } from '../../src/recording/listing.ts'
import { Reader } from '../../src/recording/reader.ts'
import type { Receipt } from '../../src/recording/receipt.ts'
import { Retention } from '../../src/recording/retention.ts'
import { GivenEngine } from './decisions.ts'
import { createWorld, type RecordingWorld, sessionFacts, until } from './world.ts'

let world: RecordingWorld
let journal: Journal
const engine = new GivenEngine()
beforeAll(async () => {
  world = await createWorld()
  journal = await world.journal()
  await world.test.database
    .sql`insert into retention_floors (class, keep_s, set_by) values ('recording', 0, 'two people')`
})
afterAll(() => world[Symbol.asyncDispose]())
beforeEach(() => {
  engine.answer = () => ({ keep_s: 60, legal_hold: false })
})

const retention = (onStep?: (step: Receipt['step'], id: string) => void) =>
  new Retention({
    ...world.control,
    store: world.store,
    engine,
    decisions: new DecisionLog({ database: world.control.database, engine: engine as unknown as Engine }),
    ...(onStep === undefined ? {} : { onStep }),
  })

/** A sealed recording whose seal is `age_s` old by the database's clock. */
async function sealed(age_s: number): Promise<{ id: string; session_id: string }> {
  const facts = sessionFacts()
  const recorder = await journal.open(facts)
  recorder.append([{ conn: 'con_1', kind: 'statement', body: { text: 'select 1' } }])
  await recorder.close('done')
  await until(() => journal.pending === 0)
  world.ended.set(facts.session_id, Date.now())
  await world.sealer.sealDue()
  await world.test.database
    .sql`update recordings set sealed_at = sealed_at - make_interval(secs => ${age_s}) where session_id = ${facts.session_id}`
  return { id: recorder.recording_id, session_id: facts.session_id }
}

async function state(id: string) {
  const { sql } = world.test.database
  const [row] = await sql<
    { state: string; receipt: Receipt | null }[]
  >`select state, receipt from recordings where id = ${id}`
  const [keys] = await sql<{ wrapped: number; destroyed: number }[]>`
    select count(wrapped)::int as wrapped, count(destroyed_at)::int as destroyed from recording_keys where recording_id = ${id}`
  const [segments] = await sql<
    { n: number }[]
  >`select count(*)::int as n from recording_segments where recording_id = ${id}`
  return { ...row!, ...keys!, segments: segments!.n, data: existsSync(join(world.folder, 'store', id)) }
}

const acting = (session_id: string) => ({ ...world.control, session_id, by: newId('sub'), decision_id: newId('dec') })

describe('retention', () => {
  test('RT1: what expired loses its key, its data and its rows, and leaves a receipt that its seal can be held against', async () => {
    const { id, session_id } = await sealed(61)
    const before = (await findRecording(world.control.database.db, session_id))!.recording
    expect(await sealIsInLog(world.control.database.db, before)).toBe(true)
    const swept = await retention().sweep()
    expect(swept.deleted).toContain(id)
    const after = await state(id)
    expect(after).toMatchObject({ state: 'deleted', wrapped: 0, destroyed: 1, segments: 0, data: false })
    expect(after.receipt).toMatchObject({
      step: 'done',
      keep_s: 60,
      segments: 1,
      keys_destroyed: 1,
      commit: 'c0ffee',
      digest: 'd1ce',
      seal_hash: before.seal_hash,
    })
    const event = (await world.events(session_id)).find(e => e.type === 'recording.deleted')
    expect(event?.body).toMatchObject({ recording: id, seal_hash: before.seal_hash })
    const reader = new Reader({ ...world.replay, store: world.store, identities: [world.identity] })
    await expect(reader.verify(session_id)).rejects.toMatchObject({ code: 'gone' })
  })

  test('RT1: nothing goes a second before its time', async () => {
    const { id } = await sealed(55)
    expect((await retention().sweep()).deleted).not.toContain(id)
    expect((await state(id)).state).toBe('sealed')
  })

  test('RT1: an undefined point keeps, and so does a hold that policy demands', async () => {
    const { id } = await sealed(100)
    engine.answer = () => null
    expect(await retention().sweep()).toMatchObject({ deleted: [], logs: {} })
    engine.answer = () => ({ keep_s: 60, legal_hold: true })
    expect((await retention().sweep()).deleted).toEqual([])
    expect((await state(id)).wrapped).toBe(1)
  })

  test('RT2: a hold that was set between the listing and the deletion keeps the recording; lifted, it goes', async () => {
    const { id, session_id } = await sealed(100)
    const { control } = world
    let hold: string | undefined
    const transaction = async (run: Parameters<typeof control.database.db.transaction>[0]) => {
      hold ??= (await setHold({ ...acting(session_id), reason: 'case 12' })).id // the listing is over, the deletion begins
      return control.database.db.transaction(run)
    }
    const db = new Proxy(control.database.db, {
      get: (target, name, self) => (name === 'transaction' ? transaction : Reflect.get(target, name, self)),
    })
    const racing = new Retention({
      ...control,
      database: { ...control.database, db },
      store: world.store,
      engine,
      decisions: new DecisionLog({ database: control.database, engine: engine as unknown as Engine }),
    })
    expect((await racing.sweep()).deleted).not.toContain(id)
    expect((await state(id)).state).toBe('sealed')
    await liftHold({ ...acting(session_id), hold_id: hold! })
    await expect(liftHold({ ...acting(session_id), hold_id: hold! })).rejects.toMatchObject({ code: 'conflict' })
    expect((await racing.sweep()).deleted).toContain(id)
    await expect(setHold({ ...acting(session_id), reason: 'too late' })).rejects.toMatchObject({ code: 'gone' })
    expect((await world.events(session_id)).map(e => e.type)).toEqual([
      'recording.started',
      'recording.sealed',
      'hold.set',
      'hold.lifted',
      'recording.deleted',
    ])
  })

  test('RT2: a hold and a deletion at the same moment: one comes first, and the other sees it', async () => {
    for (let i = 0; i < 5; i++) {
      const { id, session_id } = await sealed(100)
      const [held] = await Promise.allSettled([setHold({ ...acting(session_id), reason: 'case' }), retention().sweep()])
      const after = await state(id)
      expect(after.state).toBe(held.status === 'fulfilled' ? 'sealed' : 'deleted')
      expect(after.wrapped).toBe(held.status === 'fulfilled' ? 1 : 0)
    }
  })

  for (const step of ['keys', 'data'] as const) {
    test(`RT2: killed after the step "${step}", the next run finishes, and the event is there once`, async () => {
      const { id, session_id } = await sealed(100)
      const killed = await retention((at, which) => {
        if (at === step && which === id) throw new Error('killed')
      }).sweep()
      expect(killed.failed).toContain(id)
      const half = await state(id)
      expect(half).toMatchObject({ state: 'deleted', wrapped: 0, segments: 1, data: step === 'keys' })
      expect((await retention().sweep()).deleted).toContain(id)
      expect(await state(id)).toMatchObject({ segments: 0, data: false, receipt: { step: 'done' } })
      expect((await world.events(session_id)).filter(e => e.type === 'recording.deleted')).toHaveLength(1)
    })
  }

  test('RT2: without its event in the log no key is destroyed', async () => {
    const { id } = await sealed(100)
    await world.test.database.sql`alter table audit_inbox rename to audit_inbox_away`
    const swept = await retention().sweep()
    await world.test.database.sql`alter table audit_inbox_away rename to audit_inbox`
    expect(swept.failed).toContain(id)
    expect(await state(id)).toMatchObject({ state: 'sealed', wrapped: 1 })
  })

  test('RT2: a rule of 30 s where days were meant keeps a day: the floor holds, in the run and in its preview', async () => {
    const { sql } = world.test.database
    engine.answer = () => ({ keep_s: 30, legal_hold: false })
    const { id } = await sealed(3600)
    await sql`update retention_floors set keep_s = 86400 where class = 'recording'`
    expect((await retention().preview()).recordings.map(r => r.recording_id)).not.toContain(id)
    expect((await retention().sweep()).deleted).not.toContain(id)
    const later = await retention().preview({ at_ms: Date.now() + 86_400_000 })
    expect(later.recordings).toContainEqual(expect.objectContaining({ recording_id: id, keep_s: 86_400 }))
    await sql`update retention_floors set keep_s = 0 where class = 'recording'`
    expect((await retention().preview()).recordings.map(r => r.recording_id)).toContain(id)
    expect((await state(id)).state).toBe('sealed') // a preview deletes nothing
    expect((await retention().sweep()).deleted).toContain(id)
    expect((await state(id)).receipt).toMatchObject({ keep_s: 30, floor_s: 0 })
  })

  test('RT2: a floor that is raised between the listing and the deletion keeps the recording', async () => {
    const { id } = await sealed(100)
    const { control } = world
    const transaction = async (run: Parameters<typeof control.database.db.transaction>[0]) => {
      await world.test.database.sql`update retention_floors set keep_s = 86400 where class = 'recording'`
      return control.database.db.transaction(run)
    }
    const db = new Proxy(control.database.db, {
      get: (target, name, self) => (name === 'transaction' ? transaction : Reflect.get(target, name, self)),
    })
    const racing = new Retention({
      ...control,
      database: { ...control.database, db },
      store: world.store,
      engine,
      decisions: new DecisionLog({ database: control.database, engine: engine as unknown as Engine }),
    })
    expect((await racing.sweep()).deleted).not.toContain(id)
    expect((await state(id)).wrapped).toBe(1)
    await world.test.database.sql`update retention_floors set keep_s = 0 where class = 'recording'`
  })

  test('a preview counts what is held as held, and lists nothing of it', async () => {
    const { id, session_id } = await sealed(100)
    await setHold({ ...acting(session_id), reason: 'case 12', case: 'C-12' })
    const preview = await retention().preview()
    expect(preview.recordings.map(r => r.recording_id)).not.toContain(id)
    expect(preview.kept.held).toBeGreaterThan(0)
    expect(await standingHolds(world.control.database.db, 'C-12')).toMatchObject([{ session_id, case: 'C-12' }])
    expect((await findRecording(world.control.database.db, session_id))!.holds).toBe(1)
  })

  test('a live recording is never asked about', async () => {
    const recorder = await journal.open(sessionFacts())
    engine.asked.length = 0
    const swept = await retention().sweep()
    expect(swept.kept.live).toBeGreaterThan(0)
    expect(
      engine.asked.filter(
        ({ input }) => (input as { recording: { id: string } | null }).recording?.id === recorder.recording_id,
      ),
    ).toEqual([])
    await recorder.close('done')
  })
})
