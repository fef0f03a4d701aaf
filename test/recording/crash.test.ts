import { spawnSync } from 'node:child_process'
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { newId } from '../../src/ids.ts'
import { RecordingDamaged } from '../../src/recording/errors.ts'
import { clearFrame, frameKind } from '../../src/recording/format/frames.ts'
import type { Seal } from '../../src/recording/format/seal.ts'
import { Reader } from '../../src/recording/reader.ts'
import type { SessionFacts } from '../../src/recording/recorder.ts'
import { Sealer, sealing } from '../../src/recording/sealer.ts'
import { createWorld, orphan, type RecordingWorld, sessionFacts, until } from './world.ts'

let world: RecordingWorld
let reader: Reader
beforeAll(async () => {
  world = await createWorld()
  reader = new Reader({ ...world.replay, store: world.store, identities: [world.identity] })
})
afterAll(() => world[Symbol.asyncDispose]())

const statement = (i: number) => ({ conn: 'con_1', kind: 'statement', body: { i, text: `select ${i}` } })
const spool = () => join(world.folder, 'spool')

async function row(facts: SessionFacts) {
  const [found] = await world.test.database.sql<
    { id: string; state: string; seal: Seal; seal_hash: string; sealed_at: Date | null }[]
  >`
    select id, state, seal, seal_hash, sealed_at from recordings where session_id = ${facts.session_id}`
  return found!
}

async function play(facts: SessionFacts) {
  const events = []
  for await (const event of reader.events(facts.session_id)) events.push(event)
  return events
}

/**
 * A process that records `count` events, of which the first `shipped` reach the store, and is then killed: it ships nothing
 * more, nothing of it is closed, and its spool folder, as the kernel has it now, is all that is left.
 */
async function killed(
  facts: SessionFacts,
  count: number,
  shipped: number,
  boot: 'this boot' | 'another boot' = 'this boot',
) {
  const side = await world.process()
  const { store } = world
  let dead = shipped === 0
  const put = (name: string, bytes: Buffer) => (dead ? Promise.reject(new Error('killed')) : store.put(name, bytes))
  const root = join(world.folder, newId('evt'))
  const journal = await world.journal({
    process_id: side.process_id,
    spool_root: root,
    store: { put, get: store.get.bind(store), removeRecording: store.removeRecording.bind(store) },
    tuning: { cutMs: 20 },
  })
  const recorder = await journal.open(facts)
  for (let i = 1; i <= shipped; i++) recorder.append([statement(i)])
  const { sql } = world.test.database
  if (shipped > 0) {
    const isShipped = () =>
      sql`select 1 from recording_segments where recording_id = ${recorder.recording_id} and part = ${recorder.part} and last_seq = ${shipped}`
    await until(async () => (await isShipped()).length > 0)
  }
  dead = true
  for (let i = shipped + 1; i <= count; i++) recorder.append([statement(i)])
  const folder = join(spool(), side.process_id)
  cpSync(join(root, side.process_id), folder, { recursive: true })
  orphan(spool(), side.process_id, boot)
  await world.die(side)
  const files = readdirSync(folder)
    .filter(name => name.endsWith('.journal'))
    .map(name => join(folder, name))
  return { side, folder, file: files.at(-1)!, recorder }
}

async function recover(): Promise<void> {
  const journal = await world.journal({ process_id: (await world.process()).process_id })
  await journal.recoverDue()
  await journal.close()
}

describe('RE2: a process that was killed', () => {
  test('RE2: its recording is sealed as interrupted, says from which seq on its tail is missing, and plays its verified prefix', async () => {
    const facts = sessionFacts()
    await killed(facts, 10, 4)
    expect(await world.sealer.sealDue()).toBe(1)
    const sealed = await row(facts)
    expect(sealed.state).toBe('interrupted')
    expect(sealed.seal.parts).toMatchObject([{ ending: 'missing', last_seq: 4, tail_missing_from: 5 }])
    const played = await play(facts)
    expect(played.map(event => event['i'] ?? event.kind)).toEqual([1, 2, 3, 4, 'gap'])
    expect(played.at(-1)).toMatchObject({ from_seq: 5, to_seq: null })
    expect((await reader.verify(facts.session_id)).ok).toBe(true)
    expect((await world.events(facts.session_id)).map(event => event.type)).toEqual([
      'recording.started',
      'recording.interrupted',
    ])
  })

  test('RE2: when its spool is back, the tail is added without any key, and the seal is renewed and names the former', async () => {
    const facts = sessionFacts()
    await killed(facts, 10, 4)
    await world.sealer.sealDue()
    const former = await row(facts)
    await recover()
    expect((await row(facts)).state).toBe('open')
    expect((await row(facts)).sealed_at).toBeNull()
    await world.sealer.sealDue()
    const renewed = await row(facts)
    expect(renewed.seal.former).toBe(former.seal_hash)
    expect(renewed.seal_hash).not.toBe(former.seal_hash)
    expect(renewed.seal.parts).toMatchObject([{ ending: 'recovered', last_seq: 10, tail_missing_from: null }])
    expect((await play(facts)).map(event => event['i'])).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    expect(await reader.verify(facts.session_id)).toMatchObject({ ok: true, state: 'interrupted' })
    expect((await world.events(facts.session_id)).map(event => event.type)).toEqual([
      'recording.started',
      'recording.interrupted',
      'recording.sealed',
    ])
  })

  test('RE2: killed in mid-chunk, everything before the torn record is kept', async () => {
    const facts = sessionFacts()
    const { file } = await killed(facts, 10, 0)
    truncateSync(file, readFileSync(file).length - 30)
    await recover()
    await world.sealer.sealDue()
    expect((await play(facts)).map(event => event['i'])).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9])
    expect((await row(facts)).seal.parts).toMatchObject([{ ending: 'recovered', last_seq: 9 }])
  })

  test('RE2: what follows the first bad byte of a journal is not believed', async () => {
    const facts = sessionFacts()
    const { file } = await killed(facts, 10, 0)
    const bytes = readFileSync(file)
    bytes[bytes.length - 400]! ^= 1
    writeFileSync(file, bytes)
    appendFileSync(file, Buffer.alloc(100))
    await recover()
    await world.sealer.sealDue()
    const played = await play(facts)
    expect(played.length).toBeGreaterThan(0)
    expect(played.length).toBeLessThan(10)
    expect(played.at(-1)).toMatchObject({ kind: 'gap', from_seq: played.length, to_seq: null })
    expect((await row(facts)).seal.parts).toMatchObject([
      { ending: 'recovered', last_seq: played.length - 1, tail_missing_from: played.length },
    ])
    expect((await reader.verify(facts.session_id)).ok).toBe(true)
  })

  test('RE2: where the machine went down with it, the seal says that what was not on the disk may be missing', async () => {
    const facts = sessionFacts()
    await killed(facts, 10, 4, 'another boot')
    await recover()
    await world.sealer.sealDue()
    expect((await row(facts)).seal.parts).toMatchObject([{ ending: 'recovered', last_seq: 10, tail_missing_from: 11 }])
    expect((await play(facts)).map(event => event['i'] ?? event.kind)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 'gap'])
    expect((await world.events(facts.session_id)).at(-1)?.body).toMatchObject({
      tail_missing: [{ part: 1, from_seq: 11 }],
    })
  })

  test('RE2: recovery that is itself killed goes on where it stopped', async () => {
    const facts = sessionFacts()
    const { folder } = await killed(facts, 10, 3)
    const side = await world.process()
    const journal = await world.journal({
      process_id: side.process_id,
      store: { ...plain(), put: () => Promise.reject(new Error('the store is away')) },
    })
    await journal.recoverDue()
    expect(readdirSync(folder).length).toBeGreaterThan(0)
    expect(journal.spoolBytes).toBeGreaterThan(0)
    await journal.close()
    orphan(spool(), folder.split('/').at(-1)!)
    await recover()
    await world.sealer.sealDue()
    expect((await play(facts)).map(event => event['i'])).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
  })

  test('a session that goes on in another process plays both parts in the order of time', async () => {
    const facts = sessionFacts()
    await killed(facts, 5, 2)
    await recover()
    const journal = await world.journal({ process_id: (await world.process()).process_id })
    const recorder = await journal.open(facts)
    expect(recorder.part).toBe(2)
    expect(await world.sealer.sealDue()).toBe(0)
    recorder.append([statement(6)])
    await recorder.close('done')
    await until(() => journal.pending === 0)
    await world.sealer.sealDue()
    const played = await play(facts)
    expect(played.map(event => [event.part, event['i']])).toEqual([
      [1, 1],
      [1, 2],
      [1, 3],
      [1, 4],
      [1, 5],
      [2, 6],
    ])
    expect(played.map(event => event.at_us)).toEqual([...played.map(event => event.at_us)].sort((a, b) => a - b))
    await journal.close()
  })

  test('the spool of a process that lives is not touched', async () => {
    const journal = await world.journal({ process_id: (await world.process()).process_id })
    const recorder = await journal.open(sessionFacts())
    recorder.append([statement(1)])
    const other = await world.journal({ process_id: (await world.process()).process_id })
    expect(await other.recoverDue()).toEqual([])
    recorder.append([statement(2)])
    await recorder.close('done')
    await other.close()
    await journal.close()
  })

  test('the journal and the store hold nothing in clear, and the key of another deployment opens nothing', async () => {
    const facts = sessionFacts()
    const { file } = await killed(facts, 5, 0)
    expect(readFileSync(file).includes('select 3')).toBe(false)
    await recover()
    await world.sealer.sealDue()
    const { generateX25519Identity } = await import('age-encryption')
    const { Secret } = await import('../../src/secret.ts')
    const stranger = new Reader({
      ...world.replay,
      store: world.store,
      identities: [new Secret(await generateX25519Identity())],
    })
    expect(await stranger.verify(facts.session_id)).toMatchObject({
      ok: false,
      problem: expect.stringContaining('other recipients') as string,
    })
  })

  test('a link or a pipe in a spool leads nowhere and holds nothing up: what it took the place of is a tail that is missing', async () => {
    const facts = sessionFacts()
    const { folder, file } = await killed(facts, 5, 2, 'another boot')
    const elsewhere = join(world.folder, 'elsewhere.journal')
    renameSync(file, elsewhere)
    symlinkSync(elsewhere, file)
    const precious = join(world.folder, 'precious')
    writeFileSync(precious, 'keep me')
    symlinkSync(precious, join(folder, 'other-boot'))
    spawnSync('mkfifo', [join(folder, '00000099.journal')])
    expect(existsSync(join(folder, '00000099.journal'))).toBe(true)
    const linked = newId('prc')
    const real = join(world.folder, 'real')
    mkdirSync(real)
    cpSync(
      join(folder, readdirSync(folder).find(name => name.startsWith('owner.'))!),
      join(real, 'owner.h.999999999.1'),
    )
    symlinkSync(real, join(spool(), linked))
    await recover()
    expect(readFileSync(precious, 'utf8')).toBe('keep me')
    expect(readdirSync(real)).toEqual(['owner.h.999999999.1'])
    expect([existsSync(elsewhere), existsSync(folder)]).toEqual([true, false])
    await world.sealer.sealDue()
    const { seal, state } = await row(facts)
    expect([state, seal.parts[0]?.last_seq, seal.parts[0]?.tail_missing_from]).toEqual(['interrupted', 2, 3])
    const blocked = newId('prc')
    symlinkSync(real, join(spool(), blocked))
    await expect(world.journal({ process_id: blocked })).rejects.toThrow('link')
  })

  test('a process counts as alive until it was silent for 20 s; whichever replica looks next seals, once, however many wait', async () => {
    expect(1 + sealing.dead_after_s + sealing.every_ms / 1000).toBeLessThan(60)
    const side = await world.process()
    const { sql } = world.test.database
    // Sessions between two connections come first, as old ones do, and together they are more than are looked at at a time.
    for (const [resource, ended] of [
      ['idle', true],
      ['left', false],
    ] as const) {
      const ids = Array.from({ length: 110 }, () => newId('rec'))
      await sql`insert into recordings (id, session_id, subject_id, subject_name, resource, role, protocol, settings, decision_id)
        select id, id, 's', 's', ${resource}, 'r', 'test', '{}', 'd' from unnest(${ids}::text[]) id`
      await sql`insert into recording_parts (recording_id, part, process_id, spool, started_at_ms, part_id, ended_at, ending, last_seq)
        select id, 1, ${side.process_id}, ${side.process_id}, 1, id, case when ${ended} then now() end,
          case when ${ended} then 'clean' end, case when ${ended} then 0 end from unnest(${ids}::text[]) id`
    }
    const silent = (seconds: number) =>
      sql`update processes set heartbeat_at = now() - make_interval(secs => ${seconds}) where id = ${side.process_id}`
    const states = () =>
      sql`select resource, state, count(*)::int from recordings where resource in ('idle', 'left') group by 1, 2 order by 1`
    await silent(sealing.dead_after_s - 5)
    await world.sealer.sealDue()
    expect((await states()).map(row => row['state'])).toEqual(['open', 'open'])
    await silent(sealing.dead_after_s + 1)
    const other = new Sealer({ ...world.control, sessionsEnded: async () => new Map() })
    const [one, two] = await Promise.all([world.sealer.sealDue(), other.sealDue()])
    expect(one + two).toBe(110)
    expect([...(await states())].map(row => ({ ...row }))).toEqual([
      { resource: 'idle', state: 'open', count: 110 },
      { resource: 'left', state: 'interrupted', count: 110 },
    ])
  })

  test('where the rows of a part contradict each other it is sealed all the same, and says that something is missing', async () => {
    const facts = sessionFacts()
    const journal = await world.journal({ process_id: (await world.process()).process_id })
    const recorder = await journal.open(facts)
    for (let i = 1; i <= 3; i++) recorder.append([statement(i)])
    await recorder.close('done')
    await until(() => journal.pending === 0)
    await world.test.database.sql`update recording_parts set last_seq = 9 where recording_id = ${recorder.recording_id}`
    world.ended.set(facts.session_id, Date.now())
    await world.sealer.sealDue()
    const { seal, state } = await row(facts)
    expect([state, seal.parts[0]?.last_seq, seal.parts[0]?.tail_missing_from]).toEqual(['interrupted', 3, 4])
    expect((await play(facts)).at(-1)).toMatchObject({ kind: 'gap', from_seq: 4, to_seq: null })
  })

  test('who stood still until they were taken for dead finds out before the next event, which is not lost but refused', async () => {
    const side = await world.process()
    const facts = sessionFacts()
    const journal = await world.journal({ process_id: side.process_id, tuning: { cutMs: 60_000 } })
    const recorder = await journal.open(facts)
    recorder.append([statement(1)])
    await recorder.flush() // a sync that is still under way would find no folder, and say so first
    const owner = readdirSync(join(spool(), side.process_id)).find(name => name.startsWith('owner.'))!
    orphan(spool(), side.process_id) // as another host sees it
    await world.die(side)
    await recover()
    expect(existsSync(join(spool(), side.process_id, owner))).toBe(false)
    vi.setSystemTime(Date.now() + 46_000)
    onTestFinished(() => void vi.useRealTimers())
    expect(() => recorder.append([statement(2)])).toThrow(/took this one for dead/)
    expect(journal.unavailable).toMatch(/took this one for dead/)
    vi.useRealTimers()
    await world.sealer.sealDue()
    expect((await row(facts)).seal.parts[0]).toMatchObject({ ending: 'recovered', last_seq: 1 })
  })

  test('records of a recording that the database does not know are put aside, and somebody is told as long as they are there', async () => {
    const facts = sessionFacts()
    const { folder, recorder } = await killed(facts, 3, 0)
    const { sql } = world.test.database
    await sql`delete from recording_keys where recording_id = ${recorder.recording_id}`
    await sql`delete from recording_parts where recording_id = ${recorder.recording_id}`
    await sql`delete from recordings where id = ${recorder.recording_id}`
    const journal = await world.journal({ process_id: (await world.process()).process_id })
    await journal.recoverDue()
    expect(journal.state.alarm).toMatch(
      /^prc_\w+\.unclaimed in the spool: records of recordings that the database does not know/,
    )
    expect(readdirSync(`${folder}.unclaimed`).some(name => name.endsWith('.journal'))).toBe(true)
    rmSync(`${folder}.unclaimed`, { recursive: true })
    await journal.recoverDue()
    expect(journal.state.alarm).toBeNull()
    await journal.close()
  })

  test('an end in a spool that cannot be read keeps nothing from recovery', async () => {
    const facts = sessionFacts()
    const { recorder, file } = await killed(facts, 3, 0)
    const id = await world.test.database
      .sql`select part_id from recording_parts where recording_id = ${recorder.recording_id}`
    appendFileSync(
      file,
      clearFrame(frameKind.end, Buffer.from(String(id[0]!['part_id']), 'hex'), 4, Buffer.from('{nonsense')),
    )
    await recover()
    world.ended.set(facts.session_id, Date.now())
    await world.sealer.sealDue()
    expect((await row(facts)).seal.parts[0]).toMatchObject({ ending: 'lost', last_seq: 3 })
  })

  test('of a session that ended long ago and is still recorded, says its process, somebody is told', async () => {
    const facts = sessionFacts()
    const journal = await world.journal({ process_id: (await world.process()).process_id })
    const recorder = await journal.open(facts)
    world.ended.set(facts.session_id, Date.now() - 14 * 60_000)
    await world.sealer.look()
    expect(world.sealer.problem).toBeNull()
    world.ended.set(facts.session_id, Date.now() - 16 * 60_000)
    await world.sealer.look()
    expect(world.sealer.problem).toContain(facts.session_id)
    await recorder.close('done')
    await until(() => journal.pending === 0)
    await world.sealer.sealDue()
    await world.sealer.look()
    expect(world.sealer.problem).toBeNull()
  })

  test('RE3: a seal that was changed in the database is found', async () => {
    const facts = sessionFacts()
    await killed(facts, 5, 2)
    await world.sealer.sealDue()
    const { id } = await row(facts)
    await world.test.database
      .sql`update recordings set seal = jsonb_set(seal, '{parts,0,tail_missing_from}', 'null') where id = ${id}`
    expect(await reader.verify(facts.session_id)).toMatchObject({
      ok: false,
      problem: expect.stringContaining('seal') as string,
    })
    await expect(play(facts)).rejects.toThrow(RecordingDamaged)
  })
})

const plain = () => ({
  put: world.store.put.bind(world.store),
  get: world.store.get.bind(world.store),
  removeRecording: world.store.removeRecording.bind(world.store),
})
