import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { C, frame, int16, int32 } from '../../../src/protocols/postgres/messages.ts'
import { startWireWorld, type WireWorld } from './wire-world.ts'

/**
 * A statement that shows nothing masked is judged, and another one runs: that is what each of these tries, with rows that
 * nobody describes. The secret may come out neither by a name that means two things nor for want of a description.
 */
const secret = '111-22-3333'
let world: WireWorld
beforeAll(async () => {
  world = await startWireWorld(`
    create table customers (id int primary key, name text not null, ssn text not null);
    insert into customers values (1, 'Ada', '${secret}'), (2, 'Bob', '444-55-6666');
    create table notes (id int primary key, body text);
  `)
})
afterAll(() => world?.close())
beforeEach(() => {
  world.journal.length = 0
  world.rules = [
    {
      rule: 'masking.ssn',
      match: { schema: 'public', table: 'customers', column: 'ssn' },
      transform: { kind: 'redact' },
    },
  ]
})

const query = (sql: string) => frame(C.query, sql, 0)
const parse = (name: string, sql: string) => frame(C.parse, name, 0, sql, 0, int16(0))
const bind = (portal: string, name: string) => frame(C.bind, portal, 0, name, 0, int16(0), int16(0), int16(0))
const execute = (portal: string) => frame(C.execute, portal, 0, int32(0))
const close = (what: string, name: string) => frame(C.close, what, name, 0)
const sync = frame(C.sync)
const harmless = 'select 1 as a'
const telling = 'select id, ssn from customers order by id'

/** Sends each group, waits for its ReadyForQuery. @returns letters of the last answer, and all that came as text */
async function converse(...groups: Buffer[][]): Promise<{ last: string; all: string }> {
  const client = await world.raw()
  let all = ''
  let last = ''
  try {
    for (const group of groups) {
      client.send(...group)
      const answer = await client.until()
      last = answer.letters
      all += Buffer.concat(answer.bodies).toString('latin1')
    }
  } catch {
    last = 'closed'
  } finally {
    client.socket.destroy()
  }
  return { last, all }
}

describe('one name, one meaning', () => {
  const cut = 'n'.repeat(63)

  test('PG4: names that the target would cut to one another are refused', async () => {
    const { last, all } = await converse(
      [parse(`${cut}a`, harmless), sync],
      [close('S', `${cut}b`), sync],
      [parse(`${cut}b`, telling), sync],
      [bind('', `${cut}a`), execute(''), sync],
    )
    expect(all).not.toContain(secret)
    expect(last).toBe('closed')
  })

  test('PG4: so are portals, and a name of 63 bytes is taken', async () => {
    const { all } = await converse(
      [parse('h', harmless), parse('t', telling), sync],
      [query('begin')],
      [bind(`${cut}a`, 'h'), sync],
      [close('P', `${cut}b`), bind(`${cut}b`, 't'), execute(`${cut}a`), sync],
    )
    expect(all).not.toContain(secret)
    expect((await converse([parse(cut, harmless), bind('', cut), execute(''), sync])).last).toBe('12DCZ')
  })

  test.each([
    ['DISCARD PLANS', [query('discard plans')]],
    ['a DEALLOCATE that never runs', [query('select 1/0; deallocate s')]],
    [
      'a DEALLOCATE ALL that the target skips',
      [
        parse('', 'select 1/0'),
        bind('', ''),
        execute(''),
        parse('', 'deallocate all'),
        bind('', ''),
        execute(''),
        sync,
      ],
    ],
  ])('PG2: a Parse behind a PREPARE of its name, then %s', async (_title, between) => {
    const { all } = await converse(
      [query(`prepare s as ${harmless}`)],
      [close('S', 's'), sync],
      [parse('s', telling), sync],
      between,
      [bind('', 's'), execute(''), sync],
    )
    expect(all).not.toContain(secret)
  })

  test.each([
    ['DISCARD PLANS', 'discard plans'],
    ['a DEALLOCATE that never runs', 'select 1/0; deallocate s'],
  ])('PG2: a PREPARE behind a Parse of its name and %s', async (_title, between) => {
    const { all } = await converse(
      [parse('s', telling), sync],
      [query(between)],
      [query(`prepare s as ${harmless}`)],
      [bind('', 's'), execute(''), sync],
      [query('execute s')],
    )
    expect(all).not.toContain(secret)
  })

  test('a name that DEALLOCATE freed can be used again, also in the same pipeline', async () => {
    const { last } = await converse(
      [parse('s', harmless), sync],
      [query('deallocate s')],
      [parse('s', 'select 2'), bind('', 's'), execute(''), sync],
      [
        parse('', 'deallocate all'),
        bind('', ''),
        execute(''),
        parse('s', 'select 3'),
        bind('', 's'),
        execute(''),
        sync,
      ],
      [bind('', 's'), execute(''), sync],
    )
    expect(last).toBe('2DCZ')
  })
})

describe('rows without a description', () => {
  test('PG3: where masks are in force, rows of every statement are described first', async () => {
    const { last } = await converse([parse('', harmless), bind('', ''), execute(''), sync])
    expect(last).toBe('12DCZ')
    // the description was asked for behind the client's back: else nobody could name the column
    expect(world.journal.findLast(e => e.kind === 'result')!.body['columns']).toEqual(['a'])
  })
})

describe('COPY data in pieces', () => {
  test('PG21: a frame whose COPY fails in its midst is passed on whole, and swallows nothing behind it', async () => {
    const client = await world.raw()
    client.send(query('copy notes from stdin'))
    while ((await client.messages.next()).type !== 0x47);
    const rest = Buffer.alloc(50_000, 0x20)
    const begun = Buffer.concat([frame(C.copyData, Buffer.alloc(50_010, 0x20)).subarray(0, 5), Buffer.alloc(10, 0x20)])
    client.send(frame(C.copyData, 'not a number\tx\n'), frame(C.copyData, 'x\n'), begun)
    await new Promise(resolve => setTimeout(resolve, 300))
    client.send(frame(C.copyDone))
    // as far as the client is concerned this is still inside of the frame
    client.send(rest.subarray(5), query('select 7 as seven'))
    const { letters, bodies } = await client.until(2)
    client.socket.destroy()
    expect(letters).toBe('EZTDCZ')
    expect(Buffer.concat(bodies).toString('latin1')).toContain('seven')
  })
})
