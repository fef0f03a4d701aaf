import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { startConformanceWorld, type Way } from './matrix/world.ts'

/**
 * `npm run conformance -- soak [--seconds N]` (60; a release runs 600): 50 connections over four tickets with mixed
 * statements, and others that come and go. No answer may be wrong, and the workers' memory may not climb once the first
 * third has warmed them up.
 */
const mostGrowthMiB = 64
/** By ticket; a session of the starter policies has at most 20. */
const connections = [
  { like: 'open', count: 15, run: converse },
  { like: 'open', count: 15, run: converse },
  { like: 'starter', count: 10, run: read },
  { like: 'starter', count: 10, run: read },
] as const
let statements = 0
let wrong = 0

async function main(args: readonly string[]): Promise<void> {
  const seconds = Number(args[args.indexOf('--seconds') + 1] || 60)
  const world = await startConformanceWorld()
  try {
    const end = performance.now() + seconds * 1000
    const workers = await world.workers()
    const memory: number[] = []
    const watch = setInterval(() => memory.push(workers.reduce((sum, pid) => sum + rssMiB(pid), 0)), 500)
    const busy: Promise<void>[] = [comeAndGo(world.starter, end)]
    for (const { like, count, run } of connections) {
      const way = await world.another(like)
      for (let i = 0; i < count; i++) busy.push(run(way, i, end))
    }
    await Promise.all(busy)
    clearInterval(watch)
    const after = await world.workers()
    const third = Math.floor(memory.length / 3)
    const grown = Math.max(...memory.slice(-third)) - Math.max(...memory.slice(third, 2 * third))
    const figures = {
      seconds,
      statements,
      wrong,
      workers: workers.length,
      start_MiB: round(memory[0]),
      most_MiB: round(Math.max(...memory)),
      last_MiB: round(memory.at(-1)),
      growth_of_the_last_third_MiB: round(grown),
    }
    console.log(JSON.stringify(figures))
    const failures = [
      ...(wrong > 0 ? [`${wrong} wrong answers`] : []),
      ...(grown > mostGrowthMiB ? [`the memory still climbs: ${round(grown)} MiB in the last third`] : []),
      ...(String(after) === String(workers) ? [] : ['a worker was replaced']),
    ]
    for (const failure of failures) console.error(failure)
    console.log(`${3 - failures.length} passed, ${failures.length} failed`)
    if (failures.length > 0) process.exitCode = 1
  } finally {
    await world.stop()
  }
}

async function connect(way: Way): Promise<pg.Client> {
  const client = new pg.Client({
    host: way.host,
    port: way.port,
    user: way.user,
    password: way.password,
    database: way.database,
    ssl: { ca: readFileSync(way.ca, 'utf8'), rejectUnauthorized: true, host: way.host } as pg.ClientConfig['ssl'],
  })
  client.on('error', error => fail(error))
  await client.connect()
  return client
}

function fail(error: unknown): void {
  wrong++
  if (wrong <= 10) console.error(error instanceof Error ? error.message : error)
}

/** Each turn is a statement whose answer is known. */
async function turns(
  way: Way,
  end: number,
  steps: readonly ((c: pg.Client, n: number) => Promise<boolean>)[],
  from: number,
) {
  const client = await connect(way)
  for (let n = from; performance.now() < end; n++) {
    try {
      if (!(await steps[n % steps.length]!(client, n)))
        fail(`turn ${n % steps.length} of ${steps.length}: another answer than expected`)
    } catch (error) {
      fail(error)
    }
    statements++
  }
  await client.end()
}

const one = async (c: pg.Client, text: string, values: unknown[] = []) =>
  Object.values((await c.query(text, values)).rows[0] ?? {})[0]
const codeOf = (c: pg.Client, text: string) =>
  c.query(text).then(
    () => 'none',
    (error: pg.DatabaseError) => error.code,
  )

function converse(way: Way, from: number, end: number): Promise<void> {
  return turns(
    way,
    end,
    [
      async (c, n) => (await one(c, `select ${n} + 1`)) === n + 1,
      async (c, n) => (await one(c, 'select $1::int4 * 2', [n])) === n * 2,
      async (c, n) => (await c.query({ name: 'same', text: 'select $1::int4 as v', values: [n] })).rows[0].v === n,
      async c => (await c.query("select g, repeat('x', 100) from generate_series(1, 2000) g")).rowCount === 2000,
      async c => (await codeOf(c, 'select 1/0')) === '22012',
      async (c, n) => {
        await c.query('begin')
        await c.query('insert into pgbench_history (tid, bid, aid, delta) values ($1, 1, 1, 0)', [n])
        return (await c.query('rollback')).command === 'ROLLBACK'
      },
      async c => (await one(c, 'select length($1::text)', ['ä'.repeat(100_000)])) === 100_000,
      async (c, n) => ((await c.query(`select 1; select ${n}`)) as unknown as pg.QueryResult[]).length === 2,
    ],
    from,
  )
}

function read(way: Way, from: number, end: number): Promise<void> {
  return turns(
    way,
    end,
    [
      async c =>
        (await one(c, 'select national_id from customers where id = $1', [1 + (statements % 1000)])) === '[redacted]',
      async c => (await c.query('select * from customers')).rows.every(row => row.national_id === '[redacted]'),
      async c => (await codeOf(c, 'select upper(email) from customers')) === '42501',
      async c => (await codeOf(c, 'delete from orders')) === '42501',
      async (c, n) => (await one(c, `select count(*)::int from orders where id = ${1 + (n % 1000)}`)) === 1,
    ],
    from,
  )
}

async function comeAndGo(way: Way, end: number): Promise<void> {
  while (performance.now() < end) {
    const client = await connect(way)
    if ((await one(client, 'select 7')) !== 7) fail('a new connection answered wrongly')
    statements++
    await client.end()
    await sleep(50)
  }
}

function rssMiB(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
}

function round(value: number | undefined): number {
  return Math.round((value ?? Number.NaN) * 10) / 10
}

await main(process.argv.slice(2))
