import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { createSecretKey, randomBytes } from 'node:crypto'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Database, openDatabase } from '../../src/db/database.ts'
import { ownName } from '../../src/db/owner-name.ts'
import { newId } from '../../src/ids.ts'
import { DerivedKey } from '../../src/keys.ts'
import type { Engine } from '../../src/policy/engine.ts'
import { DecisionLog } from '../../src/policy/log/decision-log.ts'
import { decisionRow } from '../../src/policy/log/decision-row.ts'
import { getDecision } from '../../src/policy/log/decision-store.ts'
import { Spool } from '../../src/policy/log/spool/spool.ts'
import { readSpool, type SpoolDisk, SpoolFile } from '../../src/policy/log/spool/spool-file.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { actionInput, engineOn, storeRevision } from './support.ts'

let db: TestDatabase
let away: Database
let engine: Engine
let folder: string
const key = new DerivedKey('decision-spool', createSecretKey(Buffer.alloc(32, 7)))
beforeAll(async () => {
  db = await createTestDatabase()
  away = openDatabase({ url: db.roleUrls.gateway, max: 1, application: 'test' })
  await away.close()
  engine = await engineOn()
  await storeRevision(db.database)
})
afterAll(() => db.drop())
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sallyport-spool-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const spool = (options: { disk?: SpoolDisk; key?: DerivedKey; gone?: boolean } = {}) =>
  new Spool({
    folder,
    key: options.key ?? key,
    process_id: newId('prc'),
    isGone: async () => options.gone ?? false,
    ...(options.disk === undefined ? {} : { disk: options.disk }),
  })
const decide = (kind: string, session_id = newId('ses')) =>
  engine.decide('action', actionInput({ kind }), { session_id }).decision
/** A process that has died: its files carry an owner that does not live. */
function die(): void {
  for (const name of readdirSync(folder))
    renameSync(join(folder, name), join(folder, name.replace(ownName(), deadOwner())))
}
const deadOwner = () => ownName().replace(/\.\d+\.(\w+)$/, '.999999999.1')
const files = () => readdirSync(folder)
const stored = async (id: string) => (await getDecision(db.database.db, id))?.count

describe('the spool of the decision log', () => {
  test('what comes behind a slow write is written too, and so is what comes later', async () => {
    const log = new DecisionLog({ database: db.database, engine, spool: spool() })
    await db.database.db.transaction(async tx => {
      await tx.execute(sql`lock table action_decisions in exclusive mode`)
      log.append(decide('slow'))
      await pause(300)
      log.append(decide('behind it'))
      await pause(400) // its turn comes, and the write before it is still under way
    })
    await expect.poll(() => log.waiting).toBe(0)
    const later = decide('later')
    log.append(later)
    await expect.poll(() => stored(later.id)).toBe(1)
    await log.close()
  })

  test('what was queued while the database was away is written by the next process, and the files go', async () => {
    const first = new DecisionLog({ database: away, engine, spool: spool() })
    const made = Array.from({ length: 20 }, (_, i) => decide(`outage ${i}`))
    for (const decision of made) expect(first.append(decision)).toBe(true)
    for (let i = 0; i < 4; i++) first.append(made[0]!)
    expect(await first.close(0)).toBe(20)
    die()
    const next = new DecisionLog({ database: db.database, engine, spool: spool() })
    await next.takeOver()
    for (const [i, { id }] of made.entries()) expect(await stored(id)).toBe(i === 0 ? 5 : 1)
    expect(next.waiting).toBe(0)
    await next.close()
    expect(files()).toEqual([])
  })

  test('a database that comes back gets what waits, in one process, once', async () => {
    const target = { database: away }
    const log = new DecisionLog({
      get database() {
        return target.database
      },
      engine,
      spool: spool(),
    })
    const made = Array.from({ length: 5 }, (_, i) => decide(`back ${i}`))
    for (const decision of made.slice(0, 3)) log.append(decision)
    await log.flush()
    for (const decision of made) log.append(decision)
    await log.flush()
    expect(log.state).toMatchObject({ waiting: 5, alarm: null })
    target.database = db.database
    await log.flush()
    expect(await Promise.all(made.map(({ id }) => stored(id)))).toEqual([2, 2, 2, 1, 1])
    expect(log.state).toEqual({ waiting: 0, oldest_s: 0, refused: 0, alarm: null })
    expect(await log.close()).toBe(0)
    expect(files()).toEqual([])
  })

  test('a database that keeps an insert waiting costs no count of a repeat, when the process dies meanwhile', async () => {
    const [decision, other] = [decide('held up'), decide('held up, later')]
    const log = new DecisionLog({ database: db.database, engine, spool: spool() })
    const held = new AbortController()
    const locked = db.database.sql.begin(async tx => {
      await tx`lock table action_decisions in exclusive mode`
      await new Promise(resolve => held.signal.addEventListener('abort', resolve))
    })
    await expect
      .poll(
        async () =>
          (
            await db.database
              .sql`select 1 from pg_locks where mode = 'ExclusiveLock' and relation = 'action_decisions'::regclass`
          ).length,
      )
      .toBe(1)
    log.append(decision)
    const writing = log.flush()
    for (let i = 0; i < 4; i++) log.append(decision)
    for (let i = 0; i < 3; i++) log.append(other)
    const onDisk = async () => {
      const counts: Record<string, number> = {}
      for (const name of files())
        for (const { row, count } of (await readSpool(join(folder, name), key)).rows)
          counts[row.id] = (counts[row.id] ?? 0) + count
      return counts
    }
    await expect.poll(onDisk, { timeout: 20_000 }).toEqual({ [decision.id]: 5, [other.id]: 3 })
    held.abort()
    await Promise.all([locked, writing])
    expect(await log.close()).toBe(0)
    expect([await stored(decision.id), await stored(other.id)]).toEqual([5, 3])
  })

  test('killed between the append and the insert, no decision is lost', async () => {
    const child = await queueing()
    const ids = child.ids
    expect(ids.length).toBe(600)
    expect(await stored(ids[0]!)).toBeUndefined()
    child.process.kill('SIGKILL')
    await new Promise(resolve => child.process.once('exit', resolve))
    const [one, other] = [spool(), spool()].map(each => new DecisionLog({ database: db.database, engine, spool: each }))
    await Promise.all([one!.takeOver(), other!.takeOver()])
    await Promise.all([one!.flush(), other!.flush()])
    const rows = await db.database.sql`select id, count from action_decisions where id = any(${ids})`
    expect(rows).toHaveLength(600)
    expect(rows.every(row => Number(row['count']) === 1)).toBe(true) // two take over, one gets each file
    await Promise.all([one!.close(), other!.close()])
    expect(files()).toEqual([])
  }, 60_000)

  test('a living process keeps its files, and one elsewhere until the database says that it is gone', async () => {
    const living = new DecisionLog({ database: away, engine, spool: spool() })
    living.append(decide('mine'))
    const other = new DecisionLog({ database: db.database, engine, spool: spool() })
    await other.takeOver()
    expect(other.waiting).toBe(0)
    await living.close(0)
    for (const name of files())
      renameSync(join(folder, name), join(folder, name.replace(/(prc_\w+)\.[^.]+/, '$1.elsewhere')))
    await other.takeOver()
    expect(files()).toHaveLength(1)
    await other.close()
    const last = new DecisionLog({ database: db.database, engine, spool: spool({ gone: true }) })
    await last.takeOver()
    await last.close()
    expect(files()).toEqual([])
  })

  test('whose file was taken over while it lived keeps what still waits in another one', async () => {
    const log = new DecisionLog({ database: away, engine, spool: spool() })
    const decision = decide('taken for dead')
    log.append(decision)
    const [file] = files()
    renameSync(join(folder, file!), join(folder, 'elsewhere'))
    await log.close(0)
    expect(files()).toHaveLength(2)
    const kept = files().find(name => name.endsWith('.spool'))!
    expect((await readSpool(join(folder, kept), key)).rows.map(({ row }) => row.id)).toEqual([decision.id])
  })

  test('a full disk refuses, so that the caller denies; what was written before is whole', async () => {
    let room = 6_000
    const disk: SpoolDisk = {
      write(fd, bytes, offset, length, position) {
        const some = Math.min(length, room)
        if (some === 0) throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
        room -= some
        return writeSync(fd, bytes, offset, some, position)
      },
    }
    const log = new DecisionLog({ database: away, engine, spool: spool({ disk }) })
    const made = Array.from({ length: 8 }, (_, i) => decide(`full disk ${i}`))
    const taken = made.filter(decision => log.append(decision))
    expect(taken.length).toBeGreaterThan(0)
    expect(taken.length).toBeLessThan(8)
    expect(log.state).toMatchObject({ refused: 8 - taken.length })
    expect(log.state.alarm).toContain('decisions are refused, and denied: ENOSPC')
    room = 1 << 20
    const late = decide('room again')
    expect(log.append(late)).toBe(true)
    await log.close(0)
    die()
    const next = new DecisionLog({ database: db.database, engine, spool: spool() })
    await next.takeOver()
    for (const { id } of [...taken, late]) expect(await stored(id)).toBe(1)
    await next.close()
  })

  test('what the decision_log point hides is on no disk either, and what is there nobody else reads', async () => {
    const file = new SpoolFile(join(folder, 'one.spool'), key)
    const decision = decide('select')
    const hiding = {
      decide: () => ({ decision: { result: { erase: ['/input/action'], mask: ['/input/subject/email'] } } }),
    }
    const row = decisionRow(decision, 1, hiding as unknown as Engine)
    file.append({ row })
    file.close()
    expect(readFileSync(file.path).includes('dec_')).toBe(false)
    const [read] = (await readSpool(file.path, key)).rows
    expect(read!.row).toEqual(row)
    expect(JSON.stringify(read)).not.toMatch(/customers|ada@/)
    const another = new DerivedKey('decision-spool', createSecretKey(randomBytes(32)))
    expect(await readSpool(file.path, another)).toMatchObject({
      rows: [],
      broken: expect.stringContaining('another key'),
    })
  })

  test('a record that ends too early is no decision; one that was changed, moved or left out is an alarm, and stays', async () => {
    const rows = ['a', 'b', 'c'].map(kind => decisionRow(decide(kind), 1, engine))
    const make = (name: string) => {
      const file = new SpoolFile(join(folder, name), key)
      const ends = rows.map(row => {
        file.append({ row })
        return file.bytes
      })
      file.append({ id: rows[1]!.id, count: 9 })
      file.close()
      return { path: file.path, ends, bytes: readFileSync(file.path) }
    }
    const { path, ends, bytes } = make('one')
    const reads = async (changed: Uint8Array) => {
      writeFileSync(path, changed)
      const { rows, broken } = await readSpool(path, key)
      return { counts: rows.map(({ count }) => count), broken: broken !== null }
    }
    expect(await reads(bytes)).toEqual({ counts: [1, 9, 1], broken: false })
    for (let end = 0; end < bytes.length; end += 97) {
      const whole = ends.filter(at => at <= end).length
      expect(await reads(bytes.subarray(0, end))).toEqual({ counts: Array(whole).fill(1), broken: false })
    }
    const flipped = Buffer.from(bytes)
    flipped[ends[0]! + 40]! ^= 1
    expect(await reads(flipped)).toEqual({ counts: [1], broken: true })
    const without = Buffer.concat([bytes.subarray(0, ends[0]), bytes.subarray(ends[1])])
    expect(await reads(without)).toEqual({ counts: [1], broken: true })
    const moved = Buffer.concat([make('two').bytes.subarray(0, 25), bytes.subarray(25)])
    expect(await reads(moved)).toEqual({ counts: [], broken: true })
    expect(await reads(Buffer.concat([bytes, Buffer.alloc(64)]))).toMatchObject({ counts: [1, 9, 1], broken: true })
    expect(await reads(randomBytes(4096))).toEqual({ counts: [], broken: true })
    truncateSync(path, 65 << 20)
    expect(await readSpool(path, key)).toMatchObject({ rows: [], broken: expect.stringContaining('longer than') })

    writeFileSync(join(folder, `${newId('prc')}.${deadOwner()}.000001.spool`), flipped)
    const log = new DecisionLog({ database: db.database, engine, spool: spool() })
    await log.takeOver()
    expect(await stored(rows[0]!.id)).toBe(1)
    expect(log.state.alarm).toMatch(/^decisions on the disk cannot be read: prc_.*\.broken$/)
    await log.close()
    const later = new DecisionLog({ database: db.database, engine, spool: spool() })
    await later.takeOver()
    expect(later.state.alarm).toContain('cannot be read')
    await later.close()
  })

  test.each(['folder', 'pipe', 'link'])(
    'a %s that cannot be read keeps no other waiting, and is an alarm as long as it is there',
    async what => {
      const precious = join(folder, 'precious')
      writeFileSync(precious, 'keep me', { mode: 0o644 })
      const lost = join(folder, `${newId('prc')}.${deadOwner()}.000001.spool`)
      if (what === 'folder') mkdirSync(lost) // what a bad sector or another owner does, for root too
      if (what === 'pipe') spawnSync('mkfifo', [lost])
      if (what === 'link') symlinkSync(precious, lost)
      const file = new SpoolFile(join(folder, `prc_${'z'.repeat(26)}.${deadOwner()}.1000000.spool`), key)
      const decision = decide('behind it')
      file.append({ row: decisionRow(decision, 1, engine) })
      file.close()
      const log = new DecisionLog({ database: db.database, engine, spool: spool() })
      await log.takeOver()
      expect(await stored(decision.id)).toBe(1)
      expect(files()).toHaveLength(2)
      expect(log.state.alarm).toMatch(/^decisions on the disk cannot be read: prc_/)
      const [, name] = files().sort((a, b) => Number(b === 'precious') - Number(a === 'precious'))
      await log.takeOver()
      expect(files().sort()).toEqual(['precious', name].sort())
      expect([readFileSync(precious, 'utf8'), statSync(precious).mode & 0o777]).toEqual(['keep me', 0o644])
      rmSync(join(folder, name!), { recursive: true })
      await log.takeOver()
      expect(log.state.alarm).toBeNull()
      await log.close()
    },
  )

  test('of a broken file what can be read is found by the next process, until it is in the database', async () => {
    const file = new SpoolFile(join(folder, `${newId('prc')}.${deadOwner()}.000001.spool`), key)
    const decision = decide('before the broken end')
    file.append({ row: decisionRow(decision, 1, engine) })
    file.close()
    writeFileSync(file.path, Buffer.concat([readFileSync(file.path), Buffer.alloc(64)]))
    const claimed = await spool().claim() // and dies
    expect(claimed?.rows).toHaveLength(1)
    die()
    const next = new DecisionLog({ database: db.database, engine, spool: spool() })
    await next.takeOver()
    expect(await stored(decision.id)).toBe(1)
    expect(files()).toEqual([expect.stringMatching(/\.broken$/)])
    await next.close()
  })

  test('what no spool could read again is refused, so that it hides nothing behind it', async () => {
    const file = new SpoolFile(join(folder, 'long.spool'), key)
    const row = decisionRow(decide('long'), 1, engine)
    expect(() => file.append({ row: { ...row, input: 'x'.repeat(16 << 20) } })).toThrow('longer than a spool holds')
    file.append({ row })
    file.close()
    expect(await readSpool(file.path, key)).toMatchObject({ rows: [{ row: { id: row.id } }], broken: null })
  })

  test('a row that the database refuses outlives the process, and is an alarm in the next one', async () => {
    const log = new DecisionLog({ database: db.database, engine, spool: spool() })
    const good = decide('good')
    for (let i = 0; i < 3; i++) {
      log.append({ ...decide('bad'), id: `dec_\u0000${i}` })
      log.append({ ...good, id: `${good.id}${i}` })
      await log.flush()
    }
    expect(log.waiting).toBe(3)
    expect(files().length).toBeLessThanOrEqual(3)
    expect(await log.close(0)).toBe(3)
    die()
    const next = new DecisionLog({ database: db.database, engine, spool: spool() })
    await next.takeOver()
    expect(next.state.alarm).toBe('3 decisions cannot be written to the database')
    expect(await next.close(0)).toBe(3)
    expect(files()).toHaveLength(1)
  })

  test('files grow no further than what waits in them, however long it goes on', async () => {
    const log = new DecisionLog({ database: db.database, engine, spool: spool() })
    const session = newId('ses')
    for (let i = 0; i < 20; i++) {
      for (let n = 0; n < 30; n++) log.append(decide(`steady ${i} ${n}`, session))
      await log.flush()
      expect(files().length).toBeLessThanOrEqual(2)
    }
    await log.close()
    expect(files()).toEqual([])
    const [row] = await db.database.sql`select count(*)::int as n from action_decisions where session_id = ${session}`
    expect(row?.['n']).toBe(600)
  })
})

/** Another process that queues 600 decisions and never gets to the database. */
async function queueing(): Promise<{ process: ChildProcess; ids: string[] }> {
  mkdirSync(folder, { recursive: true })
  const script = join(import.meta.dirname, '../support/queueing.ts')
  const loader = join(import.meta.dirname, '../support/typescript.js')
  const child = spawn(process.execPath, ['--import', loader, script, folder], { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  for await (const chunk of child.stdout) {
    said += String(chunk)
    if (said.includes('\n')) break
  }
  return { process: child, ids: JSON.parse(said) as string[] }
}
