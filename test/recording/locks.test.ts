import { ListObjectVersionsCommand } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Bucket } from '../../src/bucket.ts'
import { newId } from '../../src/ids.ts'
import type { Engine } from '../../src/policy/engine.ts'
import { DecisionLog } from '../../src/policy/log/decision-log.ts'
import { FileStore } from '../../src/recording/file-store.ts'
import { liftHold, setHold } from '../../src/recording/holds.ts'
import type { Journal } from '../../src/recording/journal.ts'
import { LayeredStore } from '../../src/recording/layered-store.ts'
import { Locks } from '../../src/recording/locks.ts'
import { moveRecordings } from '../../src/recording/move.ts'
import { Reader } from '../../src/recording/reader.ts'
import { Retention } from '../../src/recording/retention.ts'
import { S3Store } from '../../src/recording/s3-store.ts'
import { type S3Server, startVersitygw } from '../support/versitygw.ts'
import { GivenEngine } from './decisions.ts'
import { createWorld, type RecordingWorld, sessionFacts, until } from './world.ts'

/** Real locks of a real bucket, from the seal to the deletion, and a move from files into it. */
let server: S3Server
let world: RecordingWorld
let bucket: Bucket
let store: S3Store
let journal: Journal
const engine = new GivenEngine()
beforeAll(async () => {
  ;[server, world] = await Promise.all([startVersitygw(), createWorld()])
  bucket = await Bucket.open(await server.bucket('locked'))
  store = new S3Store(bucket, { locks: true })
  journal = await world.journal({ store })
  await world.test.database
    .sql`insert into retention_floors (class, keep_s, set_by) values ('recording', 0, 'two people')`
})
afterAll(async () => {
  await world?.[Symbol.asyncDispose]()
  await server?.stop()
})

const parts = () => ({
  ...world.control,
  engine,
  decisions: new DecisionLog({ database: world.control.database, engine: engine as unknown as Engine }),
  store,
})
const acting = (session_id: string) => ({ ...world.control, session_id, by: newId('sub'), decision_id: newId('dec') })

async function sealed(into: Journal = journal): Promise<{ id: string; session_id: string }> {
  const facts = sessionFacts()
  const recorder = await into.open(facts)
  recorder.append([{ conn: 'con_1', kind: 'statement', body: { text: 'select 1' } }])
  await recorder.close('done')
  await until(() => into.pending === 0)
  world.ended.set(facts.session_id, Date.now())
  await world.sealer.sealDue()
  return { id: recorder.recording_id, session_id: facts.session_id }
}

async function versions(id: string) {
  const sdk = server.client()
  const { Versions = [] } = await sdk.send(new ListObjectVersionsCommand({ Bucket: 'locked', Prefix: `${id}/` }))
  return Promise.all(Versions.map(async v => bucket.lockOf(v.Key!, v.VersionId!)))
}
const row = async (id: string) =>
  (
    await world.test.database
      .sql`select state, receipt, kept_until_ms::text, kept_hold from recordings where id = ${id}`
  )[0]!
const typesOf = async (session: string) => (await world.events(session)).map(e => e.type)

describe('a store that locks', () => {
  test('RT2: from the seal on it keeps each version until the day of policy; told once, with an event', async () => {
    engine.answer = () => ({ keep_s: 2, legal_hold: false })
    const { id, session_id } = await sealed()
    expect(await new Locks(parts()).applyDue()).toBe(1)
    expect(await new Locks(parts()).applyDue()).toBe(0)
    const [lock] = await versions(id)
    expect(lock?.until_ms).toBeGreaterThan(Date.now())
    expect((await row(id))['kept_until_ms']).toBe(String(lock?.until_ms))
    expect(await typesOf(session_id)).toEqual(['recording.started', 'recording.sealed', 'recording.locked'])
    const reader = new Reader({ ...world.replay, store, identities: [world.identity] })
    expect((await reader.verify(session_id)).ok).toBe(true)
    await expect.poll(async () => (await new Retention(parts()).sweep()).deleted, { timeout: 10_000 }).toContain(id)
    expect(await versions(id)).toEqual([])
  })

  test('RT2: where policy keeps for less than it was locked for, the keys go at once, and the receipt waits for the lock', async () => {
    engine.answer = () => ({ keep_s: 2, legal_hold: false })
    const { id, session_id } = await sealed()
    await new Locks(parts()).applyDue()
    engine.answer = () => ({ keep_s: 0, legal_hold: false })
    const retention = new Retention(parts())
    expect(await retention.sweep()).toMatchObject({ deleted: [], waiting: [id], failed: [] })
    expect(await retention.finishStarted()).toMatchObject({ waiting: [id] })
    const waiting = await row(id)
    expect(waiting).toMatchObject({ state: 'deleted', receipt: { step: 'keys', keys_destroyed: 1 } })
    expect((waiting['receipt'] as { locked_until_ms: number }).locked_until_ms).toBeGreaterThan(Date.now())
    expect(await versions(id)).toHaveLength(1)
    await expect.poll(async () => (await retention.finishStarted()).deleted, { timeout: 10_000 }).toContain(id)
    expect(await row(id)).toMatchObject({ receipt: { step: 'done' } })
    expect((await row(id))['receipt']).not.toHaveProperty('locked_until_ms')
    expect(await versions(id)).toEqual([])
    const types = await typesOf(session_id)
    expect(types.filter(type => type === 'recording.delete_waits')).toHaveLength(1)
    expect(types.filter(type => type === 'recording.deleted')).toHaveLength(1)
  })

  test('RT2: a legal hold is a flag in the store too, and goes with the case', async () => {
    engine.answer = () => null // policy gives no answer: kept, and not locked
    const { id, session_id } = await sealed()
    const hold = await setHold({ ...acting(session_id), reason: 'a lawsuit', case: 'C-7' })
    await new Locks(parts()).applyDue()
    expect(await versions(id)).toEqual([{ until_ms: null, hold: true }])
    await expect(store.removeRecording(id)).rejects.toMatchObject({ until_ms: null, code: 'conflict' })
    await liftHold({ ...acting(session_id), hold_id: hold.id, reason: 'settled' })
    await new Locks(parts()).applyDue()
    expect(await versions(id)).toEqual([{ until_ms: null, hold: false }])
    expect((await row(id))['kept_hold']).toBe(false)
  })

  test('a policy that keeps for longer than before makes the lock longer', async () => {
    engine.answer = () => ({ keep_s: 3, legal_hold: false })
    const { id } = await sealed()
    await new Locks(parts()).applyDue()
    const [before] = await versions(id)
    engine.answer = () => ({ keep_s: 6, legal_hold: false })
    await new Retention(parts()).sweep()
    await new Locks(parts()).applyDue()
    const [after] = await versions(id)
    expect(after!.until_ms! - before!.until_ms!).toBeGreaterThan(2_000)
  })
})

describe('a move from one store to another', () => {
  const former = () => new FileStore(`${world.folder}/former`)
  const into = () => new LayeredStore(new S3Store(bucket, { locks: false }), [former()])
  let old: Journal
  beforeAll(async () => {
    old = await world.journal({ store: former(), spool_root: `${world.folder}/spool-former` })
  })
  const move = (more: object = {}) => moveRecordings({ ...world.control, store: into(), by: 'root@host', ...more })

  test('takes everything along, also while sessions run, and says what it did', async () => {
    const one = await sealed(old)
    const facts = sessionFacts()
    const live = await old.open(facts)
    live.append([{ conn: 'con_1', kind: 'statement', body: { text: 'select 2' } }])
    await live.flush()
    await until(async () => (await former().list(live.recording_id)).length > 0)
    const first = await move()
    expect(first).toMatchObject({ segments: 2, failed: [], left: 0 })
    live.append([{ conn: 'con_1', kind: 'statement', body: { text: 'select 3' } }])
    await live.close('done')
    await until(() => old.pending === 0)
    expect(await move()).toMatchObject({ segments: 1, left: 0 })
    expect(await move()).toMatchObject({ segments: 0, left: 0 })
    world.ended.set(facts.session_id, Date.now())
    await world.sealer.sealDue()
    const reader = new Reader({
      ...world.replay,
      store: new S3Store(bucket, { locks: false }),
      identities: [world.identity],
    })
    for (const session of [one.session_id, facts.session_id]) expect((await reader.verify(session)).ok).toBe(true)
    expect(await former().list(one.id)).toEqual([])
    const events = await world.test.database
      .sql`select body::jsonb as body from audit_inbox where type = 'recordings.moved'`
    expect(events.map(e => e['body'])).toMatchObject([{ segments: 2 }, { segments: 1 }, { segments: 0 }])
  })

  test('goes on where it was killed, and loses nothing before it is in its new place', async () => {
    const { id, session_id } = await sealed(old)
    const killed = Object.assign(new S3Store(bucket, { locks: false }), {})
    const dying = new LayeredStore(killed, [
      Object.assign(former(), { removeRecording: () => Promise.reject(new Error('killed')) }),
    ])
    expect(await move({ store: dying })).toMatchObject({ failed: [id] })
    expect(await former().list(id)).toHaveLength(1)
    expect(await move()).toMatchObject({ segments: 0, left: 0, failed: [] })
    expect(await former().list(id)).toEqual([])
    const reader = new Reader({
      ...world.replay,
      store: new S3Store(bucket, { locks: false }),
      identities: [world.identity],
    })
    expect((await reader.verify(session_id)).ok).toBe(true)
  })

  test('a segment that is not what was noted is not moved, and stays where it is', async () => {
    const { id } = await sealed(old)
    const [name] = await former().list(id)
    const { writeFileSync } = await import('node:fs')
    writeFileSync(`${world.folder}/former/${name}`, 'not what was noted')
    const moved = await move()
    expect(moved.failed).toEqual([id])
    expect(moved.left).toBe(1)
    expect(await former().list(id)).toEqual([name])
  })
})
