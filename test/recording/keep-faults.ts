import assert from 'node:assert/strict'
import { join } from 'node:path'
import { createAuditWriter } from '../../src/audit/writer.ts'
import type { Database } from '../../src/db/database.ts'
import { newId } from '../../src/ids.ts'
import type { Engine } from '../../src/policy/engine.ts'
import { DecisionLog } from '../../src/policy/log/decision-log.ts'
import { FileStore } from '../../src/recording/file-store.ts'
import { LayeredStore } from '../../src/recording/layered-store.ts'
import { moveRecordings } from '../../src/recording/move.ts'
import { Reader } from '../../src/recording/reader.ts'
import { Retention } from '../../src/recording/retention.ts'
import type { KeepingStore } from '../../src/recording/store.ts'
import type { Tail } from '../support/faults/disk.ts'
import { everyFault, type Fault, type Faults } from '../support/faults/faults.ts'
import { GivenEngine } from './decisions.ts'
import type { FaultRun } from './fault-runs.ts'
import { type RecordingWorld, sessionFacts, until } from './world.ts'

interface Kept {
  readonly id: string
  readonly session_id: string
}

function rooted(what: string, folder: string, kind: Fault, power: Tail | undefined) {
  const name = power === undefined ? kind : `power-${power}`
  return { kind, machine: power !== undefined, root: (at: number) => join(folder, `${what}-${name}-${at}`) }
}

/** A sealed recording of a few segments in a store of its own, whose seal is two days old. */
async function sealedIn(world: RecordingWorld, faults: Faults, store: KeepingStore): Promise<Kept> {
  const { database } = world.gateway
  const process_id = newId('prc')
  await world.test.database
    .sql`insert into processes (id, role, host, pid) values (${process_id}, 'gateway', 'test', ${process.pid})`
  const facts = sessionFacts()
  const journal = await world.journal({
    store,
    process_id,
    spool_root: join(faults.root!, 'spool'),
    tuning: { cutMs: 20 },
  })
  const recorder = await journal.open(facts)
  for (let i = 0; i < 3; i++) {
    recorder.append([{ conn: 'con_1', kind: 'statement', body: { text: `select ${i}` } }])
    await until(async () => (await store.list(recorder.recording_id)).length > i)
  }
  await recorder.close('done')
  await until(() => journal.pending === 0)
  await journal.close()
  world.ended.set(facts.session_id, Date.now())
  await world.sealer.sealDue()
  await database.sql`select 1`
  await world.test.database
    .sql`update recordings set sealed_at = sealed_at - interval '2 days' where session_id = ${facts.session_id}`
  return { id: recorder.recording_id, session_id: facts.session_id }
}

/** Control as the fault sees it: each transaction and each event is a step. */
function control(world: RecordingWorld, faults: Faults) {
  const { database } = world.control
  const stepped: Database = {
    db: faults.wrap('database', database.db, ['transaction', 'update']),
    sql: database.sql,
    close: async () => {},
  }
  return {
    database: stepped,
    audit: faults.wrap('audit', createAuditWriter({ database, process_id: newId('prc') }), ['record']),
  }
}

async function stateOf(world: RecordingWorld, { id, session_id }: Kept, store: KeepingStore) {
  const [row] = await world.test.database.sql<{ state: string; step: string | null; keys: number; segments: number }[]>`
    select state, receipt ->> 'step' as step,
      (select count(wrapped)::int from recording_keys where recording_id = ${id}) as keys,
      (select count(*)::int from recording_segments where recording_id = ${id}) as segments
    from recordings where id = ${id}`
  const told = (await world.events(session_id)).filter(event => event.type === 'recording.deleted').length
  return { ...row!, told, files: (await store.list(id)).length }
}

/** A deletion at every fault: never data without its key's end and the event of it, and the next run finishes. */
export function deleteAtEveryFault({ world, folder, kind, power, parallel: _, ...slice }: FaultRun): Promise<number> {
  return everyFault({ ...rooted('delete', folder, kind, power), ...slice }, async faults => {
    const store = new FileStore(join(faults.root!, 'store'))
    const kept = await sealedIn(world, faults, store)
    const engine = new GivenEngine()
    engine.answer = (_, input) =>
      (input as { recording: { id: string } | null }).recording?.id === kept.id
        ? { keep_s: 60, legal_hold: false }
        : null
    const decisions = new DecisionLog({ database: world.control.database, engine: engine as unknown as Engine })
    const retention = (side: Pick<RecordingWorld['control'], 'database' | 'audit'>) =>
      new Retention({ ...side, store, engine, decisions })
    faults.settle()
    await faults.during(() => retention(control(world, faults)).sweep()).catch(() => {})
    if (power !== undefined && faults.struck !== undefined) faults.reset(power)
    const half = await stateOf(world, kept, store)
    if (half.keys === 0)
      assert.deepEqual([half.state, half.told], ['deleted', 1], 'keys end with the receipt and its event')
    else
      assert.deepEqual(
        [half.state, half.told, half.files, half.segments],
        ['sealed', 0, 3, 3],
        'nothing went before its key',
      )
    await retention(world.control).sweep()
    const whole = await stateOf(world, kept, store)
    assert.deepEqual(whole, { state: 'deleted', step: 'done', keys: 0, segments: 0, told: 1, files: 0 })
  })
}

/** A move at every fault: at any moment each segment verifies from the two places together, and the next run finishes. */
export function moveAtEveryFault({ world, folder, kind, power, parallel: _, ...slice }: FaultRun): Promise<number> {
  return everyFault({ ...rooted('move', folder, kind, power), ...slice }, async faults => {
    const [current, former] = ['current', 'former'].map(name => new FileStore(join(faults.root!, name))) as [
      FileStore,
      FileStore,
    ]
    const store = new LayeredStore(current, [former])
    const kept = await sealedIn(world, faults, former)
    const options = { store, by: 'test' }
    faults.settle()
    await faults.during(() => moveRecordings({ ...options, ...control(world, faults) })).catch(() => {})
    if (power !== undefined && faults.struck !== undefined) faults.reset(power)
    const reader = (from: KeepingStore) => new Reader({ ...world.replay, store: from, identities: [world.identity] })
    const half = await reader(store).verify(kept.session_id)
    assert.ok(half.ok, JSON.stringify(half))
    const moved = await moveRecordings({ ...options, ...world.control })
    assert.deepEqual([moved.failed, moved.left], [[], 0])
    assert.deepEqual(await former.list(kept.id), [])
    assert.ok((await reader(current).verify(kept.session_id)).ok)
  })
}
