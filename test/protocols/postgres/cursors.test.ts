import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { C, frame, int16, int32 } from '../../../src/protocols/postgres/messages.ts'
import { startWireWorld, type WireWorld } from './wire-world.ts'

/** Cursors that SQL declares and messages describe, execute and close, as psycopg's named cursors do. */
const secret = '111-22-3333'
let world: WireWorld
beforeAll(async () => {
  world = await startWireWorld(`
    create table customers (id int primary key, name text not null, ssn text not null);
    insert into customers values (1, 'Ada', '${secret}'), (2, 'Bob', '444-55-6666');
  `)
})
afterAll(() => world?.close())
const masks = [
  {
    rule: 'masking.ssn',
    match: { schema: 'public', table: 'customers', column: 'ssn' },
    transform: { kind: 'redact' as const },
  },
]
beforeEach(() => {
  world.journal.length = 0
  world.rules = []
  world.deny = () => undefined
})

const query = (sql: string) => frame(C.query, sql, 0)
const parse = (name: string, sql: string) => frame(C.parse, name, 0, sql, 0, int16(0))
const bind = (portal: string, name: string, ...formats: number[]) =>
  frame(C.bind, portal, 0, name, 0, int16(0), int16(0), int16(formats.length), ...formats.map(int16))
const execute = (portal: string, rows = 0) => frame(C.execute, portal, 0, int32(rows))
const describePortal = (portal: string) => frame(C.describe, 'P', portal, 0)
const close = (portal: string) => frame(C.close, 'P', portal, 0)
const sync = frame(C.sync)
const harmless = "select id, 'x'::text as ssn from customers order by id"
const telling = 'select id, ssn from customers order by id'

interface Answer {
  readonly letters: string
  readonly text: string
}

/** Sends each group and waits for its ReadyForQuery (`at once`: sends all of them first). */
async function converse(groups: Buffer[][], how: 'in turn' | 'at once' = 'in turn'): Promise<Answer[]> {
  const client = await world.raw()
  const answers: Answer[] = []
  const read = async () => {
    const { letters, bodies } = await client.until()
    answers.push({ letters, text: Buffer.concat(bodies).toString('latin1') })
  }
  try {
    if (how === 'at once') for (const group of groups) client.send(...group)
    for (const group of groups) {
      if (how === 'in turn') client.send(...group)
      await read()
    }
  } finally {
    client.socket.destroy()
  }
  return answers
}

describe.each(['in turn', 'at once'] as const)('a cursor of DECLARE, messages sent %s', how => {
  const last = async (...groups: Buffer[][]) => (await converse(groups, how)).at(-1)!

  test('PG4: it is described, executed in parts and closed by messages', async () => {
    const answers = await converse(
      [
        [query('begin')],
        [query(`declare walk cursor for ${telling}`)],
        [describePortal('walk'), sync],
        [execute('walk', 1), sync],
        [query('fetch forward 1 from walk')],
        [close('walk'), sync],
        [execute('walk'), sync],
      ],
      how,
    )
    expect(answers.map(a => a.letters)).toEqual(['CZ', 'CZ', 'TZ', 'DsZ', 'TDCZ', '3Z', 'EZ'])
    expect(answers[3]!.text).toContain(secret)
    expect(answers[4]!.text).toContain('444-55-6666')
    expect(answers[6]!.text).toContain('34000')
  })

  test('PG3: its rows are masked, whether the client asks for a description or not, and in binary', async () => {
    world.rules = masks
    const answers = await converse(
      [
        [query('begin')],
        [query(`declare a cursor for ${telling}`)],
        [execute('a'), sync],
        [query(`declare b cursor for ${telling}`)],
        [describePortal('b'), execute('b'), sync],
        [query(`declare c binary cursor for ${telling}`)],
        [query('fetch all from c')],
        [query(`declare d cursor for ${telling}`)],
        [parse('', 'fetch all from d'), bind('', '', 1), execute(''), sync],
      ],
      how,
    )
    expect(answers.map(a => a.letters)).toEqual(['CZ', 'CZ', 'DDCZ', 'CZ', 'TDDCZ', 'CZ', 'TDDCZ', 'CZ', '12DDCZ'])
    expect(answers.map(a => a.text).join()).not.toContain(secret)
  })

  test('PG4: a name that comes to mean another cursor is described anew', async () => {
    world.rules = masks
    const answer = await last(
      [query('begin')],
      [query(`declare c cursor for ${harmless}`)],
      [describePortal('c'), execute('c'), sync],
      [query(`close c; declare c cursor for ${telling}`)],
      [execute('c'), sync],
    )
    expect(answer.letters).toBe('DDCZ')
    expect(answer.text).not.toContain(secret)
  })

  test('PG4: a DECLARE that fails leaves the portal that was there, and what it is masked as', async () => {
    world.rules = masks
    const answers = await converse(
      [
        [query('begin; savepoint s')],
        [parse('t', telling), bind('c', 't'), sync],
        [query(`declare c cursor for ${harmless}`)],
        [query('rollback to s')],
        [parse('h', harmless), bind('c', 'h'), describePortal('c'), sync],
        [query(`close c; declare c cursor for ${telling}; select 1/0`)],
        [query('rollback to s')],
        [execute('c'), sync],
      ],
      how,
    )
    expect(answers[2]!.text).toContain('42P03')
    expect(answers.map(a => a.text).join()).not.toContain(secret)
  })

  test('PG4: what Bind opened is not FETCHed: SQL could mean another portal than was judged', async () => {
    const answers = await converse(
      [[query('begin')], [parse('t', telling), bind('c', 't'), sync], [query('fetch all from c')]],
      how,
    )
    expect(answers[2]!.text).toContain('opened by a message')
  })

  test('PG2: each Execute of a cursor is decided again', async () => {
    const client = await world.raw()
    client.send(query('begin'), query(`declare c cursor for ${telling}`))
    await client.until(2)
    world.deny = action => (action.kind === 'select' ? 'not any more' : undefined)
    client.send(execute('c'), sync)
    const { bodies } = await client.until()
    client.socket.destroy()
    expect(Buffer.concat(bodies).toString('latin1')).toContain('not any more')
  })

  test('a cursor WITH HOLD outlives its transaction; one without does not, nor one whose transaction rolled back', async () => {
    const answers = await converse(
      [
        [query('begin')],
        [query(`declare held cursor with hold for ${telling}; declare short cursor for ${telling}`)],
        [query('commit')],
        [execute('held', 1), sync],
        [query('fetch 1 from held')],
        [execute('short', 1), sync],
        [query(`begin; declare gone cursor with hold for ${telling}; rollback`)],
        [execute('gone'), sync],
        [query('close held')],
        [execute('held'), sync],
      ],
      how,
    )
    expect(answers.map(a => a.letters)).toEqual(['CZ', 'CCZ', 'CZ', 'DsZ', 'TDCZ', 'EZ', 'CCCZ', 'EZ', 'CZ', 'EZ'])
  })
})

test('PG17: a cursor goes on as what it was opened as, though the table behind its name is another one now', async () => {
  const client = await world.raw()
  client.send(query('begin'), query(`declare c cursor with hold for ${telling}`), query('commit'))
  await client.until(3)
  await world.admin(
    `alter table customers rename to was; create table customers (id int, ssn text); create table extra ()`,
  )
  client.send(query('select 1 from extra'))
  await client.until()
  client.send(describePortal('c'), execute('c'), sync)
  const { letters } = await client.until()
  client.socket.destroy()
  await world.admin('drop table customers, extra; alter table was rename to customers')
  expect(letters).toBe('TDDCZ')
})

test('more than a thousand cursors one after the other leave nothing behind', async () => {
  const client = await world.client()
  for (let i = 0; i < 1100; i++)
    await client.query(`begin; declare c${i} cursor for select 1; fetch 1 from c${i}; close c${i}; commit`)
  await client.end()
}, 30_000)

describe('where columns are masked', () => {
  test.each([
    ['select * from nowhere', 'relation "nowhere" does not exist'],
    ['select ssn from customers c join other.nowhere n on n.id = c.id', 'relation "other.nowhere" does not exist'],
    ['insert into nowhere values (1)', 'relation "nowhere" does not exist'],
  ])('a relation that does not exist is that, in the words of PostgreSQL: %s', async (sql, message) => {
    world.rules = masks
    const client = await world.client()
    const asked = await client.query(sql).catch(error => error)
    world.rules = []
    const plain = await (await world.client()).query(sql).catch(error => error)
    await client.end()
    expect([asked.code, asked.message]).toEqual(['42P01', message])
    expect([plain.code, plain.message]).toEqual(['42P01', message])
  })
})
