// postgres.js (postgres): settings come in CONFORMANCE, one JSON line a behaviour goes out.
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { digest, plain, runAll, unicode, way } from './harness.js'

const settings = {
  host: way.host,
  port: way.port,
  username: way.user,
  password: way.password,
  database: way.database,
  ssl: { ca: readFileSync(way.ca, 'utf8'), rejectUnauthorized: true, host: way.host },
  connect_timeout: 20,
  max: 1,
  onnotice: () => {},
}
const open = more => postgres({ ...settings, ...more })
const codeOf = (c, text, values = [], options = {}) =>
  c
    .unsafe(text, values, options)
    .values()
    .then(plain, error => error.code)
async function inTurn(c, ...texts) {
  const found = []
  for (const text of texts) found.push(await codeOf(c, text))
  return found
}

const behaviours = {
  connect: c => codeOf(c, 'select 1'),
  simple: async c => plain(await c`select 1 as one, 'x' as x, null as n`.simple()),
  parameters: async c =>
    plain(
      await c`select ${7}::int4, ${"a'b\\c"}::text, ${Buffer.of(0, 255)}::bytea, ${String(2 ** 40)}::int8`.values(),
    ),
  types: async c =>
    plain(
      await c`select 1::int2, -2::int4, 9007199254740993::int8, 12345.678900::numeric, 'NaN'::numeric, 1.5::float4, -2.25::float8,
        'é'::text, '\\x00ff10'::bytea, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, '{"a":[1,null]}'::json, ${c.json({ b: 2 })}::jsonb,
        '2024-02-29 12:34:56.789+02'::timestamptz, '2024-02-29'::date, true, ${[1, 2, null]}::int4[], ${['a', 'b,"', null]}::text[], ${null}::text`.values(),
    ),
  prepared: async c => {
    const found = []
    for (let i = 0; i < 20; i++) found.push(plain(await c`select ${i}::int4 * 2`.values()))
    return found
  },
  transaction: async c => {
    await c`create temp table t (i int)`
    await c.begin(async tx => {
      await tx`insert into t values (1)`
      await tx
        .savepoint(async s => {
          await s`insert into t values (2)`
          throw new Error('back')
        })
        .catch(() => {})
    })
    await c
      .begin(async tx => {
        await tx`insert into t values (3)`
        throw new Error('back')
      })
      .catch(() => {})
    return plain(await c`select i from t`.values())
  },
  error_then_continue: c => inTurn(c, 'select 1/0', 'selec 1', 'select * from no_such', 'select 2'),
  error_in_transaction: async c => [
    await c.begin(tx => tx`select 1/0`).catch(error => error.code),
    await codeOf(c, 'select 3'),
  ],
  pipeline: async c => {
    const sent = Array.from({ length: 50 }, (_, i) => c`select ${i}::int4`.values())
    const failing = ['select 1', 'select 1/0', 'select 2'].map(text => codeOf(c, text, [], { prepare: true }))
    return [plain(await Promise.all(sent)), await Promise.all(failing)]
  },
  copy: async c => {
    await c`create temp table c (i int, t text)`
    const into = await c`copy c from stdin`.writable()
    for (let i = 0; i < 2000; i++) into.write(`${i}\trow ${i}\n`)
    await new Promise((resolve, reject) => into.on('error', reject).end(resolve))
    const chunks = []
    for await (const chunk of await c`copy c to stdout`.readable()) chunks.push(chunk)
    return [digest([[Buffer.concat(chunks).toString('latin1')]]), await codeOf(c, 'select count(*) from c')]
  },
  cursor: async c => {
    let sum = 0
    for await (const rows of c`select g from generate_series(1, 1050) g`.cursor(100))
      sum += rows.reduce((all, row) => all + row.g, 0)
    return sum
  },
  cancel: async c => {
    const started = performance.now()
    const query = c`select pg_sleep(20)`.execute()
    const code = query.then(
      () => 'none',
      error => error.code,
    )
    await sleep(400)
    query.cancel()
    return [await code, performance.now() - started < 10_000, await codeOf(c, 'select 5')]
  },
  notify: async c => {
    let got
    const came = new Promise(resolve => (got = resolve))
    await c.listen('conformance_channel', payload => got(['conformance_channel', payload]))
    await c.notify('conformance_channel', 'hello')
    return Promise.race([came, sleep(10_000, 'nothing came')])
  },
  large_result: async c =>
    digest(await c`select g, 'row ' || g, md5(g::text) from generate_series(1, 200000) g`.values()),
  large_parameter: c =>
    codeOf(c, 'select length($1::text), md5($1::text), octet_length($2::bytea)', [
      'äx'.repeat(400_000),
      Buffer.alloc(2 ** 20),
    ]),
  empty: c => inTurn(c, '', 'select 6'),
  multi: async c => plain(await c.unsafe("select 1; select 'two'; create temp table m (i int)").values()),
  notices: async () => {
    const seen = []
    const c = open({ onnotice: n => seen.push([n.severity, n.code, n.message]) })
    await c`drop table if exists no_such_table`
    await c.unsafe("do $$ begin raise warning 'careful %', 1; end $$")
    await c.end()
    return seen
  },
  parameter_status: async c => {
    await c`select 1`
    const { session_authorization, application_name, ...found } = c.parameters
    return Object.entries(found).sort()
  },
  pool: async () => {
    const pool = open({ max: 10 })
    const held = await Promise.all(Array.from({ length: 10 }, () => pool.reserve()))
    const found = await Promise.all(held.map((c, i) => codeOf(c, 'select $1::int4', [i])))
    for (const c of held) c.release()
    await pool.end()
    return found
  },
  unicode: async c => {
    const found = await c.unsafe(`select $1::text, length($1), '${unicode}' as "spålte"`, [unicode]).values()
    return [plain(found), found.columns.map(column => column.name)]
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
    return [await codeOf(c, text, [3], { prepare: true }), await codeOf(c, text.replace('$1', '3'))]
  },
}

await runAll(
  behaviours,
  async () => open(),
  c => c.end({ timeout: 5 }),
)
