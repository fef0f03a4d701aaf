import { spawn } from 'node:child_process'
import { connect } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { C, frame, int16, int32 } from '../../../src/protocols/postgres/messages.ts'
import { startWireWorld, type WireWorld } from './wire-world.ts'

let world: WireWorld

beforeAll(async () => {
  world = await startWireWorld(`
    create table customers (id int primary key, name text not null, ssn text not null);
    insert into customers values (1, 'Ada', '111-22-3333'), (2, 'Bob', '444-55-6666');
    create table notes (id int primary key, body text);
    insert into notes select i, 'note ' || i from generate_series(1, 1000) i;
  `)
})
afterAll(() => world?.close())
beforeEach(() => {
  world.deny = () => undefined
  world.rules = []
  world.settings = { level: 'full', results: 'head', head_rows: 2, originals: 'drop' }
  world.onCommit = () => true
  world.behind = () => undefined
  world.journal.length = 0
  world.originals.length = 0
})

const Q = (sql: string) => frame(C.query, sql, 0)
const P = (name: string, sql: string) => frame(C.parse, name, 0, sql, 0, int16(0))
const B = (portal: string, name: string) => frame(C.bind, portal, 0, name, 0, int16(0), int16(0), int16(0))
const E = (portal: string) => frame(C.execute, portal, 0, int32(0))
const D = (what: string, name: string) => frame(C.describe, what, name, 0)
const S = frame(C.sync)
const denyWrites = () => {
  world.deny = action => (action.verb === 'read' || action.verb === 'session' ? undefined : 'readers may not write')
}
const ssnRule = {
  rule: 'masking.ssn',
  match: { schema: 'public', table: 'customers', column: 'ssn' },
  transform: { kind: 'redact' },
} as const

function psql(sql: string[], input?: string): Promise<{ code: number; out: string; err: string }> {
  return new Promise(resolve => {
    const child = spawn('psql', ['-X', '-A', '-t', ...sql.flatMap(s => ['-c', s])], { env: world.env() })
    let out = ''
    let err = ''
    child.stdout.on('data', d => (out += d))
    child.stderr.on('data', d => (err += d))
    child.stdin.end(input ?? '')
    child.on('close', code => resolve({ code: code ?? -1, out, err }))
  })
}

describe('a session through the real psql', () => {
  test('selects over TLS, and the journal has the statement before its result', async () => {
    const { code, out } = await psql(['select name from customers order by id'])
    expect({ code, out }).toEqual({ code: 0, out: 'Ada\nBob\n' })
    const kinds = world.journal.map(e => e.kind)
    expect(kinds.indexOf('statement')).toBeLessThan(kinds.indexOf('result'))
    expect(world.journal.find(e => e.kind === 'result')!.body).toMatchObject({
      tag: 'SELECT 2',
      rows: 2,
      values: [['Ada'], ['Bob']],
    })
  })

  test('reads why a statement was denied, and goes on', async () => {
    denyWrites()
    const { out, err } = await psql(['delete from customers', 'select 1'])
    expect(err).toContain('readers may not write')
    expect(err).toContain('DETAIL:  rule test.rule')
    expect(err).toContain('HINT:  ask')
    expect(out).toBe('1\n')
    expect((await world.admin('select count(*) from customers')).rows[0].count).toBe('2')
  })

  test('PG1: one denied statement of a string, and nothing of the string runs', async () => {
    denyWrites()
    await psql(["insert into notes values (5000, 'x'); drop table customers"])
    world.deny = action => (action.kind === 'drop' || action.verb === 'ddl' ? 'no' : undefined)
    const { err } = await psql(["insert into notes values (5001, 'x'); drop table customers"])
    expect(err).toContain('ERROR')
    expect((await world.admin('select count(*) from notes where id >= 5000')).rows[0].count).toBe('0')
  })

  test('COPY both ways passes', async () => {
    const into = await psql(['copy notes from stdin'], '2001\thello\n2002\tworld\n')
    expect(into.err).toBe('')
    const out = await psql(['copy (select id, body from notes where id > 2000 order by id) to stdout'])
    expect(out.out).toBe('2001\thello\n2002\tworld\n')
    await world.admin('delete from notes where id > 2000')
  })

  test('a wrong secret and an unknown ticket read the same', async () => {
    const wrong = spawnEnv({ ...world.env(), PGPASSWORD: 'nonsense' })
    const unknown = spawnEnv({ ...world.env(), PGUSER: 'tkt_unknown' })
    const [a, b] = await Promise.all([wrong, unknown])
    expect(a.err).toContain('the ticket is unknown, has ended, or its secret is wrong')
    expect(b.err.replace(/tkt_\w+/, '')).toBe(a.err.replace(/tkt_\w+/, ''))
  })
})

function spawnEnv(env: Record<string, string>): Promise<{ err: string }> {
  return new Promise(resolve => {
    const child = spawn('psql', ['-X', '-c', 'select 1'], { env })
    let err = ''
    child.stderr.on('data', d => (err += d))
    child.on('close', () => resolve({ err }))
  })
}

describe('the extended protocol', () => {
  test('drivers bind parameters, and both formats come back', async () => {
    const client = await world.client()
    expect((await client.query('select name from customers where id = $1', [2])).rows).toEqual([{ name: 'Bob' }])
    expect(
      (await client.query({ name: 'n', text: 'select id from customers where name = $1', values: ['Ada'] })).rows,
    ).toEqual([{ id: 1 }])
    expect(
      (await client.query({ name: 'n', text: 'select id from customers where name = $1', values: ['Bob'] })).rows,
    ).toEqual([{ id: 2 }])
    await client.end()
    const executed = world.journal.filter(e => e.body['phase'] === 'execute')
    expect(executed.map(e => e.body['parameters'])).toEqual([['2'], ['Ada'], ['Bob']])
  })

  test('PG4: after a denied Parse everything up to the Sync is dropped, and exactly E Z comes', async () => {
    const raw = await world.raw()
    raw.send(P('', 'select 1'), S)
    expect((await raw.until()).letters).toBe('1Z')
    denyWrites()
    raw.send(P('', 'delete from customers'), B('', ''), E(''), S)
    expect((await raw.until()).letters).toBe('EZ')
    raw.send(Q('select 2'))
    expect((await raw.until()).letters).toBe('TDCZ')
    raw.socket.destroy()
  })

  test('PG2: an Execute is decided again, under the policy of now', async () => {
    const raw = await world.raw()
    raw.send(P('d', 'delete from notes where id = 999'), S)
    await raw.until()
    denyWrites()
    raw.send(B('', 'd'), E(''), S)
    expect((await raw.until()).letters).toBe('2EZ')
    expect((await world.admin('select 1 from notes where id = 999')).rowCount).toBe(1)
    raw.socket.destroy()
  })

  test('a denial in a pipeline comes behind the answers before it, and undoes their implicit transaction', async () => {
    const raw = await world.raw()
    world.deny = action => (action.kind === 'delete' ? 'no' : undefined)
    raw.send(
      P('', "insert into notes values (3000, 'x')"),
      B('', ''),
      E(''),
      P('', 'delete from notes'),
      B('', ''),
      E(''),
      S,
      P('', 'select 7'),
      B('', ''),
      E(''),
      S,
    )
    expect((await raw.until(2)).letters).toBe('12CEZ12DCZ')
    expect((await world.admin('select 1 from notes where id = 3000')).rowCount).toBe(0)
    raw.socket.destroy()
  })

  test('a denial inside of a transaction block fails the block, as a failing statement would', async () => {
    const raw = await world.raw()
    world.deny = action => (action.kind === 'delete' ? 'no' : undefined)
    raw.send(Q('begin'), Q("insert into notes values (3001, 'x')"), Q('delete from notes'), Q('commit'))
    const { letters, bodies } = await raw.until(4)
    expect(letters).toBe('CZCZEZCZ')
    const status = bodies.filter(b => b[0] === 0x5a).map(b => String.fromCharCode(b[5]!))
    expect(status).toEqual(['T', 'T', 'E', 'I'])
    expect(bodies.at(-2)!.toString('latin1')).toContain('ROLLBACK')
    raw.socket.destroy()
  })

  test('a statement that failed does not lend its name to another one in a pipeline', async () => {
    const raw = await world.raw()
    // The second Parse is skipped by the target because the first Execute fails; the Bind behind the Sync must then run
    // what the target holds, and be judged as that.
    raw.send(
      P('', 'select 1/(id - 1), ssn from customers'),
      B('', ''),
      E(''),
      P('', 'select name from customers'),
      S,
      B('', ''),
      E(''),
      S,
    )
    const { letters } = await raw.until(2)
    expect(letters.startsWith('12EZ')).toBe(true)
    const texts = world.journal.filter(e => e.body['phase'] === 'execute').map(e => e.body['text'])
    expect(texts).toEqual(['select 1/(id - 1), ssn from customers', 'select 1/(id - 1), ssn from customers'])
    raw.socket.destroy()
  })

  test('PG5: a function call by OID is refused', async () => {
    const raw = await world.raw()
    raw.send(frame(C.functionCall, int32(1598), int16(0), int16(0), int16(0)))
    expect((await raw.until()).letters).toBe('EZ')
    raw.socket.destroy()
  })

  test('PG21: data of a denied COPY is dropped and never read as messages', async () => {
    denyWrites()
    const raw = await world.raw()
    raw.send(
      Q('copy notes from stdin'),
      frame(C.copyData, Q('delete from customers')),
      frame(C.copyData, 'x\n'),
      frame(C.copyDone),
      Q('select 5'),
    )
    expect((await raw.until(2)).letters).toBe('EZTDCZ')
    raw.socket.destroy()
  })

  test('an unknown message ends the connection', async () => {
    const raw = await world.raw()
    raw.send(frame('?'.charCodeAt(0), 'x'))
    const { type } = await raw.messages.next()
    expect(String.fromCharCode(type)).toBe('E')
    await expect(raw.messages.next()).rejects.toThrow('closed')
  })

  test('PG9: a message with an impossible length ends the connection', async () => {
    for (const length of [3, -1, 0x7fffffff]) {
      const raw = await world.raw()
      const head = Buffer.alloc(5)
      head[0] = 0x51
      head.writeInt32BE(length, 1)
      raw.send(head)
      expect(String.fromCharCode((await raw.messages.next()).type)).toBe('E')
      await expect(raw.messages.next()).rejects.toThrow('closed')
    }
  })

  test('PG16: text that is not UTF-8 is refused, and the connection goes on', async () => {
    const raw = await world.raw()
    raw.send(frame(C.query, Buffer.from([0x73, 0x95, 0x5c]), 0))
    expect((await raw.until()).letters).toBe('EZ')
    raw.send(Q('select 1'))
    expect((await raw.until()).letters).toBe('TDCZ')
    raw.socket.destroy()
  })
})

describe('masking on the wire', () => {
  test('literals and parameters on a masked relation go into the originals where policy seals them, and nowhere else', async () => {
    world.rules = [ssnRule]
    const ask = async () => {
      const client = await world.client()
      await client.query("select id from customers where name = 'SECRET-Ada'")
      await client.query('select id from customers where name = $1', ['SECRET-Bob'])
      await client.query("select body from notes where body = 'not hidden'")
      await client.end()
    }
    await ask()
    expect(world.originals).toEqual([])
    world.settings = { ...world.settings, originals: 'sealed' }
    await ask()
    expect(JSON.stringify(world.journal)).not.toContain('SECRET-')
    expect(world.originals.map(event => event.body)).toMatchObject([
      { phase: 'query', text: "select id from customers where name = 'SECRET-Ada'" },
      { phase: 'parse', text: 'select id from customers where name = $1' },
      { phase: 'execute', parameters: ['SECRET-Bob'] },
    ])
  })

  test('masked columns in the simple protocol', async () => {
    world.rules = [ssnRule]
    const { out } = await psql(['select id, ssn as x from customers order by id'])
    expect(out).not.toMatch(/\d{3}-\d{2}-\d{4}/)
    expect(out.split('\n')).toHaveLength(3)
    expect(JSON.stringify(world.journal)).not.toContain('111-22-3333')
  })

  test('PG3: without a Describe rows are masked all the same', async () => {
    world.rules = [ssnRule]
    const raw = await world.raw()
    raw.send(P('', 'select ssn from customers'), B('', ''), E(''), S)
    const { letters, bodies } = await raw.until()
    expect(letters).toBe('12DDCZ')
    expect(Buffer.concat(bodies).toString('latin1')).not.toMatch(/\d{3}-\d{2}-\d{4}/)
    raw.send(P('', 'select ssn from customers'), B('', ''), D('P', ''), E(''), S)
    const again = await raw.until()
    expect(again.letters).toBe('12TDDCZ')
    expect(Buffer.concat(again.bodies).toString('latin1')).not.toMatch(/\d{3}-\d{2}-\d{4}/)
    raw.socket.destroy()
  })

  test('rules that come in mid-session hold for what was prepared before', async () => {
    const raw = await world.raw()
    raw.send(P('s', 'select ssn from customers'), B('', 's'), E(''), S)
    expect(Buffer.concat((await raw.until()).bodies).toString('latin1')).toContain('111-22-3333')
    expect(await world.newRules([ssnRule])).toBeUndefined()
    raw.send(B('', 's'), E(''), S)
    expect(Buffer.concat((await raw.until()).bodies).toString('latin1')).not.toContain('111-22-3333')
    raw.socket.destroy()
  })

  test('MK9: the text of an error carries no value out', async () => {
    world.rules = [ssnRule]
    const { err } = await psql(["insert into customers values (1, 'Eve', '999-88-7777')"])
    expect(err).toContain('ERROR')
    expect(err).not.toContain('(1)')
  })
})

describe('the end of a session', () => {
  test('LC1: cuts a running query, with the reason in the client, and cancels it at the target', async () => {
    const running = psql(['select pg_sleep(30)'])
    await expect.poll(() => world.journal.some(e => e.kind === 'statement')).toBe(true)
    world.end('the grant was revoked by Dana: incident')
    const { err } = await running
    expect(err).toContain('the grant was revoked by Dana: incident')
    await expect
      .poll(
        async () =>
          (
            await world.admin(
              "select 1 from pg_stat_activity where query like '%pg_sleep(30)%' and pid <> pg_backend_pid() and state = 'active'",
            )
          ).rowCount,
      )
      .toBe(0)
  })

  test('a journal that takes nothing lets nothing through', async () => {
    const client = await world.client()
    world.onCommit = () => false
    const query = client.query("insert into notes values (4000, 'x')").catch((error: Error) => error)
    await new Promise(resolve => setTimeout(resolve, 200))
    world.end('the recorder is lost')
    expect(((await query) as Error).message).toContain('the recorder is lost')
    expect((await world.admin('select 1 from notes where id = 4000')).rowCount).toBe(0)
  })

  test('a strict journal delays and keeps the order', async () => {
    world.onCommit = () => new Promise(resolve => setTimeout(() => resolve(true), 5))
    const client = await world.client()
    for (let i = 0; i < 5; i++) expect((await client.query('select $1::int as n', [i])).rows[0].n).toBe(i)
    await client.end()
  })

  test('a store that is behind stops the flow until it has caught up', async () => {
    let caughtUp = () => {}
    const client = await world.client()
    world.behind = () =>
      new Promise(resolve => {
        caughtUp = resolve
      })
    const rows = client.query("select repeat('x', 1000) from generate_series(1, 20000)")
    await new Promise(resolve => setTimeout(resolve, 500))
    expect(await Promise.race([rows, Promise.resolve('waiting')])).toBe('waiting')
    world.behind = () => undefined
    caughtUp()
    expect((await rows).rowCount).toBe(20_000)
    await client.end()
  })

  test('cancel reaches the target, and only with our own key', async () => {
    const client = await world.client()
    const query = client.query('select pg_sleep(20)').catch((error: Error) => error)
    await new Promise(resolve => setTimeout(resolve, 200))
    const { processID, secretKey } = client as unknown as { processID: number; secretKey: number }
    const cancel = (key: number) =>
      new Promise<void>(resolve => {
        const socket = connect(world.port, '127.0.0.1')
        socket.on('close', () => resolve())
        const bytes = Buffer.alloc(16)
        bytes.writeInt32BE(16, 0)
        bytes.writeInt32BE(80877102, 4)
        bytes.writeInt32BE(processID, 8)
        bytes.writeInt32BE(key, 12)
        socket.end(bytes)
      })
    await cancel(secretKey ^ 1)
    await new Promise(resolve => setTimeout(resolve, 200))
    expect(await Promise.race([query, Promise.resolve('running')])).toBe('running')
    await cancel(secretKey)
    expect(((await query) as Error).message).toContain('cancel')
    await client.end()
  })
})
