// node-postgres (pg): settings come in CONFORMANCE, one JSON line a behaviour goes out.
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { digest, plain, runAll, unicode, way } from './harness.js'

const settings = {
  host: way.host,
  port: way.port,
  user: way.user,
  password: way.password,
  database: way.database,
  ssl: { ca: readFileSync(way.ca, 'utf8'), rejectUnauthorized: true, host: way.host },
  connectionTimeoutMillis: 20_000,
}

async function open() {
  const client = new pg.Client(settings)
  client.on('error', () => {})
  await client.connect()
  return client
}

const rows = async (c, query, values) => plain((await c.query({ rowMode: 'array', ...query, values })).rows)
const codeOf = (c, text, values) => rows(c, { text }, values).catch(error => error.code)
async function inTurn(c, ...texts) {
  const found = []
  for (const text of texts) found.push(await codeOf(c, text))
  return found
}

const typesSql = `select 1::int2, -2::int4, 9007199254740993::int8, 12345.678900::numeric, 'NaN'::numeric, 1.5::float4, -2.25::float8,
  'é'::text, '\\x00ff10'::bytea, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, '{"a":[1,null]}'::json, '{"b":2}'::jsonb,
  '2024-02-29 12:34:56.789+02'::timestamptz, '2024-02-29'::date, true, array[1,2,null]::int4[], array[['a','b,"'],['c',null]]::text[], null::text`

const behaviours = {
  connect: c => codeOf(c, 'select 1'),
  simple: c => rows(c, { text: "select 1 as one, 'x' as x, null as n" }),
  // In text only: what this driver makes of binary results is not comparable.
  parameters: c =>
    rows(c, { text: 'select $1::int4, $2::text, $3::bytea, $4::int8' }, [
      7,
      "a'b\\c",
      Buffer.of(0, 255),
      String(2 ** 40),
    ]),
  types: async c => [await rows(c, { text: typesSql }), await rows(c, { text: typesSql, queryMode: 'extended' })],
  prepared: async c => {
    const found = []
    for (let i = 0; i < 20; i++) found.push(await rows(c, { name: 'twice', text: 'select $1::int4 * 2' }, [i]))
    return found
  },
  transaction: c =>
    inTurn(
      c,
      'create temp table t (i int)',
      ...['begin', 'insert into t values (1)', 'savepoint s', 'insert into t values (2)', 'rollback to s', 'commit'],
      ...['begin', 'insert into t values (3)', 'rollback', 'select i from t'],
    ),
  error_then_continue: c => inTurn(c, 'select 1/0', 'selec 1', 'select * from no_such', 'select 2'),
  error_in_transaction: c => inTurn(c, 'begin', 'select 1/0', 'select 1', 'rollback', 'select 3'),
  cursor: c =>
    inTurn(
      c,
      'begin',
      'declare walk cursor for select g from generate_series(1, 250) g',
      'fetch 3 from walk',
      'move 200 from walk',
      'fetch 2 from walk',
      'commit',
    ),
  cancel: async c => {
    const started = performance.now()
    const query = new pg.Query('select pg_sleep(20)')
    const code = new Promise(resolve => query.on('error', error => resolve(error.code)))
    c.query(query)
    await sleep(400)
    const other = new pg.Client(settings)
    other.on('error', () => {})
    other.cancel(c, query)
    return [await code, performance.now() - started < 10_000, await codeOf(c, 'select 5')]
  },
  notify: async c => {
    const got = new Promise(resolve => c.once('notification', n => resolve([n.channel, n.payload])))
    await c.query('listen conformance_channel')
    const other = await open()
    await other.query("notify conformance_channel, 'hello'")
    await other.end()
    return Promise.race([got, sleep(10_000, 'nothing came')])
  },
  large_result: async c =>
    digest(
      (
        await c.query({
          rowMode: 'array',
          text: "select g, 'row ' || g, md5(g::text) from generate_series(1, 200000) g",
        })
      ).rows,
    ),
  large_parameter: c =>
    codeOf(c, 'select length($1::text), md5($1::text), octet_length($2::bytea)', [
      'äx'.repeat(400_000),
      Buffer.alloc(2 ** 20),
    ]),
  empty: c => inTurn(c, '', '-- only a comment', 'select 6'),
  multi: async c =>
    (await c.query("select 1; select 'two'; create temp table m (i int)")).map(r => [r.command, plain(r.rows)]),
  notices: async c => {
    const seen = []
    c.on('notice', n => seen.push([n.severity, n.code, n.message]))
    await c.query('drop table if exists no_such_table')
    await c.query("do $$ begin raise warning 'careful %', 1; end $$")
    return seen
  },
  parameter_status: async () => {
    const client = new pg.Client(settings)
    const found = {}
    client.connection.on('parameterStatus', m => (found[m.parameterName] = m.parameterValue))
    await client.connect()
    await client.end()
    delete found.session_authorization
    return Object.entries(found).sort()
  },
  pool: async () => {
    const pool = new pg.Pool({ ...settings, max: 10 })
    const held = await Promise.all(Array.from({ length: 10 }, () => pool.connect()))
    const found = await Promise.all(held.map((c, i) => codeOf(c, 'select $1::int4', [i])))
    for (const c of held) c.release()
    await pool.end()
    return found
  },
  unicode: async c => {
    const result = await c.query({
      text: `select $1::text, length($1), '${unicode}' as "spålte"`,
      values: [unicode],
      rowMode: 'array',
    })
    return [plain(result.rows), result.fields.map(f => f.name)]
  },
  denied: c =>
    inTurn(
      c,
      'delete from orders',
      'select upper(national_id) from customers limit 1',
      'drop table orders',
      'select count(*) > 0 from orders',
    ),
  masked: async c => {
    const text = 'select id, email, national_id as n, card_number from customers where id <= $1 order by id'
    return [await rows(c, { text }, [3]), await rows(c, { text: text.replace('$1', '3') })]
  },
}

await runAll(behaviours, open, c => c.end())
