import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Database, openDatabase } from '../../src/db/database.ts'
import { newId } from '../../src/ids.ts'
import { dayOf, keepDecisionDays } from '../../src/policy/log/decision-days.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

let world: TestDatabase
let control: Database
beforeAll(async () => {
  world = await createTestDatabase()
  control = openDatabase({ url: world.roleUrls.control, max: 2, application: 'test' })
})
afterAll(async () => {
  await control.close()
  await world.drop()
})

/** A session's id that says when it began. */
function sessionOf(ms: number): string {
  const digits = '0123456789abcdefghjkmnpqrstvwxyz'
  let text = ''
  for (let i = 0, left = ms; i < 10; i++, left = Math.floor(left / 32)) text = digits[left % 32] + text
  return `ses_${text}${newId('ses').slice(14)}`
}
const days = async () =>
  (
    await world.database.sql<{ name: string }[]>`
      select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
      where i.inhparent = 'action_decisions'::regclass order by 1`
  ).map(row => row.name)
const nameOf = (ms: number) => `d${new Date(ms).toISOString().slice(0, 10).replaceAll('-', '')}`
const day_ms = 86_400_000

describe('the day of an action decision', () => {
  test('is that on which its session began, in the program and in the database alike', async () => {
    const sessions = [
      ...Array.from({ length: 200 }, () => sessionOf(Math.floor(Math.random() * 4_102_444_800_000))),
      newId('ses'),
      sessionOf(0),
      sessionOf(day_ms - 1),
      sessionOf(day_ms),
      sessionOf(2 ** 48 - 1),
      'ses_1',
      'rec_00000000000000000000000000',
      `ses_${'u'.repeat(26)}`,
      null,
    ]
    const at_ms = Date.UTC(2026, 10, 25, 23, 59, 59, 999)
    for (const session of sessions) {
      const [row] = await world.database.sql<{ day: string }[]>`
        select decision_days.day_of(${session}, ${at_ms})::text as day`
      expect(row?.day, String(session)).toBe(dayOf(session, at_ms))
    }
    const began = Date.UTC(2026, 1, 28, 12)
    expect(dayOf(sessionOf(began), at_ms)).toBe('2026-02-28')
    expect([dayOf('ses_1', at_ms), dayOf(null, at_ms)]).toEqual(['1970-01-01', '2026-11-25'])
  })
})

describe('partitions of action decisions', () => {
  const insert = (database: Database, id: string, day: string, batch: string | null = null) => database.sql`
    insert into action_decisions (id, at_ms, point, effect, code, input_digest, input, result, reasons, day, batch)
    values (${id}, ${Date.parse(day)}, 'action', 'allow', 'policy', '', '{}', '{}', '[]', ${day}, ${batch})`

  test('are there for the days to come before they come, made by control and nobody else', async () => {
    const made = await days()
    for (let i = -1; i <= 7; i++) expect(made).toContain(nameOf(Date.now() + i * day_ms))
    await world.database.sql.unsafe(`drop table decision_days.${nameOf(Date.now() + 7 * day_ms)}`)
    expect(await keepDecisionDays(control)).toEqual({ made: 1, dropped: 0 })
    expect(await keepDecisionDays(control)).toEqual({ made: 0, dropped: 0 })
    for (const role of ['gateway', 'replay'] as const) {
      const database = openDatabase({ url: world.roleUrls[role], max: 1, application: 'test' })
      await expect(database.sql`select decision_days.make(1)`).rejects.toMatchObject({ code: '42501' })
      await expect(database.sql`select decision_days.drop_empty()`).rejects.toMatchObject({ code: '42501' })
      await database.close()
    }
    for (const statement of [
      'select * from decision_days.rest',
      `drop table decision_days.${nameOf(Date.now())}`,
      'create table decision_days.mine (id int)',
      "select decision_days.make_one('2020-01-01')",
      'select decision_days.make(9999)',
    ])
      await expect(control.sql.unsafe(statement), statement).rejects.toThrow()
  })

  test('a day that has none, and one that nobody knows, lies with the rest and is found all the same', async () => {
    await insert(control, 'dec_rest', '2031-05-05')
    const [row] = await control.sql<{ n: string }[]>`select count(*) as n from action_decisions where id = 'dec_rest'`
    expect(row?.n).toBe('1')
    const [rest] = await world.database.sql<{ n: string }[]>`select count(*) as n from decision_days.rest`
    expect(rest?.n).toBe('1')
  })

  test('go when they are past and empty, and never with a row in them', async () => {
    await world.database.sql`select decision_days.make_one('2020-01-01'), decision_days.make_one('2020-01-02')`
    await insert(world.database, 'dec_past', '2020-01-02', 'evt_1')
    expect(await keepDecisionDays(control)).toMatchObject({ dropped: 1 })
    expect(await days()).toContain('d20200102')
    await control.sql`delete from action_decisions where id = 'dec_past'`
    expect(await keepDecisionDays(control)).toMatchObject({ dropped: 1 })
    expect(await days()).not.toContain('d20200102')
  })

  test('a past day goes whole by the hand of control alone, and only where the audit log covers all that it holds', async () => {
    await world.database.sql`select decision_days.make_one('2020-02-01'), decision_days.make_one('2020-02-02')`
    for (const [id, day, batch] of [
      ['dec_covered', '2020-02-01', 'evt_1'],
      ['dec_open', '2020-02-02', null],
    ] as const)
      await insert(world.database, id, day, batch)
    for (const role of ['gateway', 'replay'] as const) {
      const database = openDatabase({ url: world.roleUrls[role], max: 1, application: 'test' })
      for (const call of ['hold_still', 'drop_day'])
        await expect(database.sql.unsafe(`select decision_days.${call}('2020-02-01')`)).rejects.toMatchObject({
          code: '42501',
        })
      await database.close()
    }
    await expect(control.sql`select decision_days.drop_day('2020-02-02')`).rejects.toThrow(
      '1 decisions of 2020-02-02 are too young',
    )
    await world.database
      .sql`update action_decisions set batch = 'evt_1', at_ms = ${Date.now() - 80_000_000} where id = 'dec_open'`
    await expect(control.sql`select decision_days.drop_day('2020-02-02')`).rejects.toThrow('too young')
    for (const day of [nameOf(Date.now()), nameOf(Date.now() - day_ms), 'd20200303', 'd99991231'])
      await expect(
        control.sql.unsafe(`select decision_days.drop_day(to_date('${day.slice(1)}', 'YYYYMMDD'))`),
        day,
      ).rejects.toThrow('there is no past day')
    expect(await control.sql`select decision_days.drop_day('2020-02-01') as n`).toEqual([{ n: '1' }])
    expect(await days()).not.toContain('d20200201')
    expect(await days()).toContain('d20200202')
  })
})

test('rows that were in one table before keep what they say, and each lies in the partition of its session', async () => {
  const admin = new URL(world.url.reveal())
  const name = `test_${newId('ses').slice(-12)}`
  await world.database.sql.unsafe(`create database ${name}`)
  const sql = postgres(Object.assign(admin, { pathname: `/${name}` }).href, { max: 1, onnotice: () => {} })
  try {
    const folder = join(import.meta.dirname, '../../migrations')
    const files = readdirSync(folder)
      .filter(file => file.endsWith('.sql'))
      .sort()
    const last = files.findIndex(file => file.includes('decision_days'))
    const run = async (file: string) => {
      for (const statement of readFileSync(join(folder, file), 'utf8').split('--> statement-breakpoint'))
        await sql.unsafe(statement)
    }
    for (const file of files.slice(0, last)) await run(file)
    const session = sessionOf(Date.UTC(2026, 9, 3, 4))
    await sql`insert into revisions (generation, commit, digest, opa_version, opts, bundle, rules, signature, author, subject_line)
      values (1, 'c', 'd', '1', 1, '\\x00', '{}', '\\x00', '', '')`
    const row = (id: string, point: string, of: string | null) => sql`
      insert into decisions (id, at_ms, point, effect, code, generation, input_digest, input, result, reasons, session_id, count, batch, masked)
      values (${id}, 7, ${point}, 'deny', 'policy', 1, 'x', '{"a":1}', '{"b":2}', '[{"rule":"r","message":"m"}]', ${of}, 3000000000, 'evt_1', '["/input/a"]')`
    await row('dec_a', 'action', session)
    await row('dec_b', 'action', 'ses_of_another_kind')
    await row('dec_c', 'access', null)
    const before = await sql`select to_jsonb(d) as row from decisions d order by id`
    await run(files[last]!)
    const after =
      await sql`select to_jsonb(d) - 'day' as row from action_decisions d union all select to_jsonb(d) from decisions d order by 1`
    expect(after.map(each => each['row'])).toEqual(expect.arrayContaining(before.map(each => each['row'])))
    expect(after).toHaveLength(3)
    const places = await sql`select id, tableoid::regclass::text as place from action_decisions order by id`
    expect(places.map(each => [each['id'], each['place']])).toEqual([
      ['dec_a', 'decision_days.d20261003'],
      ['dec_b', 'decision_days.rest'],
    ])
    expect((await sql`select id from decisions`).map(each => each['id'])).toEqual(['dec_c'])
  } finally {
    await sql.end()
    await world.database.sql.unsafe(`drop database ${name} with (force)`)
  }
})
