import type pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { SubjectFacts } from '../../src/policy/points.ts'
import { createGatewayWorld, type GatewayWorld } from './world.ts'

/** PG19: a pool at the target would hand one person what another left behind. There is none: one connection there for each here. */
let world: GatewayWorld
let dan: SubjectFacts
let eve: SubjectFacts
let a: Awaited<ReturnType<GatewayWorld['gateway']>>

beforeAll(async () => {
  world = await createGatewayWorld()
  a = await world.gateway()
  await world.admin('grant create, temporary on database shop to shop_writer')
  await world.activate(
    ['resources/data.yaml', 'reader: shop_reader', 'reader: shop_writer'],
    ['action/action.rego', '"reader": {"read", "session"}', '"reader": {"read", "write", "ddl", "session"}'],
    [
      'action/action.rego',
      'not is_git\n\tinput.action.verb in {"write", "ddl", "admin"}',
      'not is_git\n\tinput.action.verb == "admin"',
    ],
  )
  dan = await world.person('dan', ['dbas'])
  eve = await world.person('eve', ['dbas'])
}, 60_000)
afterAll(() => world?.close())

const states: [string, string[], string, unknown][] = [
  [
    'temporary tables',
    ['create temp table left_behind (note text)', "insert into left_behind values ('of dan')"],
    "select count(*)::int as found from pg_class where relname = 'left_behind' and relnamespace = pg_my_temp_schema()",
    { found: 0 },
  ],
  ['settings', ["set statement_timeout = '77s'"], 'show statement_timeout', { statement_timeout: '0' }],
  [
    'settings of its own name',
    ["set app.person = 'dan'"],
    "select current_setting('app.person', true) as person",
    { person: null },
  ],
  [
    'prepared statements',
    ['prepare left_ready as select 1'],
    'select count(*)::int as found from pg_prepared_statements',
    { found: 0 },
  ],
  [
    'cursors',
    ['declare left_open cursor with hold for select 1'],
    'select count(*)::int as found from pg_cursors where is_holdable',
    { found: 0 },
  ],
  [
    'a transaction',
    ['begin isolation level serializable'],
    'show transaction_isolation',
    { transaction_isolation: 'read committed' },
  ],
]

/** What the client's own connection at the target is called there. */
const backend = async (client: pg.Client) =>
  (await client.query('select pg_backend_pid() as pid, session_user as me')).rows[0] as { pid: number; me: string }

describe('PG19: no state of one session is seen by another', () => {
  test.each(states)('%s', async (_title, makes, asks, nothing) => {
    const mine = await world.connect(a.port, await world.ticket(dan))
    const theirs = await world.connect(a.port, await world.ticket(eve))
    for (const sql of makes) await mine.query(sql)
    expect((await theirs.query(asks)).rows).toEqual([nothing])
    expect((await mine.query(asks)).rows).not.toEqual([nothing]) // so that the question would have found it
    await mine.end()
    const later = await world.connect(a.port, await world.ticket(eve))
    expect((await later.query(asks)).rows).toEqual([nothing])
    await Promise.all([theirs.end(), later.end()])
  })

  test('nor by another connection of the same session, which has its own connection at the target', async () => {
    const issued = await world.ticket(dan)
    const [one, two] = [await world.connect(a.port, issued), await world.connect(a.port, issued)]
    const other = await world.connect(a.port, await world.ticket(eve))
    const [first, second, third] = await Promise.all([one, two, other].map(backend))
    expect(new Set([first!.pid, second!.pid, third!.pid]).size).toBe(3)
    expect(second!.me).toBe(first!.me)
    expect(third!.me).not.toBe(first!.me)
    await one.query("set app.person = 'dan'")
    await one.query('prepare left_ready as select 1')
    expect((await two.query("select current_setting('app.person', true) as person")).rows).toEqual([{ person: null }])
    await expect(two.query('execute left_ready')).rejects.toThrow('this execute is not understood')
    await expect(two.query({ name: 'left_ready', text: 'select 2 as two' })).resolves.toMatchObject({
      rows: [{ two: 2 }],
    })
    await Promise.all([one, two, other].map(client => client.end()))
  })

  test('an advisory lock is its holder’s alone, and goes with the connection', async () => {
    const mine = await world.connect(a.port, await world.ticket(dan))
    const theirs = await world.connect(a.port, await world.ticket(eve))
    const lock = async (client: pg.Client) =>
      (await client.query('select pg_try_advisory_lock(4711) as got')).rows[0].got as boolean
    expect(await lock(mine)).toBe(true)
    expect(await lock(theirs)).toBe(false) // a shared connection at the target would have it twice
    expect((await theirs.query('select pg_advisory_unlock(4711) as freed')).rows[0].freed).toBe(false)
    await mine.end()
    await expect.poll(() => lock(theirs)).toBe(true)
    await theirs.end()
  })
})
