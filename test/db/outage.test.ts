import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import { afterEach, expect, test } from 'vitest'
import { openDatabase } from '../../src/db/database.ts'
import { type EmbeddedServer, startEmbedded } from '../../src/db/embedded.ts'
import { freePort } from '../../src/db/loopback.ts'
import { Secret } from '../../src/secret.ts'
import { createTestDatabase } from '../support/database.ts'
import { busy, cutAtAnyMoment, cuttable, places, uncaught } from './cut-line.ts'

const closers: (() => Promise<unknown> | unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

test('FA1: a pool that failed more often than it has places works again once the database is back', async () => {
  const test = await createTestDatabase()
  const real = new URL(test.url.reveal())
  const port = await freePort()
  const url = new Secret(Object.assign(new URL(real), { port: String(port) }).href)
  const database = openDatabase({ url, max: 2, application: 'outage' })
  closers.push(test.drop, () => database.close())
  for (let round = 0; round < 2; round++) {
    const answers = await Promise.allSettled([1, 2, 3].map(() => database.sql`select 1`))
    for (const answer of answers) expect(answer.status).toBe('rejected')
  }
  const sockets: Socket[] = []
  const line: Server = createServer(client => {
    const server = connect(Number(real.port), real.hostname)
    for (const socket of [client, server]) sockets.push(socket.on('error', () => {}))
    client.pipe(server).pipe(client)
  })
  await new Promise<void>(resolve => line.listen(port, '127.0.0.1', resolve))
  closers.push(() => line.close())
  const work = () => Promise.all([1, 2, 3, 4, 5].map(n => database.sql`select ${n}::int as n`))
  expect((await work()).flat().map(row => row['n'])).toEqual([1, 2, 3, 4, 5])
  for (const socket of sockets) socket.destroy() // it goes away under open connections
  await Promise.allSettled([database.sql`select 1`, database.sql`select 1`])
  expect((await work()).length).toBe(5)
})

test('FA2: a database that crashes under transactions and comes back leaves no place stuck and no fault behind', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'sallyport-outage-'))
  const options = { name: 'a database that crashes', dataDir, superuser: 'owner', durable: false }
  const first = await startEmbedded({ ...options, port: 0 })
  const database = openDatabase({ url: first.url('postgres'), max: 4, application: 'outage' })
  let second: EmbeddedServer | undefined
  closers.push(
    () => rmSync(dataDir, { recursive: true, force: true }),
    () => second?.stop(),
    () => database.close(),
  )
  await database.sql`create table work (n int)`
  const seen = await uncaught(async () => {
    const rounds = Promise.allSettled(Array.from({ length: 40 }, (_, n) => busy(database, n)))
    await sleep(15)
    const postmaster = Number(readFileSync(join(dataDir, 'cluster/postmaster.pid'), 'utf8').split('\n')[0])
    process.kill(postmaster, 'SIGQUIT') // at once, as a crash: backends die in the middle of what they do
    const outcomes = await rounds
    expect(outcomes.some(o => o.status === 'rejected')).toBe(true)
    await first.exited
    for (let n = 0; n < 6; n++) await expect(busy(database, n)).rejects.toThrow()
    second = await startEmbedded({ ...options, port: first.port })
    expect(await places(database, 4)).toBe(4)
    await database.sql`create table if not exists work (n int)` // not durable: the crash may have taken it
    await busy(database, 1)
  })
  expect(seen).toEqual([])
}, 60_000)

test('FA2: a line that is cut at any moment of a transaction rejects it, and every place of the pool serves again', async () => {
  const test = await createTestDatabase()
  closers.push(test.drop)
  // Each moment once; `npm run conformance -- outage` goes on for as long as one likes.
  expect(await cutAtAnyMoment(test, 20)).toEqual({ seen: [], served: [3, 3] })
}, 60_000)

test('FA3: a statement that a lost transaction sends late does not run on the connection that took its place', async () => {
  const test = await createTestDatabase()
  const { url, cut, close } = await cuttable(test.url)
  closers.push(close)
  const database = openDatabase({ url, max: 1, application: 'outage' })
  closers.push(test.drop, () => database.close())
  await database.sql`create table work (n int)`
  let goOn = (): void => {}
  const waiting = new Promise<void>(resolve => (goOn = resolve))
  let late: Promise<unknown> | undefined
  let begin = (): void => {}
  const begun = new Promise<void>(resolve => (begin = resolve))
  const lost = database.sql.begin(async tx => {
    begin()
    await waiting
    late = Promise.resolve(tx`insert into work values (1)`)
    late.catch(() => {})
    await late
  })
  await begun
  cut()
  await expect(lost).rejects.toThrow('CONNECTION_CLOSED')
  await database.sql.begin(async tx => {
    await tx`insert into work values (2)`
    goOn()
    await sleep(20)
    await expect(late).rejects.toThrow('CONNECTION_CLOSED')
  })
  expect(await database.sql`select n from work`).toEqual([{ n: 2 }])
})

test('FA3: a connection of the pool cannot be reserved: dead, it would take its place along', async () => {
  const test = await createTestDatabase()
  closers.push(test.drop)
  await expect(test.database.sql.reserve()).rejects.toThrow('use a transaction')
})

test('arrays of the types that are used here go in and come out without a query for their types', async () => {
  const test = await createTestDatabase()
  closers.push(test.drop)
  const given = { t: ['a', 'b,"c'], n: [1, 2], none: [] }
  const [row] = await test.database.sql`
    select ${given.t}::text[] as t, ${given.n}::int[] as n, ${given.none}::text[] as none, array[true, false] as b,
      array['\\x00ff'::bytea] as x, array[1.5::float8] as f, array['{"a":1}'::jsonb] as j, array[9007199254740991::int8] as i`
  const bytes = [Buffer.from('00ff', 'hex')]
  expect(row).toEqual({ ...given, b: [true, false], x: bytes, f: [1.5], j: [{ a: 1 }], i: ['9007199254740991'] })
  const [param] = await test.database.db.execute(sql`select ${sql.param(['x', 'y'])}::text[] as t`)
  expect(param).toEqual({ t: ['x', 'y'] })
})
