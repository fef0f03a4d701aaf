import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { JournalLost } from '../../src/recording/errors.ts'
import { FileStore } from '../../src/recording/file-store.ts'
import type { Journal } from '../../src/recording/journal.ts'
import { Reader } from '../../src/recording/reader.ts'
import { FaultyFs } from './faulty-fs.ts'
import { createWorld, type RecordingWorld, type Side, sessionFacts, until } from './world.ts'

let world: RecordingWorld
beforeAll(async () => {
  world = await createWorld()
})
afterAll(() => world[Symbol.asyncDispose]())

const one = [{ conn: 'con_1', kind: 'statement', body: { text: 'select 1' } }]

async function faulty(
  options: Parameters<RecordingWorld['journal']>[0] = {},
): Promise<{ journal: Journal; fs: FaultyFs; side: Side }> {
  const fs = new FaultyFs()
  const side = await world.process()
  const journal = await world.journal({ process_id: side.process_id, fs, ...options })
  return { journal, fs, side }
}

describe('RE1: a journal that cannot be written', () => {
  for (const [code, words] of [
    ['ENOSPC', 'is full'],
    ['EIO', 'I/O error'],
  ] as const) {
    test(`RE1: ${code} at the start means no session`, async () => {
      const { journal, fs } = await faulty()
      fs.writeCode = code
      await expect(journal.open(sessionFacts())).rejects.toThrow(words)
    })

    test(`RE1: ${code} in the middle is thrown to who appends, and every session is told`, async () => {
      const { journal, fs } = await faulty()
      const [first, second] = [await journal.open(sessionFacts()), await journal.open(sessionFacts())]
      const told: string[] = []
      second.onLost(reason => told.push(reason))
      first.append(one)
      fs.writeCode = code
      expect(() => first.append(one)).toThrow(JournalLost)
      expect(told).toHaveLength(1)
      expect(told[0]).toContain(words)
      fs.writeCode = undefined
      expect(() => second.append(one)).toThrow(JournalLost)
      await Promise.all([first.close('cut'), second.close('cut')])
    })
  }

  test('RE1: a write that the disk took half of is thrown, what came before it is kept, and a later session records again', async () => {
    const { journal, fs } = await faulty()
    const facts = sessionFacts()
    const recorder = await journal.open(facts)
    recorder.append(one)
    fs.torn = 20
    expect(() => recorder.append(one)).toThrow('is full')
    await recorder.close('cut')
    fs.writeCode = undefined
    const again = await journal.open(sessionFacts())
    again.append(one)
    await again.close('done')
    await until(() => journal.pending === 0)
    world.ended.set(facts.session_id, Date.now())
    await world.sealer.sealDue()
    const reader = new Reader({ ...world.replay, store: world.store, identities: [world.identity] })
    const report = await reader.verify(facts.session_id)
    expect(report).toMatchObject({ ok: true, state: 'interrupted', parts: [{ ending: 'lost', events: 1 }] })
  })

  test('RE1: a sync that fails is told to every session, and to whoever waits for the disk', async () => {
    const { journal, fs } = await faulty({ tuning: { syncMs: 10 } })
    const recorder = await journal.open(
      sessionFacts({ settings: { level: 'full', results: 'all', head_rows: 0, strict: true, originals: 'drop' } }),
    )
    await recorder.appendDurable(one)
    let told: string | undefined
    recorder.onLost(reason => {
      told = reason
    })
    fs.syncCode = 'EIO'
    await expect(recorder.appendDurable(one)).rejects.toThrow('I/O error')
    expect(told).toContain('I/O error')
    await recorder.close('cut')
  })

  test('FA1: who stood still for longer than a disk may take does not blame the disk, which has answered', async () => {
    const { journal } = await faulty({ tuning: { lateMs: 200 } })
    const recorder = await journal.open(sessionFacts())
    for (let i = 0; i < 3; i++) {
      recorder.append(one)
      const synced = recorder.flush()
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 450)
      await synced
    }
    expect(journal.unavailable).toBeUndefined()
    await journal.close()
  })

  test('RE1: a disk that does not answer is told within the limit', async () => {
    const { journal, fs } = await faulty({ tuning: { syncMs: 10, lateMs: 100 } })
    const recorder = await journal.open(sessionFacts())
    await recorder.flush()
    let told: string | undefined
    recorder.onLost(reason => {
      told = reason
    })
    fs.syncMs = 1_000
    recorder.append(one)
    await until(() => told !== undefined, 900)
    expect(told).toContain('did not answer')
    await recorder.close('cut')
  })

  test('an event that is too long is refused, and cuts its own session only', async () => {
    const { journal } = await faulty()
    const [big, other] = [await journal.open(sessionFacts()), await journal.open(sessionFacts())]
    expect(() => big.append([{ conn: 'con_1', kind: 'rows', body: { values: 'x'.repeat(33 * 1024 * 1024) } }])).toThrow(
      JournalLost,
    )
    other.append(one)
    await Promise.all([big.close('cut'), other.close('done')])
  })
})

describe('RE1: a store that is away', () => {
  test('RE1: sessions go on while the spool has room, memory stays bounded, somebody is told, and nothing is lost', async () => {
    const store = new FileStore(join(world.folder, 'away'))
    let away = true
    const alarms: (string | null)[] = []
    const bufferBytes = 1024 * 1024
    const { journal } = await faulty({
      store: {
        ...shape(store),
        put: (name, bytes) => (away ? Promise.reject(new Error('away')) : store.put(name, bytes)),
      },
      onAlarm: reason => alarms.push(reason),
      tuning: { cutMs: 20, alarmMs: 200, bufferBytes, fileBytes: 512 * 1024 },
    })
    const sessions = [sessionFacts(), sessionFacts(), sessionFacts()]
    const recorders = []
    for (const facts of sessions) recorders.push(await journal.open(facts))
    const text = 'y'.repeat(8_000)
    for (let i = 0; i < 600; i++) {
      recorders[i % 3]!.append([{ conn: 'con_1', kind: 'statement', body: { text, i } }])
      if (i % 50 === 0) await sleep(5)
    }
    expect(journal.buffered).toBeLessThanOrEqual(bufferBytes + 16_384)
    await until(() => alarms.length > 0)
    expect(alarms[0]).toContain('have not been shipped')
    away = false
    for (const recorder of recorders) await recorder.close('done')
    await until(() => journal.pending === 0, 20_000)
    expect(alarms.at(-1)).toBeNull()
    for (const facts of sessions) world.ended.set(facts.session_id, Date.now())
    await world.sealer.sealDue()
    const reader = new Reader({ ...world.replay, store, identities: [world.identity] })
    for (const facts of sessions) {
      const report = await reader.verify(facts.session_id)
      expect(report).toMatchObject({ ok: true, state: 'sealed', parts: [{ events: 200, last_seq: 200 }] })
    }
  }, 60_000)

  test('who carries much waits a moment for a store that takes what comes, and not for one that is away', async () => {
    const store = new FileStore(join(world.folder, 'slow'))
    let answer = () => {}
    let away = false
    const { journal } = await faulty({
      store: {
        ...shape(store),
        put: async (name, bytes) => {
          if (away) throw new Error('away')
          await new Promise<void>(resolve => {
            answer = resolve
          })
          return store.put(name, bytes)
        },
      },
      tuning: { cutMs: 20, bufferBytes: 1024 * 1024 },
    })
    const recorder = await journal.open(sessionFacts())
    expect(recorder.behind()).toBeUndefined()
    const text = 'w'.repeat(10_000)
    for (let i = 0; i < 90; i++) recorder.append([{ conn: 'con_1', kind: 'statement', body: { text } }])
    await expect(recorder.behind()).resolves.toBeUndefined()
    expect(recorder.behind()).toBeInstanceOf(Promise)
    away = true
    answer()
    await until(() => recorder.behind() === undefined)
    away = false
    const closed = recorder.close('done')
    const answering = setInterval(() => answer(), 5)
    await closed
    await until(() => journal.pending === 0, 20_000)
    clearInterval(answering)
  })

  test('RE1: a full spool cuts what lives with its reason and lets no session start; shipped, it opens again', async () => {
    const store = new FileStore(join(world.folder, 'away2'))
    let away = true
    const { journal, side } = await faulty({
      store: {
        ...shape(store),
        put: (name, bytes) => (away ? Promise.reject(new Error('away')) : store.put(name, bytes)),
      },
      spool_bytes: 1024 * 1024,
      tuning: { cutMs: 20, fileBytes: 256 * 1024 },
    })
    const recorder = await journal.open(sessionFacts())
    let told: string | undefined
    recorder.onLost(reason => {
      told = reason
    })
    const text = 'z'.repeat(10_000)
    expect(() => {
      for (let i = 0; i < 200; i++) recorder.append([{ conn: 'con_1', kind: 'statement', body: { text } }])
    }).toThrow('the spool is full')
    expect(told).toContain('the spool is full')
    expect(journal.spoolBytes).toBeLessThanOrEqual(1024 * 1024)
    expect(journal.unavailable).toContain('nearly full')
    await expect(journal.open(sessionFacts())).rejects.toThrow('nearly full')
    await recorder.close('cut')
    away = false
    await until(() => journal.pending === 0, 15_000)
    const again = await journal.open(sessionFacts())
    again.append(one)
    await again.close('done')
    await until(() => journal.pending === 0)
    expect(
      readdirSync(join(world.folder, 'spool', side.process_id)).filter(name => name.endsWith('.journal')).length,
    ).toBeLessThanOrEqual(1)
    await journal.close()
    expect(existsSync(join(world.folder, 'spool', side.process_id))).toBe(false)
  }, 60_000)
})

const shape = (store: FileStore) => ({
  put: store.put.bind(store),
  get: store.get.bind(store),
  removeRecording: store.removeRecording.bind(store),
})
