import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createAuditWriter } from '../../src/audit/writer.ts'
import type { Database } from '../../src/db/database.ts'
import { newId } from '../../src/ids.ts'
import { Catalog } from '../../src/recording/catalog.ts'
import { FileStore } from '../../src/recording/file-store.ts'
import type { Journal, JournalOptions } from '../../src/recording/journal.ts'
import { unwrapPartKey } from '../../src/recording/part-key.ts'
import type { Played } from '../../src/recording/part-reader.ts'
import { Reader } from '../../src/recording/reader.ts'
import type { SessionFacts } from '../../src/recording/recorder.ts'
import { Sealer } from '../../src/recording/sealer.ts'
import type { Tail } from '../support/faults/disk.ts'
import { everyFault, type Fault, type Faults } from '../support/faults/faults.ts'
import { orphan, type RecordingWorld, type Side, sessionFacts, until } from './world.ts'

const marker = 'a-text-that-nobody-may-find'
const events = 12
const tuning = { cutMs: 30, fileBytes: 1500, syncMs: 10 } // three files of the journal, several segments

export interface FaultRun {
  readonly world: RecordingWorld
  readonly folder: string
  readonly kind: Fault
  readonly stride?: number
  readonly from?: number
  readonly runs?: number
  readonly parallel?: number
  /** The machine loses its power and not only the process its life. */
  readonly power?: Tail
}

/** One try under faults: where its files are, and what it was told. */
class Try {
  readonly world: RecordingWorld
  readonly faults: Faults
  readonly side: Side
  readonly facts: SessionFacts
  /** Events that an append returned for, and those of them that a flush resolved for. */
  taken = 0
  synced = 0
  attempted = 0

  constructor(world: RecordingWorld, faults: Faults, side: Side, strict = false) {
    this.world = world
    this.faults = faults
    this.side = side
    this.facts = sessionFacts({
      settings: { level: 'full', results: 'all', head_rows: 0, strict, originals: 'sealed' },
    })
  }

  get spool(): string {
    return join(this.faults.root!, 'spool')
  }

  store(): FileStore {
    return new FileStore(join(this.faults.root!, 'store'))
  }

  options(side: Side): Partial<JournalOptions> {
    const catalog = new Catalog(side.database, side.audit)
    return {
      process_id: side.process_id,
      spool_root: this.spool,
      store: this.store(),
      catalog: this.faults.wrap('catalog', catalog),
      tuning,
    }
  }

  /** A session of some statements, with a sync in between, to its end. */
  async record(): Promise<Journal> {
    const journal = await this.world.journal(this.options(this.side))
    try {
      const recorder = await journal.open(this.facts)
      for (let i = 1; i <= events; i++) {
        this.attempted = i
        const event = { conn: 'con_1', kind: 'statement', body: { i, text: `${marker} ${'x'.repeat(300)}` } }
        recorder.append([event])
        recorder.originals?.append([event])
        this.taken = i
        if (i % 4 === 0) {
          await recorder.flush()
          this.synced = i
          await sleep(5)
        }
      }
      await recorder.close('done')
    } catch (error) {
      if (this.faults.struck === undefined) throw error
    }
    for (let waited = 0; journal.pending > 0 && waited < 100 && !this.faults.dead; waited++) await sleep(10)
    return journal
  }
}

/** Record and ship at every fault, and what comes after it: recovery by another process, and the seal. @returns steps of a clean run. */
export async function recordAtEveryFault({ world, folder, kind, power, ...slice }: FaultRun): Promise<number> {
  const name = power === undefined ? kind : `power-${power}`
  return await everyFault(
    { kind, machine: power !== undefined, root: at => join(folder, `record-${name}-${at}`), ...slice },
    async faults => {
      const attempt = new Try(world, faults, await newProcess(world), true)
      const journal = await faults.during(() =>
        attempt.record().catch(error => {
          if (faults.struck === undefined) throw error
          return undefined
        }),
      )
      if (power !== undefined && faults.struck !== undefined) faults.reset(power)
      await abandon(faults, journal)
      if (faults.dead) {
        await died(attempt, power !== undefined)
        await recover(attempt)
      } else await journal?.close(2_000)
      await checkRecording(attempt, power === undefined ? attempt.taken : attempt.synced, power !== undefined)
    },
  )
}

/** Recovery at every fault, of what a process left that died with all of it in its spool. */
export async function recoverAtEveryFault({ world, folder, kind, power, ...slice }: FaultRun): Promise<number> {
  const name = power === undefined ? kind : `power-${power}`
  return await everyFault(
    { kind, machine: power !== undefined, root: at => join(folder, `recover-${name}-${at}`), ...slice },
    async faults => {
      const attempt = new Try(world, faults, await newProcess(world))
      const journal = await world.journal({
        ...attempt.options(attempt.side),
        catalog: new Catalog(attempt.side.database, attempt.side.audit),
        tuning: { ...tuning, cutMs: 60_000 },
      })
      const recorder = await journal.open(attempt.facts)
      for (let i = 1; i <= events; i++)
        for (const layer of [recorder, recorder.originals!])
          layer.append([{ conn: 'con_1', kind: 'statement', body: { i, text: `${marker} ${'x'.repeat(300)}` } }])
      attempt.attempted = attempt.taken = events
      await recorder.flush()
      orphan(attempt.spool, attempt.side.process_id)
      await world.die(attempt.side)
      await journal.close(0) // its process is gone; what it left is as it was
      faults.settle() // it was synced, and is the past
      const heir = await newProcess(world)
      const second = await faults.during(async () => {
        const made = await world.journal(attempt.options(heir)).catch(error => {
          if (faults.struck === undefined) throw error
          return undefined
        })
        await made?.recoverDue().catch(() => {})
        return made
      })
      if (power !== undefined && faults.struck !== undefined) faults.reset(power)
      await abandon(faults, second)
      if (faults.dead) {
        await died({ world, spool: attempt.spool, side: heir }, power !== undefined)
        await died(attempt, power !== undefined) // who had taken it over died too
      } else await second?.recoverDue()
      await recover(attempt)
      await second?.close(500).catch(() => {})
      await checkRecording(attempt, events, power !== undefined)
    },
  )
}

/** The seal at every fault: its transaction is done or it is not, and the next round finds out which. */
export async function sealAtEveryFault({ world, folder, kind, parallel: _, ...slice }: FaultRun): Promise<number> {
  return await everyFault({ kind, root: at => join(folder, `seal-${kind}-${at}`), ...slice }, async faults => {
    const attempt = new Try(world, faults, await newProcess(world))
    const journal = await world.journal({
      ...attempt.options(attempt.side),
      catalog: new Catalog(attempt.side.database, attempt.side.audit),
    })
    const recorder = await journal.open(attempt.facts)
    recorder.append([{ conn: 'con_1', kind: 'statement', body: { i: 1, text: marker } }])
    attempt.attempted = attempt.taken = 1
    await recorder.close('done')
    await until(() => journal.pending === 0)
    await journal.close()
    const { database, audit } = world.control
    const sealer = new Sealer({
      database: withSteps(faults, database),
      audit: faults.wrap('audit', audit, ['record']),
      sessionsEnded: async ids =>
        new Map(ids.filter(id => id === attempt.facts.session_id).map(id => [id, Date.now()])),
    })
    await faults.during(() => sealer.sealDue()).catch(() => {})
    await checkRecording(attempt, 1)
    const seals = (await world.events(attempt.facts.session_id)).filter(event => event.type === 'recording.sealed')
    assert.equal(seals.length, 1, 'one seal, told once')
  })
}

/** The database, of which each transaction is a step: it is done or it is not. */
function withSteps(faults: Faults, database: Database): Database {
  return { db: faults.wrap('database', database.db, ['transaction']), sql: database.sql, close: async () => {} }
}

/** What still runs of a process that is no more can do nothing, but its timers are stopped. */
async function abandon(faults: Faults, journal: Journal | undefined): Promise<void> {
  if (faults.dead) await faults.during(async () => journal?.close(0).catch(() => {}))
}

/** A gateway process as the database knows it; hundreds of them share one pool. */
async function newProcess(world: RecordingWorld): Promise<Side> {
  const { database } = world.gateway
  const process_id = newId('prc')
  await world.test.database
    .sql`insert into processes (id, role, host, pid) values (${process_id}, 'gateway', 'test', ${process.pid})`
  return { process_id, database, audit: createAuditWriter({ database, process_id }) }
}

async function died({ world, spool, side }: Pick<Try, 'world' | 'spool' | 'side'>, power = false): Promise<void> {
  await world.die(side)
  try {
    orphan(spool, side.process_id, power ? 'another boot' : 'this boot')
  } catch {} // it died before it had one
}

async function recover(attempt: Try): Promise<void> {
  const { world } = attempt
  const side = await newProcess(world)
  const heir = await world.journal({
    ...attempt.options(side),
    catalog: new Catalog(side.database, side.audit),
    dead_after_s: 0,
  })
  await heir.recoverDue()
  await heir.close()
}

/** What must hold after any fault: nothing that was taken is lost, nothing verifies that is not so, nothing is in clear, nothing is left over. */
async function checkRecording(attempt: Try, least: number, power = false): Promise<void> {
  const { world, facts, faults } = attempt
  world.ended.set(facts.session_id, Date.now())
  await world.sealer.sealDue()
  const [row] = await world.test.database.sql<{ id: string; state: string }[]>`
    select id, state from recordings where session_id = ${facts.session_id}`
  if (row === undefined) {
    assert.equal(attempt.taken, 0, 'what was taken has no recording')
    return
  }
  assert.match(row.state, /^(sealed|interrupted)$/, 'it is sealed once nobody records it')
  const reader = new Reader({
    ...world.replay,
    store: attempt.store(),
    identities: [world.identity],
    originals_identities: [world.originals.identity],
  })
  const report = await reader.verify(facts.session_id)
  assert.ok(report.ok, JSON.stringify(report))
  for (const view of ['masked', 'clear'] as const) {
    const played: Played[] = []
    for await (const event of reader.events(facts.session_id, { view })) played.push(event)
    const parts = [...new Set(played.map(event => event.part))].map(n => played.filter(event => event.part === n))
    for (const part of parts) {
      // What the kernel had is there to the end; what the disk never had is a hole that is said.
      if (power && part.at(-1)?.kind === 'gap' && part.at(-1)?.['to_seq'] === null) part.pop()
      const seqs = part.map(event => event['i'])
      assert.deepEqual(
        seqs,
        seqs.map((_, i) => i + 1),
        'no hole, no event twice',
      )
    }
    const first = parts[0] ?? []
    assert.ok(first.length >= least, `${first.length} events play, and ${least} were taken`)
    assert.ok(first.length <= attempt.attempted, 'nothing plays that never was')
  }
  await nothingInClear(attempt, row.id)
  const left = readdirSync(attempt.spool, { recursive: true }).filter(
    name => !faults.dead && String(name).endsWith('.journal'),
  )
  assert.deepEqual(left, [], 'the spool is let go')
}

async function nothingInClear({ world, faults }: Try, recording: string): Promise<void> {
  const keys = await world.test.database.sql<{ part: number; wrapped: Buffer }[]>`
    select part, wrapped from recording_keys where recording_id = ${recording} order by part`
  const secrets = [Buffer.from(marker)]
  for (const { part, wrapped } of keys) {
    const identity = part % 2 === 1 ? world.identity : world.originals.identity
    const raw = (await unwrapPartKey([identity], wrapped)).export()
    secrets.push(raw, Buffer.from(raw.toString('hex')), Buffer.from(raw.toString('base64')))
  }
  for (const entry of readdirSync(faults.root!, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const bytes = readFileSync(join(entry.parentPath, entry.name))
    for (const secret of secrets)
      assert.equal(bytes.includes(secret), false, `${entry.name} holds a key or a text in clear`)
  }
}
