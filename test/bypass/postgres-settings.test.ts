import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { C, frame, int16, int32 } from '../../src/protocols/postgres/messages.ts'
import { startWireWorld, type WireWorld } from '../protocols/postgres/wire-world.ts'
import { installedPrograms, startInstalled } from '../support/installed-postgres.ts'

/** Ways out of the settings that the gateway pins, on real servers whose own defaults are the hostile ones. */
const secret = '111-22-3333'
const tables = `
  create table customers (id int primary key, name text not null, ssn text not null);
  insert into customers values (1, 'Ada', '${secret}');
  create table salaries (id int, amount int);
  insert into salaries values (1, 4711);
  create schema evil;
  create table evil.salaries (id int, amount int);
`
const seed = `${tables}
  alter role boss set standard_conforming_strings = off;
  alter role boss set client_encoding = 'SJIS';
  alter database postgres set transform_null_equals = on;
  create role other;
`
const masks = [
  {
    rule: 'masking.ssn',
    match: { schema: 'public', table: 'customers', column: 'ssn' },
    transform: { kind: 'redact' as const },
  },
]
const query = (sql: string) => frame(C.query, sql, 0)
const parse = (name: string, sql: string) => frame(C.parse, name, 0, sql, 0, int16(0))
const bind = (portal: string, name: string) => frame(C.bind, portal, 0, name, 0, int16(0), int16(0), int16(0))
const execute = (portal: string) => frame(C.execute, portal, 0, int32(0))
const sync = frame(C.sync)

const servers = [
  ['the embedded PostgreSQL', undefined],
  ...(installedPrograms() === undefined ? [] : [['an older PostgreSQL', startInstalled] as const]),
] as const

describe.each(servers)('on %s', (_name, start) => {
  let world: WireWorld
  beforeAll(async () => {
    world = await startWireWorld(seed, await start?.('boss'))
  })
  afterAll(() => world?.close())
  beforeEach(() => {
    world.journal.length = 0
    world.rules = []
    world.deny = () => undefined
  })

  /** Sends each group and waits for its ReadyForQuery. */
  async function converse(...groups: Buffer[][]) {
    const client = await world.raw()
    const answers: { letters: string; text: string }[] = []
    try {
      for (const group of groups) {
        client.send(...group)
        const { letters, bodies } = await client.until()
        answers.push({ letters, text: Buffer.concat(bodies).toString('latin1') })
      }
    } finally {
      client.socket.destroy()
    }
    return answers
  }

  describe('a reset comes back to what is pinned', () => {
    const byMessage = (sql: string) => [parse('', sql), bind('', ''), execute(''), sync]
    const resets: [string, Buffer[][]][] = [
      ['RESET ALL', [[query('reset all')]]],
      ['DISCARD ALL', [[query('discard all')]]],
      ['RESET ALL by messages', [byMessage('reset all')]],
      ['DISCARD ALL by messages', [byMessage('discard all')]],
      ['RESET ALL in a transaction that rolls back', [[query('begin')], [query('reset all')], [query('rollback')]]],
      ["asyncpg's reset", [[query('select pg_advisory_unlock_all(); close all; unlisten *; reset all;')]]],
    ]

    test.each(resets)('PG15, PG16: %s', async (_title, groups) => {
      world.rules = masks
      const trick = `select '\\' /*', ssn from customers --*/`
      const answers = await converse(
        ...groups,
        [query('show standard_conforming_strings')],
        [query('show client_encoding')],
        [query('show transform_null_equals')],
        [query(trick)],
      )
      for (const { letters } of answers) expect(letters).not.toContain('E')
      expect(answers.slice(-4, -1).map(a => /D....\0\x01....(on|off|UTF8)/s.exec(a.text)?.[1])).toEqual([
        'on',
        'UTF8',
        'off',
      ])
      expect(answers.at(-1)!.text).not.toContain(secret)
    })

    test('PG16: bytes that another encoding reads as a quote are still refused', async () => {
      const bytes = Buffer.concat([
        Buffer.from("select E'"),
        Buffer.from([0x95, 0x5c]),
        Buffer.from("', ssn from customers --'\0"),
      ])
      const answers = await converse([query('reset all')], [frame(C.query, bytes)])
      expect(answers.at(-1)!.text).toContain('not valid UTF-8')
    })

    test.each(resets)('PG6: whose rights apply does not change by %s', async (_title, groups) => {
      const who = [query('select current_user, session_user')]
      const answers = await converse(who, ...groups, who)
      expect(answers.at(-1)!.text).toBe(answers[0]!.text)
    })

    test('PG6: what DISCARD ALL begins with is refused by itself', async () => {
      for (const sql of [
        'set session authorization default',
        'reset role',
        'set role other',
        "select set_config('role', 'other', false)",
      ])
        expect((await converse([query(sql)]))[0]!.text, sql).toContain('pinned')
    })
  })

  describe('DISCARD ALL leaves no name behind', () => {
    test('PG2: statements, portals, PREPAREd names, temporary tables', async () => {
      const answers = await converse(
        [query('create temp table mine (a int)')],
        [parse('s', 'select 1'), sync],
        [query('prepare p as select 1')],
        [query('declare c cursor with hold for select 1')],
        [query('discard all')],
        [bind('', 's'), sync],
        [query('execute p')],
        [execute('c'), sync],
        [query('select * from mine')],
        [parse('s', 'select 2'), bind('', 's'), execute(''), sync],
        [query('prepare p as select 3')],
        [query('execute p')],
      )
      expect(answers.map(a => a.letters)).toEqual([
        'CZ',
        '1Z',
        'CZ',
        'CZ',
        'CZ',
        'EZ',
        'EZ',
        'EZ',
        'EZ',
        '12DCZ',
        'CZ',
        'TDCZ',
      ])
    })

    test('PG2: in a transaction it fails, and everything is as before', async () => {
      const answers = await converse(
        [parse('s', 'select 1'), sync],
        [query('begin')],
        [query('discard all')],
        [query('rollback')],
        [bind('', 's'), execute(''), sync],
      )
      expect(answers.map(a => a.letters)).toEqual(['1Z', 'CZ', 'EZ', 'CZ', '2DCZ'])
    })
  })

  describe('search_path is followed to the empty one and back', () => {
    const toEmpty = "select pg_catalog.set_config('search_path', '', false)"
    /** As a policy that denies one relation by its schema. */
    const denied = () => {
      world.deny = action =>
        action.reads.some(r => r.schema === 'public' && r.name === 'salaries') ? 'not yours' : undefined
    }

    test('PG17: any other path is refused, and the connection goes on', async () => {
      for (const sql of [
        'set search_path = evil',
        "select set_config('search_path', 'evil', false)",
        "set schema 'evil'",
      ]) {
        const answers = await converse([query(sql)], [query('select 1')])
        expect([answers[0]!.letters, answers[1]!.letters], sql).toEqual(['EZ', 'TDCZ'])
        expect(answers[0]!.text).toContain('search_path')
      }
    })

    test('PG17: on it, names without a schema find nothing, and those with one work', async () => {
      const answers = await converse(
        [query(toEmpty)],
        [query('select * from salaries')],
        [query('select amount from public.salaries')],
      )
      expect(answers.map(a => a.letters)).toEqual(
        answers[0]!.letters.includes('S') ? ['TDCSZ', 'EZ', 'TDCZ'] : ['TDCZ', 'EZ', 'TDCZ'],
      )
    })

    test.each([
      ['in the text that moved it', [[query(`${toEmpty}; rollback; select * from salaries`)]]],
      [
        'after a rollback',
        [[query('begin')], [query(toEmpty)], [query('rollback')], [query('select * from salaries')]],
      ],
      [
        'after a rollback to a savepoint',
        [[query('begin; savepoint s')], [query(toEmpty)], [query('rollback to s')], [query('select * from salaries')]],
      ],
      [
        'after SET LOCAL',
        [[query("begin; set local search_path = ''")], [query('commit')], [query('select * from salaries')]],
      ],
      ['after RESET', [[query(toEmpty)], [query('reset search_path')], [query('select * from salaries')]]],
      [
        'after RESET ALL that is rolled back',
        [
          [query(toEmpty)],
          [query('begin; reset all; rollback')],
          [query('reset all')],
          [query('select * from salaries')],
        ],
      ],
      [
        'by a name that SQL prepared before',
        [[query('prepare p as select * from salaries')], [query(toEmpty)], [query('reset all')], [query('execute p')]],
      ],
    ] as [string, Buffer[][]][])('PG17: what policy denies by schema is denied %s', async (_title, groups) => {
      denied()
      const answers = await converse(...groups)
      expect(answers.at(-1)!.text).toContain('not yours')
      expect(answers.map(a => a.text).join()).not.toContain('4711')
    })

    test('PG17: a statement that was parsed before is decided again, both ways, at its Execute', async () => {
      const client = await world.raw()
      client.send(parse('s', 'select * from salaries'), sync, query(toEmpty))
      await client.until(2)
      denied()
      client.send(bind('', 's'), execute(''), sync)
      const { letters } = await client.until()
      client.socket.destroy()
      // the target has made its plan anew at Bind, and finds nothing: the Execute behind it was denied all the same
      expect(letters).toBe('EZ')
      expect(world.journal.findLast(e => e.kind === 'statement')!.body).toMatchObject({
        effect: 'deny',
        phase: 'execute',
      })
    })

    const noReset = 'set local search_path to default'
    test('PG17: until it is certainly back a text is decided both ways, then one way again', async () => {
      const seen = () => world.journal.findLast(e => e.kind === 'statement')!
      const count = async (...groups: Buffer[][]) => {
        const reads: string[] = []
        world.deny = action => {
          for (const r of action.reads) if (r.name === 'salaries') reads.push(r.schema)
          return undefined
        }
        await converse(...groups, [query('select * from salaries')])
        expect(seen().body['effect']).toBe('allow')
        return reads.sort()
      }
      expect(await count([query(toEmpty)])).toEqual(['', 'public'])
      expect(await count([query(toEmpty)], [query('discard all')])).toEqual(['public'])
      expect(await count([query(toEmpty)], [query('reset all')])).toEqual(['public'])
      expect(await count([query(toEmpty)], [query('begin; reset all; rollback')])).toEqual(['', 'public'])
      // outside of a transaction it warns and does nothing; by messages it ends with its own transaction
      for (const local of [
        [query(noReset)],
        [query(`${noReset}; select 1`)],
        [parse('', noReset), bind('', ''), execute(''), sync],
      ])
        expect(await count([query(toEmpty)], local)).toEqual(['', 'public'])
    })

    test('PG17: EXECUTE of a name that was prepared on the other path is refused', async () => {
      const answers = await converse(
        [query('prepare p as select * from salaries')],
        [query(toEmpty)],
        [query('execute p')],
      )
      expect(answers.at(-1)!.text).toContain('not known on this connection')
    })

    test('where columns are masked it stays, and rules that come later end a connection that moved it', async () => {
      world.rules = masks
      expect((await converse([query(toEmpty)]))[0]!.text).toContain('where columns are masked, search_path stays')
      world.rules = []
      const client = await world.client()
      await client.query(toEmpty)
      const lost = new Promise<Error>(resolve => client.on('error', resolve))
      const why = await world.newRules(masks)
      expect(why).toContain('search_path')
      world.end(why!)
      expect((await lost).message).toContain('search_path')
    })
  })
})

describe.runIf(installedPrograms() !== undefined)('pg_dump', () => {
  let world: WireWorld
  let bin = ''
  let direct: Record<string, string> = {}
  beforeAll(async () => {
    const server = await startInstalled('boss')
    bin = server.bin
    direct = {
      PGHOST: '127.0.0.1',
      PGPORT: String(server.port),
      PGUSER: 'boss',
      PGPASSWORD: 'only-for-tests',
      PGDATABASE: 'postgres',
    }
    world = await startWireWorld(
      `${tables} create view rich as select * from salaries where amount > 10; create index on salaries (amount)`,
      server,
    )
  })
  afterAll(() => world?.close())
  const dump = async (env: Record<string, string>, ...args: string[]) => {
    const options = { env: { PATH: process.env['PATH'] ?? '', ...env }, encoding: 'utf8' as const, timeout: 50_000 }
    return promisify(execFile)(join(bin, 'pg_dump'), args, options).then(
      ({ stdout, stderr }) => ({ failed: false, stdout, stderr }),
      ({ stdout, stderr }) => ({ failed: true, stdout: String(stdout), stderr: String(stderr) }),
    )
  }
  const plain = (text: string) => text.replace(/^\\(un)?restrict .*$/gm, '')

  test('dumps the same through the gateway as at the target itself', async () => {
    const here = await dump(direct)
    const through = await dump(world.env())
    expect(through.stderr.slice(0, 1500)).toBe('')
    expect(plain(through.stdout)).toBe(plain(here.stdout))
    expect(through.stdout).toContain('4711')
  })

  test('MK8: is refused in one clear line where columns are masked', async () => {
    world.rules = masks
    const { failed, stderr, stdout } = await dump(world.env())
    expect(failed).toBe(true)
    expect(stderr).toContain('where columns are masked, search_path stays')
    expect(stdout).not.toContain(secret)
  })
})
