import type postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openDatabase } from '../../src/db/database.ts'
import { type DatabaseRole, databaseRoles, tableGrants } from '../../src/db/grants.ts'
import { migrate } from '../../src/db/migrate.ts'
import { newId } from '../../src/ids.ts'
import { Secret } from '../../src/secret.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

let world: TestDatabase
beforeAll(async () => {
  world = await createTestDatabase()
})
afterAll(() => world.drop())

async function refused(role: DatabaseRole, statement: string): Promise<void> {
  const database = openDatabase({ url: world.roleUrls[role], max: 1, application: 'test' })
  try {
    await expect(database.sql.unsafe(statement), `${role}: ${statement}`).rejects.toMatchObject({ code: '42501' })
  } finally {
    await database.close()
  }
}

describe('the grants of the three database users', () => {
  test('every table is classified, and nothing else is', async () => {
    const rows = await world.database.sql<
      { name: string }[]
    >`select tablename as name from pg_tables where schemaname = 'public' order by 1`
    expect(Object.keys(tableGrants).sort()).toEqual(rows.map(r => r.name))
  })

  test.each([
    ["insert into grants (id) values ('x')"],
    ['update grants set ends_at = now()'],
    ['delete from grants'],
    ["insert into votes (id) values ('x')"],
    ["insert into requests (id) values ('x')"],
    ['update requests set terms = null'], // what it may change of its own holds: test/gateway/hold.test.ts
    ["insert into holds (request_id) values ('x')"],
    ['update holds set held = held'],
    ['insert into revisions (generation) values (1)'],
    ['update revisions set digest = digest'],
    ["insert into subjects (id) values ('x')"],
    ["update subjects set groups = '[]'"],
    ["insert into tickets (id) values ('x')"],
    ['update tickets set sealed = sealed'],
    ['select * from api_tokens'],
    ['select * from refresh_tokens'],
    ['select * from web_sessions'],
    ['select wrapped from recording_keys'],
    ['update recording_keys set wrapped = null'],
    ['delete from recordings'],
    ['delete from audit_inbox'],
    ['update audit_inbox set body = null'],
    ["insert into recording_watches (decision_id) values ('x')"],
    ['update recording_watches set seen_at = now()'],
    ['select * from audit_state'],
    ['update decisions set effect = effect'],
    ['update action_decisions set effect = effect'],
    ['delete from action_decisions'],
    ['create table mine (id int)'],
    ['create temp table mine (id int)'],
    ['create schema mine'],
    ['select * from drizzle.__drizzle_migrations'],
  ])('the gateway may not %s', async statement => refused('gateway', statement))

  test.each([
    ["insert into grants (id) values ('x')"],
    ["insert into sessions (id) values ('x')"],
    ['update recordings set state = state'],
    ['delete from recording_segments'],
    ['update recording_keys set wrapped = null'],
    ["insert into recordings (id) values ('x')"],
    ['select sealed from tickets'],
    ['update sessions set ended_at = now()'],
  ])('replay may not %s', async statement => refused('replay', statement))

  test.each([
    ['select wrapped from recording_keys'],
    ["insert into recording_watches (decision_id) values ('x')"],
    ['delete from audit_inbox'],
    ['update audit_checkpoints set note = note'],
    ['update votes set answer = answer'],
    ['delete from audit_inbox'],
    ['update revisions set bundle = bundle'],
    ["insert into sessions (id) values ('x')"],
  ])('control may not %s', async statement => refused('control', statement))

  describe('row rules', () => {
    const id = newId('rec')
    let writer = ''
    const row = (name: string, seq = "currval('audit_places_seq_seq')", by = writer) =>
      `insert into audit_inbox (id, writer, wseq, at_ms, type, seq, leaf) values ('${name}', '${by}', 1, 1, 'grant.revoked', ${seq}, '{}')`
    const place = (by = writer) => `insert into audit_places (writer, wseq, count) values ('${by}', 1, 1)`
    const decision = (name: string, point: string, batch = 'null') => `insert into decisions
      (id, at_ms, point, effect, code, input_digest, input, result, reasons, batch)
      values ('${name}', 1, '${point}', 'allow', 'policy', '', '{}', '{}', '[]', ${batch})`
    const action = (name: string, batch = 'null', seq = 'null') => `insert into action_decisions
      (id, at_ms, point, effect, code, input_digest, input, result, reasons, batch, seq, day)
      values ('${name}', 1, 'action', 'allow', 'policy', '', '{}', '{}', '[]', ${batch}, ${seq}, '2026-01-01')`
    const recording = (name: string, state: string) => `insert into recordings
      (id, session_id, subject_id, subject_name, resource, labels, role, protocol, settings, decision_id, state)
      values ('${name}', '${name}', 's', 's', 'r', '{}', 'r', 'p', '{}', 'd', '${state}')`

    const part = (n: number, end = 'null') => `insert into recording_parts
      (recording_id, part, process_id, spool, started_at_ms, part_id, ended_at)
      values ('${id}', ${n}, 'prc_x', 'prc_x', 1, '${n}', ${end})`
    const segment = (n: number, of = id) => `insert into recording_segments
      (recording_id, part, n, first_seq, last_seq, bytes, hash, prev, key)
      values ('${id}', ${n}, 0, 1, 1, 1, 'h', '', '${of}/${n}-000000.seg')`

    async function as<T>(role: DatabaseRole, run: (sql: postgres.Sql) => Promise<T>): Promise<T> {
      const database = openDatabase({ url: world.roleUrls[role], max: 1, application: 'test' })
      try {
        return await run(database.sql)
      } finally {
        await database.close()
      }
    }

    beforeAll(async () => {
      await as('control', async sql => {
        const [made] = await sql<{ writer: string }[]>`insert into audit_writers (writer, process, wseq, prev)
          values ('prc_control.' || left(md5(current_user), 8) || '1', 'prc_control', 0, '') returning writer`
        writer = made!.writer
        await sql`insert into processes (id, role, host, pid) values ('prc_control', 'control', 'h', 1)`
        await sql.unsafe(decision('dec_admin', 'admin'))
      })
      await as('gateway', async sql => {
        await sql.unsafe(recording(id, 'open'))
        await sql.unsafe(action('dec_action'))
        for (const n of [1, 2]) await sql.unsafe(part(n))
        await sql.unsafe(segment(1))
        await sql`update recording_parts set ended_at = now(), ending = 'lost', last_seq = 1, gaps = '[{"from_seq": 1, "to_seq": 1}]'
          where recording_id = ${id} and part = 1`
        await sql`insert into processes (id, role, host, pid) values ('prc_gateway', 'gateway', 'h', 1)`
      })
    })

    test('RE4: nobody appends an event, or moves a chain, under the name of another role', async () => {
      await refused('gateway', row('evt_forged', '1'))
      await refused('replay', row('evt_forged', '1'))
      await refused('gateway', place())
      await refused('replay', place())
      await refused('control', `insert into audit_places (writer, wseq, count, idx) values ('${writer}', 2, 1, 7)`)
      await as('gateway', async sql => {
        expect((await sql`update audit_writers set wseq = 9 where writer = ${writer}`).count).toBe(0)
        expect(await sql`select from audit_writers where writer = ${writer} for update`).toHaveLength(0)
      })
      await as('control', async sql => {
        await sql.unsafe(place())
        await sql.unsafe(row('evt_true'))
      })
    })

    test("RE4: a gateway chooses no number in the log: it takes none of others' places, and leaves no event without one", async () => {
      await as('gateway', async sql => {
        const [own] = await sql<{ writer: string }[]>`insert into audit_writers (writer, process, wseq, prev)
          values ('prc_gateway.' || left(md5(current_user), 8) || '1', 'prc_gateway', 0, '') returning writer`
        const of = own!.writer
        for (const column of ['seq', 'idx'])
          await expect(
            sql.unsafe(
              `insert into audit_places (${column}, writer, wseq, count) overriding system value values (8192000, '${of}', 1, 1)`,
            ),
          ).rejects.toMatchObject({ code: '42501' })
        for (const call of ["nextval('audit_places_seq_seq')", "setval('audit_places_seq_seq', 4096)"])
          await expect(sql.unsafe(`select ${call}`)).rejects.toMatchObject({ code: '42501' })
        await expect(sql.unsafe(row('evt_none', '4096', of))).rejects.toMatchObject({ code: '55000' }) // no place yet
        await sql.unsafe(place(of))
        const mine = "currval('audit_places_seq_seq')"
        for (const seq of [`${mine} - 1`, `${mine} - 4096`, `${mine} + 4096`, `${mine} + 8192`, 'null'])
          await expect(sql.unsafe(row('evt_taken', seq, of)), seq).rejects.toMatchObject({
            code: expect.stringMatching(/42501|23502/),
          })
        await sql.unsafe(row('evt_own', mine, of))
        await sql`delete from audit_inbox where id = 'evt_own'`.catch(error => expect(error.code).toBe('42501'))
      })
    })

    test.each<[DatabaseRole, string]>([
      [
        'gateway',
        "insert into audit_writers (writer, process, wseq, prev) values ('p.' || left(md5('sallyport_control'), 8) || 'x', 'p', 0, '')",
      ],
      [
        'gateway',
        "insert into audit_writers (writer, process, wseq, prev, db_user) values ('w', 'p', 0, '', 'sallyport_control')",
      ],
      [
        'replay',
        "insert into processes (id, role, host, pid, facts) values ('prc_x', 'gateway', 'h', 1, '{\"ca\": \"mine\"}')",
      ],
      [
        'gateway',
        "insert into processes (id, role, host, pid, db_user) values ('prc_x', 'control', 'h', 1, 'sallyport_control')",
      ],
      ['gateway', decision('dec_forged', 'approve')],
      ['gateway', decision('dec_forged', 'action')],
      ['gateway', action('dec_hidden', "'evt_true'")],
      ['gateway', action('dec_hidden', 'null', '7')],
      ['gateway', decision('dec_hidden', 'access', "'evt_true'")],
      ['replay', action('dec_forged')],
      ['replay', decision('dec_forged', 'access')],
      ['gateway', recording('rec_forged', 'sealed')],
      ['gateway', `update recordings set state = 'deleted' where id = '${id}'`],
      ['gateway', `update recordings set state = 'sealed' where id = '${id}'`],
      ['gateway', `update recordings set seal = '{}' where id = '${id}'`],
      ['gateway', `insert into recording_keys (recording_id, part, wrapped) values ('${id}', 1, null)`],
      ['gateway', part(3, 'now()')],
      ['gateway', segment(1).replace(', 0, 1, 1,', ', 1, 2, 2,')], // behind the end of a part
      ['gateway', segment(3)], // of a part that is none
      ['gateway', segment(2, newId('rec'))],
      ['gateway', `update recording_segments set last_seq = 9 where recording_id = '${id}'`],
      ['gateway', `delete from recording_segments where recording_id = '${id}'`],
    ])('%s may not %s', async (role, statement) => refused(role, statement))

    test('what a part ended with, a gap and what is missing, no gateway changes any more', async () => {
      await as('gateway', async sql => {
        const changed = await sql`update recording_parts set gaps = '[]', ending = 'clean', tail_missing_from = null
          where recording_id = ${id} returning part`
        expect(changed.map(row => row['part'])).toEqual([2])
      })
    })

    test('no decision goes that is younger than a day or not covered by the audit log yet', async () => {
      await as('control', async sql => {
        const old = Date.now() - 90_000_000
        await sql`insert into decisions (id, at_ms, point, effect, code, input_digest, input, result, reasons) values
          ('dec_young', ${Date.now() - 3_600_000}, 'admin', 'allow', 'policy', '', '{}', '{}', '[]'),
          ('dec_old', ${old}, 'admin', 'allow', 'policy', '', '{}', '{}', '[]')`
        await sql`insert into action_decisions (id, at_ms, point, effect, code, input_digest, input, result, reasons, day) values
          ('dec_open', ${old}, 'action', 'allow', 'policy', '', '{}', '{}', '[]', '2026-01-01')`
        const gone = await sql`delete from decisions where id in ('dec_young', 'dec_old') returning id`
        expect(gone.map(row => row['id'])).toEqual(['dec_old'])
        expect(await sql`delete from action_decisions where id = 'dec_open' returning id`).toHaveLength(0)
      })
    })

    test('what belongs to another is not changed', async () => {
      await as('gateway', async sql => {
        expect((await sql`update decisions set count = 9 where id = 'dec_admin'`).count).toBe(0)
        expect((await sql`update action_decisions set count = 9 where id = 'dec_action'`).count).toBe(1)
        expect((await sql`update processes set ready = 'stopped' where id = 'prc_control'`).count).toBe(0)
        expect((await sql`update processes set ready = 'ready' where id = 'prc_gateway'`).count).toBe(1)
      })
    })
  })

  test('what the table says is what the server holds, no more and no less', async () => {
    for (const role of databaseRoles) {
      const user = new URL(world.roleUrls[role].reveal()).username
      const rows = await world.database.sql<{ table: string; held: string[] }[]>`
        select c.relname as table, array_agg(lower(a.privilege_type) order by 1) as held
        from pg_class c, aclexplode(c.relacl) a join pg_roles r on r.oid = a.grantee
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and r.rolname = ${user} group by 1`
      const held = new Map(rows.map(r => [r.table, r.held.sort()]))
      for (const [table, grants] of Object.entries(tableGrants)) {
        expect(held.get(table) ?? [], `${role} on ${table}`).toEqual(
          grants[role].filter(p => !p.includes('(')).toSorted(),
        )
      }
    }
  })

  test('migrating again changes nothing and takes a stray privilege back', async () => {
    const user = new URL(world.roleUrls.gateway.reveal()).username
    await world.database.sql.unsafe(`grant insert on grants to ${user}; grant update (answer) on votes to ${user}`)
    await migrate(world.url, world.roleUrls)
    await refused('gateway', "insert into grants (id) values ('x')")
    await refused('gateway', 'update votes set answer = answer')
  })

  test('two migrations at once follow one another', async () => {
    await expect(
      Promise.all([migrate(world.url, world.roleUrls), migrate(world.url, world.roleUrls)]),
    ).resolves.toHaveLength(2)
  })

  test('an owner who is no superuser can migrate, and make the users', async () => {
    const { sql } = world.database
    await sql.unsafe(`create role plain_owner login createrole password 'plain'`)
    await sql.unsafe('create database plain_database owner plain_owner')
    const at = (user: string, password: string) =>
      new Secret(
        Object.assign(new URL(world.url.reveal()), { username: user, password, pathname: '/plain_database' }).href,
      )
    const owner = at('plain_owner', 'plain')
    const roles = { control: at('plain_c', 'c1'), gateway: at('plain_g', 'g1'), replay: at('plain_r', 'r1') }
    await migrate(owner, roles)
    await migrate(owner, { ...roles, gateway: at('plain_g', 'g2') }) // a new password takes the place of the old one
    const gateway = openDatabase({ url: at('plain_g', 'g2'), max: 1, application: 'test' })
    expect(await gateway.sql`select count(*)::int as n from grants`).toEqual([{ n: 0 }])
    await gateway.close()
    await sql.unsafe('drop database plain_database with (force)')
  })

  test('one user for two roles is refused', async () => {
    const { control, replay } = world.roleUrls
    await expect(migrate(world.url, { control, gateway: control, replay })).rejects.toMatchObject({
      code: 'bad_config',
    })
  })

  test('a superuser is refused as the user of a role', async () => {
    const { gateway, replay } = world.roleUrls
    await expect(migrate(world.url, { control: world.url, gateway, replay })).rejects.toThrow(/superuser/)
  })
})
