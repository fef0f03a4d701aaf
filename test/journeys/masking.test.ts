import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { attacks } from '../protocols/postgres/sql/corpus.ts'
import { found, foundBelow } from '../support/canaries.ts'
import { runCommand } from '../support/commands.ts'
import type { Ticket } from '../support/psql.ts'
import { startWorld, type TestWorld } from '../support/world.ts'

/** Canaries are planted in the masked columns; whatever a client asks and wherever we write, nobody finds one. */
const canaries = { email: 'CANARYeKq7', national_id: 'CANARYnWz3', card_number: 'CANARYcVx9' }
const tail = '-0000-1111-2222-3333'
let world: TestWorld
let reader: Ticket
let writer: Ticket
/** Every byte that a client of ours got. */
const heard: string[] = []
beforeAll(async () => {
  world = await startWorld({ tuning: { gateway_workers: 1 } })
  for (const [column, value] of Object.entries(canaries))
    await world.shop.unsafe(`update customers set ${column} = '${value}' || id || '${tail}'`)
  await world.shop.unsafe(`
    create view people as select id, national_id as n, email from customers;
    create view computed as select id, upper(national_id) as n from customers;
    create function leak() returns setof text language sql security definer as 'select national_id from customers';
    create table copies (id int, body text unique);
    insert into copies values (1, 'x');
    alter table customers add constraint no_empty_id check (national_id <> 'forbidden');
    grant select on people, computed to shop_reader, shop_writer;
    grant select, insert, update, delete on copies to shop_writer;
    grant select on copies to shop_reader;
    grant execute on function leak() to shop_reader, shop_writer;
    analyze`)
  const { erin } = world.person
  await world.grant(erin)
  await world.grant(erin, { role: 'writer' })
  reader = await erin.ticket()
  writer = await erin.ticket({ role: 'writer' })
})
afterAll(() => world?.stop())

async function ask(ticket: Ticket, statements: string, args: string[] = []) {
  const answer = await world.person.erin.psql(ticket, statements, args)
  heard.push(answer.stdout, answer.stderr)
  return answer
}

describe('the real client reads masked values', () => {
  test.each([
    ['MK1', 'select national_id from customers order by id limit 1'],
    ['MK1', 'select s.a from (select c.x as a from customers c(id, n, e, x)) s limit 1'],
    ['MK1', 'with t as (select * from customers) select national_id from t limit 1'],
    [
      'MK1',
      'select l.national_id from orders o, lateral (select * from customers c where c.id = o.customer_id) l limit 1',
    ],
    ['MK5', 'select n from people limit 1'],
    ['MK7', 'begin; declare c cursor for select national_id from customers; fetch 1 from c; commit'],
    ['MK16', 'select U&"national\\005fid" from public."customers" limit 1'],
  ])('%s: %s', async (_, sql) => {
    const { stdout, stderr } = await ask(reader, `${sql};`)
    expect(stderr).toBe('')
    expect(stdout).toContain('[redacted]')
  })

  test('MK7: a writer reads masked what RETURNING gives back', async () => {
    const { stdout, stderr } = await ask(
      writer,
      "update customers set city = 'Oslo' where id = 1 returning id, national_id, card_number;",
    )
    expect(stderr).toBe('')
    expect(stdout).toMatch(/^1\|\[redacted\]\|\*+/)
  })

  test('MK15: in binary results and through prepared statements of a driver', async () => {
    const { host, port, id, secret, database } = reader
    const sql = postgres({ host, port, user: id, pass: secret, database, ssl: { rejectUnauthorized: false }, max: 1 })
    const rows = await sql`select id, name, email, national_id, card_number from customers where id = ${2}`
    heard.push(JSON.stringify(rows))
    expect(rows[0]).toMatchObject({ id: 2, national_id: '[redacted]' })
    const inBlocks: unknown[] = []
    await sql`select national_id from customers`.cursor(50, block => void inBlocks.push(...block))
    expect(inBlocks.length).toBe(200)
    expect(new Set(inBlocks.map(row => (row as { national_id: string }).national_id))).toEqual(new Set(['[redacted]']))
    await sql.end()
    const copied = await ask(reader, '\\copy (select id, name from customers where id < 3) to stdout (format binary)\n')
    expect(copied.stdout).toContain('PGCOPY')
  })
})

describe('nothing leaks', () => {
  test.each([
    ['MK2', reader_('select national_id::text from customers')],
    ['MK3', reader_("select national_id from customers union all select 'x'")],
    ['MK4', reader_('select to_jsonb(c) from customers c')],
    ['MK5', reader_('select * from computed')],
    ['MK5', reader_('select * from leak()')],
    ['MK6', writer_('insert into copies select id, national_id from customers')],
    ['MK6', writer_('update customers set name = national_id')],
    ['MK8', reader_('copy customers to stdout')],
    ['MK9', reader_('select national_id::int from customers')],
    ['MK10', reader_("select set_config('application_name', national_id, false) from customers")],
    ['MK11', reader_("select query_to_xml('select national_id from customers', true, false, '')")],
    ['MK12', reader_("select most_common_vals from pg_stats where attname = 'national_id'")],
    ['MK13', reader_("select id from customers where national_id like 'C%'")],
    ['MK13', reader_('select id from customers order by national_id')],
  ])('%s: refused with a reason: %s', async (_, { who, sql }) => {
    const { stdout, stderr } = await ask(who === 'reader' ? reader : writer, `${sql};\nselect 'in step';`)
    expect(stdout).toBe('in step\n')
    expect(stderr).toMatch(/ERROR: {2}\S/)
  })

  test('MK9: the detail of a broken constraint says nothing, but its code stays', async () => {
    const args = ['-v', 'VERBOSITY=verbose']
    const unique = await ask(
      writer,
      `insert into customers select 900, 'n', 'a@b.c', 'x', 'y', 'z', now();\nupdate customers set email = '${canaries.email}2${tail}' where id = 900;\nupdate customers set national_id = 'forbidden' where id = 3;`,
      args,
    )
    expect(unique.stderr).toContain('23505')
    expect(unique.stderr).toContain('23514')
    const withoutOurs = unique.stderr
      .split('\n')
      .filter(line => !line.startsWith('LINE') && !line.startsWith('STATEMENT'))
      .join('\n')
    expect(found(withoutOurs, canaries)).toEqual([])
  })

  test('MK1–MK13: no statement of the corpus brings out a canary, whatever the role', async () => {
    const texts = attacks.map(({ sql }) =>
      sql.replaceAll(/\bssn\b/g, 'national_id').replaceAll(/\barchive\b/g, 'copies'),
    )
    for (const ticket of [reader, writer]) {
      const statements = texts.map(sql => `${sql.replaceAll('\n', ' ').replace(/;\s*$/, '')};\nrollback;`).join('\n')
      const { stdout, stderr } = await ask(ticket, `${statements}\n\\echo 'to the end'\n`)
      expect(stdout).toContain('to the end')
      expect(found(stdout + stderr, canaries)).toEqual([])
    }
    const copies = await ask(reader, 'select * from copies;')
    expect(found(copies.stdout, canaries)).toEqual([])
  })
})

describe('MK17, LC4: afterwards nothing lies around', () => {
  test('no canary in what clients heard, in the decision log, in the audit log, in the logs, in what is stored', async () => {
    const unasked = heard.join('\n').replaceAll(`${canaries.email}2${tail}`, '') // what a test itself sent
    expect(found(unasked, canaries)).toEqual([])
    expect(await inDatabase(canaries)).toEqual([])
    for (const folder of ['logs', 'data', 'audit-copy', 'slack'])
      expect(foundBelow(join(world.dev.dataDir, folder), canaries)).toEqual([])
  })

  test('no canary in the recordings, as text and as JSON', async () => {
    const { ava } = world.person
    const sessions = await world.owner<{ id: string }[]>`select id from sessions`
    expect(sessions.length).toBeGreaterThan(0)
    for (const { id } of sessions) {
      for (const how of ['--text', '--json']) {
        const played = await ava.cli('replay', id, how)
        expect(played.code).toBe(0)
        expect(played.stdout).toContain('national_id')
        expect(found(played.stdout, canaries)).toEqual([])
        const inside = [...played.stdout.matchAll(/"base64":"([^"]*)"/g)].map(([, text]) =>
          Buffer.from(text!, 'base64'),
        )
        expect(found(Buffer.concat(inside), canaries)).toEqual([])
      }
    }
  })

  test('no secret in a log, an error, the database, a recording, Slack, or the process list', async () => {
    const secrets = secretsOf(join(world.dev.dataDir, 'secrets'), join(world.dev.dataDir, 'keys'))
    expect(Object.keys(secrets).length).toBeGreaterThan(8)
    const all = {
      ...secrets,
      'reader’s ticket': reader.secret,
      'writer’s ticket': writer.secret,
      'target’s password': world.dev.shop.gatewayPassword.reveal(),
    }
    expect(found(heard.join('\n'), all)).toEqual([])
    expect(await inDatabase(all)).toEqual([])
    for (const folder of ['logs', 'data/recordings', 'data/spool', 'audit-copy', 'slack', 'policies']) {
      expect(foundBelow(join(world.dev.dataDir, folder), all)).toEqual([])
    }
    expect(found(world.targetLog(), all)).toEqual([])
    const { stdout } = await runCommand(['ps', '-eo', 'args'])
    expect(found(stdout, all)).toEqual([])
  })
})

function reader_(sql: string) {
  return { who: 'reader' as const, sql, toString: () => sql }
}
function writer_(sql: string) {
  return { who: 'writer' as const, sql, toString: () => sql }
}

/** Every row of every table of ours, as text. */
async function inDatabase(values: Readonly<Record<string, string>>): Promise<string[]> {
  const tables = await world.owner<{ name: string }[]>`
    select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname in ('public', 'jobs')`
  expect(tables.length).toBeGreaterThan(15)
  const hits: string[] = []
  for (const { name } of tables) {
    const rows = await world.owner.unsafe(`select t::text as row from ${name} t`)
    hits.push(...found(rows.map(row => row['row'] as string).join('\n'), values).map(value => `${name}: ${value}`))
  }
  return hits
}

/** What the files of these folders keep secret: each line that is long enough to be one, and passwords in URLs. */
function secretsOf(...folders: string[]): Record<string, string> {
  const secrets: Record<string, string> = {}
  for (const folder of folders) {
    for (const name of readdirSync(folder)) {
      const text = readFileSync(join(folder, name), 'utf8')
      for (const [i, line] of text.split('\n').entries()) {
        const value = /^postgres:\/\/[^:]+:([^@]+)@/.exec(line)?.[1] ?? line.trim()
        if (value.length >= 20 && !value.startsWith('#') && !value.startsWith('-----'))
          secrets[`${name}:${i + 1}`] = value
      }
    }
  }
  return secrets
}
