import { spawn } from 'node:child_process'
import { connect } from 'node:net'
import { eq } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { holds } from '../../src/approvals/schema.ts'
import { sessions } from '../../src/sessions/schema.ts'
import { granted } from '../approvals/world.ts'
import { psqlEnv } from '../support/psql.ts'
import { say, Wire } from '../support/wire.ts'
import { createHeldWorld, type HeldWorld, noWhere } from './held.ts'

/** Holds as the wire sees them: COPY both ways, both protocols, pipelines, cursors, transactions, cancels. */
let held: HeldWorld
let world: HeldWorld['world']
const asks = `destroys if input.action.kind in {"truncate", "copy_from", "copy_to", "declare", "drop_table"}

destroys if {
	input.action.kind == "select"
	some relation in input.action.reads
	relation.name == "orders"
}`

beforeAll(async () => {
  held = await createHeldWorld(['action/production.rego', 'destroys if input.action.kind == "truncate"', asks])
  world = held.world
}, 60_000)
afterAll(() => world?.close())

async function open(role = 'writer') {
  const issued = await world.ticket(held.dan, role)
  const ticket = {
    id: issued.id,
    secret: issued.secret.reveal(),
    host: '127.0.0.1',
    port: held.a.port,
    database: 'shop',
    ca_file: world.caFile,
  }
  const wire = await Wire.open(ticket)
  const [session] = await world.db.select().from(sessions).where(eq(sessions.ticket_id, issued.id))
  const { id } = session!
  return {
    ticket,
    wire,
    /** What it asked for in all. */
    asked: async () => (await world.db.select().from(holds).where(eq(holds.session_id, id))).length,
    answer: async (answer: 'approve' | 'deny' = 'approve') => {
      const request = await held.waiting(id)
      granted(await held.cast(request, held.dora, answer))
      return request
    },
    /** As psql does on Ctrl-C, once it waits. */
    cancel: async () => {
      const request = await held.waiting(id)
      const bytes = Buffer.alloc(16)
      for (const [i, value] of [16, 80_877_102, wire.key.number, wire.key.secret].entries())
        bytes.writeInt32BE(value, i * 4)
      connect(held.a.port, '127.0.0.1').end(bytes)
      await expect.poll(async () => (await held.stateOf(request.id)).state).toBe('cancelled')
    },
  }
}
const without = (letters: string) => letters.replaceAll('N', '') // notices tell how it stands
const row = (id: number) => say.copyData(Buffer.from(`${id}\t1\t5\n`))
const withId = async (id: number) => (await world.admin(`select from orders where id = ${id}`)).rowCount
const extended = (sql: string) => [say.parse('', sql), say.bind('', ''), say.execute('')]

describe('COPY of a client that waits', () => {
  test('from stdin in psql runs when it is approved', async () => {
    const { ticket, answer, wire } = await open()
    wire.close()
    const psql = spawn('psql', ['-X', '-q', '-A', '-t'], { env: psqlEnv(ticket, '/nonexistent') })
    let text = ''
    for (const stream of [psql.stdout, psql.stderr]) stream.on('data', chunk => (text += chunk))
    psql.stdin.end("copy orders from stdin;\n1001\t1\t5\n\\.\nselect 'next';\n")
    const closed = new Promise(resolve => psql.once('close', resolve))
    const request = await answer()
    expect(request.reason).toBe('copy_from on public.orders')
    await closed
    expect(text).toContain('next')
    expect(await withId(1001)).toBe(1)
  })

  test('PG21: whose data came before the answer goes in after an approval, and is never read as anything else after a denial', async () => {
    const { wire, answer, asked } = await open()
    const hurried = (id: number, ...more: Buffer[]) =>
      wire.send(say.query('copy orders from stdin'), row(id), ...more, say.copyDone())
    hurried(1002)
    await answer()
    expect(without((await wire.until()).letters)).toBe('GCZ')
    expect(await withId(1002)).toBe(1)
    hurried(1003, say.copyData(say.query('delete from orders where id = 1')))
    await answer('deny')
    expect(without((await wire.until()).letters)).toBe('EZ')
    wire.send(say.query('select 1'))
    expect((await wire.until()).letters).toBe('TDCZ')
    expect([await withId(1003), await withId(1)]).toEqual([0, 1])
    expect(await asked()).toBe(2)
    wire.close()
  })

  test('waits in the extended protocol as well, both ways', async () => {
    const { wire, answer, asked } = await open()
    wire.send(...extended('copy orders from stdin'), row(1004), say.copyDone(), say.sync())
    await answer()
    expect(without((await wire.until()).letters)).toBe('12GCZ')
    expect(await withId(1004)).toBe(1)
    wire.send(...extended('copy orders to stdout'), say.sync())
    await answer()
    expect(without((await wire.until()).letters)).toMatch(/^12Hd+cCZ$/)
    wire.send(say.query('copy orders to stdout'))
    await answer('deny')
    const refused = await wire.until()
    expect(without(refused.letters)).toBe('EZ')
    expect(refused.text).toContain('refused: this needs an approval, and denied by dora')
    expect(await asked()).toBe(3)
    wire.close()
  })

  test('is cancelled before anything of it ran, and the connection is good for more', async () => {
    const { wire, cancel } = await open()
    for (const frames of [[say.query('copy orders from stdin')], [...extended('copy orders to stdout'), say.sync()]]) {
      wire.send(...frames)
      await cancel()
      const { letters, text } = await wire.until()
      expect(without(letters)).toMatch(/EZ$/)
      expect(text).toContain('57014')
      wire.send(say.query('select 1'))
      expect((await wire.until()).letters).toBe('TDCZ')
    }
    wire.close()
  })
})

describe('what waits in a pipeline', () => {
  test('holds back what is behind it; a denial fails its group and no other', async () => {
    const { wire, answer, asked } = await open()
    wire.send(...extended(noWhere), ...extended('select 1'), say.sync(), ...extended('select 2'), say.sync())
    await answer('deny')
    expect(without((await wire.until(2)).letters)).toBe('1EZ12DCZ')
    wire.send(...extended(noWhere), ...extended('select 1'), say.sync())
    await answer()
    expect(without((await wire.until()).letters)).toBe('12C12DCZ')
    expect(await asked()).toBe(2)
    await held.refill()
    wire.close()
  })

  test('is not asked for twice where the names of the database changed while it waited', async () => {
    await world.admin('grant create on schema public to shop_admin')
    const { wire, answer, asked } = await open('admin')
    wire.send(say.query('create table made_meanwhile (id int)'), say.query(noWhere))
    expect(without((await wire.until()).letters)).toBe('CZ') // the table is there before anybody answers
    await answer()
    expect(without((await wire.until()).letters)).toBe('CZ')
    wire.send(say.query('drop table if exists never_made'))
    await answer()
    expect((await wire.until()).letters).toMatch(/CZ$/)
    expect(await asked()).toBe(2)
    await held.refill()
    wire.close()
  })
})

describe('a cursor', () => {
  test('whose run was approved gives the rest of its rows without another question', async () => {
    const { wire, answer, asked } = await open()
    const some = Buffer.from(say.execute('p'))
    some.writeInt32BE(200, some.length - 4)
    wire.send(say.query('begin'), say.parse('', 'select id from orders'), say.bind('p', ''), some, say.sync())
    await answer()
    expect(without((await wire.until(2)).letters)).toMatch(/^CZ12D{200}sZ$/)
    wire.send(some, some, say.sync())
    expect(without((await wire.until()).letters)).toMatch(/^D{200}sD{100,}CZ$/)
    wire.send(say.query('declare c cursor for select id from orders'))
    await answer()
    await wire.until()
    wire.send(say.query('fetch 10 from c'), say.query('fetch 10 from c'), say.query('commit'))
    expect((await wire.until(3)).letters.replaceAll('D', '')).toBe('TCZTCZCZ')
    expect(await asked()).toBe(2)
    wire.close()
  })
})

describe('in the midst of a transaction', () => {
  test('an approved statement is part of it, a denied one fails it as the target would', async () => {
    const { wire, answer } = await open()
    wire.send(say.query('begin'), say.query('insert into orders values (2001, 1, 1)'), say.query(noWhere))
    await answer()
    await wire.until(3)
    wire.send(say.query('rollback'))
    await wire.until()
    expect([await withId(2001), await withId(1)]).toEqual([0, 1])
    wire.send(say.query('begin'), say.query('insert into orders values (2002, 1, 1)'), say.query(noWhere))
    await answer('deny')
    expect((await wire.until(3)).text.slice(-1)).toBe('E') // a failed transaction
    wire.send(say.query('select 1'), say.query('commit'))
    const after = await wire.until(2)
    expect(after.text).toContain('25P02')
    expect(after.text).toContain('ROLLBACK')
    expect(await withId(2002)).toBe(0)
    wire.close()
  })
})
