import { once } from 'node:events'
import postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { int32 } from '../../src/protocols/postgres/messages.ts'
import { replaced } from '../support/policy-edits.ts'
import type { Ticket } from '../support/psql.ts'
import { dialTcp, say, Wire } from '../support/wire.ts'
import { startWorld, type TestWorld } from '../support/world.ts'

/** What is refused, with the real client and with raw sockets; the target's own log says that it saw nothing of it. */
let world: TestWorld
let reader: Ticket
beforeAll(async () => {
  world = await startWorld()
  await world.logStatements()
  await world.grant(world.person.erin)
  reader = await world.person.erin.ticket()
})
afterAll(() => world?.stop())

const psql = (statements: string, args: string[] = [], env = {}) =>
  world.person.erin.psql(reader, statements, args, env)
const driver = (ticket: Ticket, options: postgres.Options<Record<string, never>> = {}) =>
  postgres({
    host: ticket.host,
    port: ticket.port,
    user: ticket.id,
    pass: ticket.secret,
    database: ticket.database,
    ssl: { rejectUnauthorized: false },
    max: 1,
    onnotice: () => {},
    ...options,
  })
const sleeping = async () => (await world.backends()).filter(b => b.state === 'active' && b.query.includes('pg_sleep'))
const count = async () => (await world.shop`select count(*)::int as n from orders`)[0]!['n'] as number

describe('a statement that policy denies', () => {
  test('PG1: takes the whole string with it; the target sees none of it', async () => {
    const { code, stderr, stdout } = await psql('', [
      '-c',
      "select 'pg1-before'; drop table products; select 'pg1-after'",
    ])
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/a reader may not ddl/)
    expect(world.targetLog()).not.toContain('pg1-')
  })

  test('PG2: is denied in the extended protocol and as SQL PREPARE, EXECUTE too', async () => {
    const before = await count()
    const sql = driver(reader)
    await expect(sql`delete from orders where id = ${2}`).rejects.toMatchObject({
      code: '42501',
      message: expect.stringContaining('a reader may not write'),
      detail: expect.stringMatching(/action\.reader-write.*action\/action\.rego:\d+@.*dec_/s),
      hint: expect.stringContaining('writer'),
    })
    expect(await sql`select 1 as one`).toEqual([{ one: 1 }])
    await sql.end()
    const prepared = await psql('prepare gone as delete from orders;\nexecute gone;\nselect 3;')
    expect(prepared.stdout).toBe('3\n')
    expect(prepared.stderr).toContain('a reader may not write')
    expect(await count()).toBe(before)
    expect(world.targetLog()).not.toContain('delete from orders')
  })

  test('leaves psql in step: the next statement works, alone, with \\gset, and after the rollback of a block', async () => {
    expect((await psql('select 5 as five \\gset\ndelete from orders where id = :five;\nselect :five;')).stdout).toBe(
      '5\n',
    )
    const block = await psql('begin;\nselect 6;\ndelete from orders;\nselect 7;\nrollback;\nselect 8;')
    expect(block.stdout).toBe('6\n8\n')
    expect(block.stderr).toContain('current transaction is aborted')
    const kept = await psql(
      '\\set ON_ERROR_ROLLBACK on\nbegin;\nselect 1;\ndelete from orders;\nselect 2;\ncommit;\nselect 3;',
    )
    expect(kept.stdout).toBe('1\n2\n3\n')
  })

  test('leaves a pipeline in step: what stands before and behind it gets its own answer', async () => {
    const sql = driver(reader)
    await sql`select 1`
    const answers = await Promise.allSettled([
      sql`select ${1}::int as n`,
      sql`delete from orders where id = ${1}`,
      sql`select ${3}::int as n`,
      sql.unsafe('update orders set status = null'),
      sql`select ${5}::int as n`,
    ])
    await sql.end()
    expect(
      answers.map(a => (a.status === 'fulfilled' ? a.value[0]?.['n'] : (a.reason as { code: string }).code)),
    ).toEqual([1, '42501', 3, '42501', 5])
  })

  test('PG4: a denied Parse does not let Bind and Execute run the statement before it', async () => {
    const wire = await Wire.open(reader)
    wire.send(say.parse('', "select 'pg4-older'"), say.sync())
    expect((await wire.until()).letters).toBe('1Z')
    wire.send(say.parse('', 'delete from orders'), say.bind('', ''), say.execute(''), say.sync())
    const answer = await wire.until()
    expect(answer.letters).toBe('EZ')
    expect(answer.text).not.toContain('pg4-older')
    wire.send(say.query('select 1'))
    expect((await wire.until()).letters).toBe('TDCZ')
    wire.close()
  })

  test('PG3: without Describe the rows come back masked all the same', async () => {
    const wire = await Wire.open(reader)
    const [real] = await world.shop`select national_id from customers where id = 1`
    wire.send(
      say.parse('', 'select national_id from customers where id = 1'),
      say.bind('', ''),
      say.execute(''),
      say.sync(),
    )
    const { letters, text } = await wire.until()
    expect(letters).toBe('12DCZ')
    expect(text).toContain('[redacted]')
    expect(text).not.toContain(real!['national_id'])
    wire.close()
  })

  test('PG5: a call of a function by its number is refused, and the connection goes on', async () => {
    const wire = await Wire.open(reader)
    wire.send(say.functionCall(2_923))
    expect((await wire.until()).letters).toBe('EZ')
    wire.send(say.query('select 1'))
    expect((await wire.until()).letters).toBe('TDCZ')
    wire.close()
  })

  test.each([
    'set role shop_admin',
    "select set_config('role', 'shop_admin', false)",
    'set session authorization shop_owner',
    'reset session authorization',
    'begin read only; set transaction read write; delete from orders',
    "do $$ begin execute 'dele' || 'te from orders'; end $$",
    'with gone as (delete from orders returning *) select * from gone',
    'explain analyze delete from orders',
    "copy orders to program 'cat > /tmp/x'",
    "select pg_read_file('/etc/passwd')",
    'alter system set log_statement = none',
    'set standard_conforming_strings = off',
    "set client_encoding = 'SJIS'",
  ])('PG6, PG11–PG16: %s', async sql => {
    const before = await count()
    const { stderr, stdout } = await psql(`${sql};\nrollback;\nselect 'in', 'step';`)
    expect(stdout).toBe('in|step\n')
    expect(stderr).toMatch(/ERROR:/)
    expect(await count()).toBe(before)
    const [row] = await world.shop`show log_statement`
    expect(row).toEqual({ log_statement: 'all' })
  })

  test('PG20: 20,000 parentheses are refused, and others are served', async () => {
    const { stderr } = await psql(`select ${'('.repeat(20_000)}1${')'.repeat(20_000)};`)
    expect(stderr).toMatch(/ERROR|FATAL/)
    expect((await psql('select 1;')).stdout).toBe('1\n')
  })

  test('PG21: rows that a client streams after a denied COPY are dropped, whatever they look like', async () => {
    const before = await count()
    const wire = await Wire.open(reader)
    const hidden = say.query('delete from orders')
    wire.send(say.query('copy orders from stdin'), say.copyData(hidden), say.copyData(hidden), say.copyDone())
    expect((await wire.until()).letters).toBe('EZ')
    wire.send(say.query('select 1'))
    expect((await wire.until()).letters).toBe('TDCZ')
    wire.close()
    expect(await count()).toBe(before)
    const { stderr, stdout } = await psql("\\copy orders from program 'echo 1'\nselect 'on';")
    expect(stderr).toContain('a reader may not write')
    expect(stdout).toBe('on\n')
  })
})

describe('a connection that is refused', () => {
  test('PG7: startup options that set a role, a search path or replication', async () => {
    for (const options of ['-c role=shop_admin', '-c search_path=hr', '--log_statement=none']) {
      const { code, stderr } = await psql('select 1;', [], { PGOPTIONS: options })
      expect(code).toBe(2)
      expect(stderr).toContain('the startup parameter "options" is refused')
    }
    await expect(Wire.open(reader, { replication: 'database' })).rejects.toThrow(
      'the startup parameter "replication" is refused',
    )
    await expect(Wire.open(reader, { role: 'shop_admin' })).rejects.toThrow('the startup parameter "role" is refused')
    const other = await psql('select 1;', ['-d', 'postgres'])
    expect(other.code).toBe(2)
  })

  test('PG8: bytes stuffed behind the request for encryption close it', async () => {
    for (const request of [80_877_103, 80_877_104]) {
      const socket = await dialTcp(reader.host, reader.port)
      socket.write(Buffer.concat([int32(8), int32(request), say.query('select 1')]))
      let got = ''
      socket.on('data', (bytes: Buffer) => (got += bytes.toString('latin1')))
      await once(socket, 'close')
      expect(got).toBe('')
    }
  })

  test('PG9: garbage, wrong lengths and plain text close it, and others are served', async () => {
    const garbage = [
      Buffer.alloc(64, 0xff),
      int32(3),
      int32(0),
      int32(-1),
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
      int32(2 ** 30),
    ]
    for (const bytes of garbage) {
      const socket = await dialTcp(reader.host, reader.port)
      socket.resume().write(bytes)
      socket.end()
      await once(socket, 'close')
    }
    expect((await psql('select 1;')).stdout).toBe('1\n')
  })

  test('without TLS nobody gets in', async () => {
    const { code, stderr } = await psql('select 1;', [], { PGSSLMODE: 'disable' })
    expect(code).toBe(2)
    expect(stderr).toContain('this gateway speaks TLS only')
  })
})

describe('LC2: a ticket', () => {
  test('opens nothing with a wrong secret, with another’s, or for an id that nobody has', async () => {
    const { erin, eli } = world.person
    await world.grant(eli)
    const other = await eli.ticket()
    for (const wrong of [
      { ...reader, secret: `${reader.secret.slice(1)}x` },
      { ...reader, secret: other.secret },
      { ...reader, id: other.id },
      { ...reader, id: 'tkt_00000000000000000000000000' },
    ]) {
      const { code, stderr } = await erin.psql(wrong, 'select 1;')
      expect(code).toBe(2)
      expect(stderr).toContain('the ticket is unknown, has ended, or its secret is wrong')
    }
    await world.until(async () => {
      const events = await world.person.ava.get('/api/audit/events?type=ticket.refused')
      expect((events.body['items'] as unknown[]).length).toBeGreaterThanOrEqual(4)
    })
  })

  test('serves two psql at once as two connections of one session', async () => {
    const { erin } = world.person
    const [a, b] = [erin.openPsql(reader), erin.openPsql(reader)]
    expect(await a.ask('select 1;')).toEqual({ out: '1', err: '' })
    expect(await b.ask('select 2;')).toEqual({ out: '2', err: '' })
    const rows = await world.owner`
      select c.session_id from connections c join sessions s on s.id = c.session_id
      where s.ticket_id = ${reader.id} and c.closed_at is null`
    expect(rows.length).toBe(2)
    expect(new Set(rows.map(row => row['session_id'])).size).toBe(1)
    await a.close()
    await b.close()
  })

  test('serves as many connections as policy says and no more, counted over both workers', async () => {
    const { eli } = world.person
    const ticket = await eli.ticket()
    const wires: Wire[] = []
    for (let i = 0; i < 20; i++) wires.push(await Wire.open(ticket))
    expect((await world.serving(ticket.id)).length).toBe(2)
    await expect(Wire.open(ticket)).rejects.toThrow('20 open connections already')
    wires.pop()!.close()
    await world.until(async () => wires.push(await Wire.open(ticket)))
    for (const wire of wires) wire.close()
  })

  test('opens nothing after its session has ended', async () => {
    const { eli, sam } = world.person
    const ticket = await eli.ticket()
    expect((await eli.psql(ticket, 'select 1;')).stdout).toBe('1\n')
    const { id } = await world.sessionOf(ticket.id)
    await sam.post(`/api/sessions/${id}/end`, { reason: 'over' })
    const { code, stderr } = await eli.psql(ticket, 'select 1;')
    expect(code).toBe(2)
    expect(stderr).toContain('has ended')
  })

  test('AP11: there is none while the request is pending, by no door', async () => {
    const { erin } = world.person
    await erin.ask({ role: 'writer' })
    const answer = await erin.post('/api/tickets', { resource: 'shop-db', role: 'writer' })
    expect(answer.status).toBe(403)
    const cli = await erin.cli('connect', 'shop-db', '--role', 'writer', '--print')
    expect(cli.code).toBe(1)
    expect(cli.stdout).toBe('')
    expect((await world.owner`select 1 from tickets where role = 'writer'`).length).toBe(0)
  })
})

describe('PG18: a request to cancel', () => {
  test('works from psql, also where it arrives at the other worker', async () => {
    const { erin } = world.person
    // Connections go to the workers in turn: with one more in between, the request meets the other worker than without it.
    for (const between of [0, 1, 0, 1]) {
      const psql = erin.openPsql(reader)
      psql.send('select pg_sleep(30);')
      await world.until(async () => expect((await sleeping()).length).toBe(1))
      for (let i = 0; i < between; i++) (await dialTcp(reader.host, reader.port)).destroy()
      psql.command.kill('SIGINT')
      await psql.command.says(/canceling statement due to user request/)
      await psql.command.ended
    }
  })

  test('with another’s or a guessed key does nothing', async () => {
    const [mine, other] = [await Wire.open(reader), await Wire.open(reader)]
    mine.send(say.query("select pg_sleep(2), 'slept'"))
    for (const [number, secret] of [
      [mine.key.number, other.key.secret],
      [other.key.number, mine.key.secret],
      [mine.key.number, mine.key.secret ^ 1],
      [mine.key.number + 1, mine.key.secret],
    ] as const) {
      const socket = await dialTcp(reader.host, reader.port)
      socket.resume().end(Buffer.concat([int32(16), int32(80_877_102), int32(number), int32(secret)]))
      await once(socket, 'close')
    }
    const { letters, text } = await mine.until()
    expect(letters).toBe('TDCZ')
    expect(text).toContain('slept')
    mine.close()
    other.close()
  })
})

describe('AP6: nobody approves their own request', () => {
  test('by the API, by the command line, or in Slack', async () => {
    const { dana } = world.person
    await world.linkSlack(dana)
    const request = await dana.ask({ role: 'writer', reason: 'for myself' })
    expect(await dana.vote(request)).toMatchObject({ status: 403 })
    const cli = await dana.cli('approve', request.id)
    expect(cli.code).toBe(1)
    expect(cli.stderr).toContain('nobody answers a request of their own')
    const message = await world.until(() => {
      const found = world.dev.slack
        .messages({ channel: 'db-approvals' })
        .find(m => JSON.stringify(m.blocks).includes('for myself'))
      if (found === undefined) throw new Error('no message yet')
      return found
    })
    await world.dev.slack.click(dana.slackId, message, 'approve')
    await world.until(() => {
      const told = world.dev.slack
        .messages({ user: dana.slackId })
        .map(m => m.text)
        .join('\n')
      expect(told).toContain('nobody answers a request of their own')
    })
    expect((await dana.get(`/api/requests/${request.id}`)).body).toMatchObject({ state: 'pending', votes: [] })
  })
})

describe('a merged policy', () => {
  test('PG2: denies a statement that was prepared before it, at its next Execute', async () => {
    const { eli } = world.person
    await world.grant(eli, { role: 'writer' })
    const wire = await Wire.open(await eli.ticket({ role: 'writer' }))
    wire.send(
      say.parse('pay', "update orders set status = 'paid' where id = 4"),
      say.bind('', 'pay'),
      say.execute(''),
      say.sync(),
    )
    expect((await wire.until()).letters).toBe('12CZ')
    await world.activate({
      'action/action.rego': text =>
        replaced(text, '"writer": {"read", "write", "session"}', '"writer": {"read", "session"}'),
    })
    wire.send(say.bind('', 'pay'), say.execute(''), say.sync())
    const { letters, text } = await wire.until()
    expect(letters).toMatch(/^2?EZ$/)
    expect(text).toContain('your role does not cover this')
    wire.close()
  })

  test('LC2: keeps out who comes from another address', async () => {
    await world.activate({
      'access/access.rego': text => replaced(text, '"from": ["0.0.0.0/0", "::/0"]', '"from": ["192.0.2.0/24"]'),
    })
    const { code, stderr } = await psql('select 1;')
    expect(code).toBe(2)
    expect(stderr).toMatch(/FATAL/)
    expect(stderr).toContain('address')
  })
})
