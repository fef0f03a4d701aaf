import { mkdirSync, statSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { figure, median } from './live/figure.ts'
import { run } from './postgres/run.ts'
import { startBenchWorld } from './postgres/world.ts'
import { type BenchTicket, ticketWay, timed } from './ssh/ways.ts'

/**
 * `npm run bench -- recording [--seconds N] [--rounds N] [--rows N] [--only one-row|bulk|terminal|bytes]`: what a session
 * carries with its recording off, on, and strict (on disk before it is forwarded), in turns on one gateway worker: one-row
 * statements of pgbench, results of many rows, a terminal's output; and what lies on disk for what the person saw.
 */
const given = (name: string) => {
  const at = process.argv.indexOf(`--${name}`)
  return at < 0 ? undefined : process.argv[at + 1]
}
const seconds = Number(given('seconds') ?? 4)
const rounds = Number(given('rounds') ?? 3)
const rows = Number(given('rows') ?? 1_000_000)
const wanted = (what: string) => given('only') === undefined || given('only') === what
const budget = { oneRow: 0.85, bulk: 0.9, terminalBytes: 0.15, tableBytes: 0.25 }
const modes = ['off', 'default', 'strict'] as const
type Mode = (typeof modes)[number]
const customers = `select id, name, email, city, created_at from customers limit ${rows}`
const generated = `select g, 'row number ' || g as text, md5(g::text) from generate_series(1, ${rows}) g`
const listing = 'for i in 1 2 3 4 5 6; do ls -lR /usr/lib /usr/share | head -c 8000000; done'

const world = await startBenchWorld(rows)
let granted: Promise<void> | undefined
const sql = postgres(world.dev.database.url('sallyport').reveal(), { max: 1, onnotice: () => {} })
try {
  figure(
    'recording',
    `machine: ${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, Node ${process.version}`,
    cpus().length,
    'cores',
  )
  const url = world.sallyport.url(false)!
  await run('psql', ['-X', '-q', '-o', '/dev/null', '-c', 'select 1', url]) // its session begins before strict is asked for
  const lax = wanted('terminal') ? await terminal('terminal') : undefined
  if (lax !== undefined) await timed('ssh', [...lax.way.options, lax.way.host, 'true'])
  if (wanted('bytes')) await bytes()
  const strictUrl = (await world.strictly()).url(false)!
  const strict = lax === undefined ? undefined : await terminal('strict terminal')
  const way = (mode: Mode) => (mode === 'strict' ? strictUrl : url)
  if (wanted('one-row')) {
    for (const clients of [1, 16])
      await compare(`one-row SELECT, ${clients} clients`, 'tps', budget.oneRow, mode => pgbench(way(mode), clients))
  }
  if (wanted('bulk')) {
    await compare(`${rows} rows`, 'rows/s', budget.bulk, async mode => rows / (await psql(way(mode), generated)))
    await compare(
      `${rows} rows, two columns masked`,
      'rows/s',
      budget.bulk,
      async mode => rows / (await psql(way(mode), `select id, email, national_id from customers limit ${rows}`)),
    )
  }
  if (lax !== undefined && strict !== undefined) {
    await compare('48 MB of a terminal', 'MB/s', budget.bulk, async mode => {
      const { options, host } = (mode === 'strict' ? strict : lax).way
      return 48 / (await timed('ssh', [...options, '-tt', host, listing]))
    })
  }
} finally {
  await sql.end({ timeout: 2 })
  await world.stop()
}

/** The modes take turns, so that what else the machine does hits all of them; medians, and each over that without recording. */
async function compare(what: string, unit: string, least: number, measure: (mode: Mode) => Promise<number>) {
  const found: Record<Mode, number[]> = { off: [], default: [], strict: [] }
  for (let round = 0; round < rounds; round++) {
    for (const mode of modes) {
      await world.record(mode !== 'off')
      found[mode].push(await measure(mode))
    }
  }
  await world.record(true)
  for (const mode of modes) figure('recording', `${what}, recording ${mode}`, median(found[mode]), unit)
  figure('recording', `${what}, default / off`, median(found.default) / median(found.off), 'x', { least })
  figure('recording', `${what}, strict / off`, median(found.strict) / median(found.off), 'x')
}

/** What a recording takes on disk, over the bytes that its person saw. */
async function bytes(): Promise<void> {
  // Half of the bits of a hash in hexadecimal are noise, which nothing makes smaller: that table has no budget.
  for (const [what, statement, bound] of [
    ['customers', customers, { most: budget.tableBytes }],
    ['generated rows with a hash in each', generated, null],
  ] as const) {
    const own = await world.fresh()
    const file = join(world.folder, 'seen')
    await run('psql', ['-X', '-A', '-t', '-q', '-o', file, '-c', statement, own.url(false)!])
    figure('recording', `on disk / raw, table of ${what}`, (await stored(own.ticket)) / statSync(file).size, 'x', bound)
  }
  const own = await terminal('bytes')
  const seen = Number(
    await run('sh', ['-c', `ssh ${quoted([...own.way.options, '-tt', own.way.host, listing])} | wc -c`]),
  )
  figure('recording', 'on disk / raw, terminal', (await stored(own.id)) / seen, 'x', { most: budget.terminalBytes })
}

function quoted(args: readonly string[]): string {
  return args.map(arg => `'${arg.replaceAll("'", "'\\''")}'`).join(' ')
}

/** Bytes in the store, once nothing more of it comes. */
async function stored(ticket: string): Promise<number> {
  let before = -1
  for (;;) {
    await sleep(6_000)
    const [row] = await sql<{ bytes: string }[]>`
      select r.bytes from recordings r join sessions s on s.id = r.session_id where s.ticket_id = ${ticket}`
    const now = Number(row?.bytes ?? 0)
    if (now > 0 && now === before) return now
    before = now
  }
}

/** Erin asks once, Dana approves; then a ticket, and so a session, of its own for each. */
async function terminal(name: string): Promise<BenchTicket> {
  const folder = join(world.folder, name.replaceAll(' ', '-'))
  mkdirSync(folder)
  const erin = world.person('erin')
  granted ??= erin
    .ask({ resource: 'web-1', role: 'operator', duration_s: 3600, reason: 'benchmark' })
    .then(async request => {
      const { body } = await world.dana.vote(request)
      if (body['state'] !== 'approved') throw new Error(`not approved: ${JSON.stringify(body)}`)
    })
  await granted
  return ticketWay(erin, folder)
}

async function pgbench(target: string, clients: number): Promise<number> {
  const args = [
    '-n',
    '-S',
    '-M',
    'simple',
    '-c',
    `${clients}`,
    '-j',
    `${Math.min(clients, 2)}`,
    '-T',
    `${seconds}`,
    target,
  ]
  const tps = /tps = ([\d.]+)/.exec(await run('pgbench', args))?.[1]
  if (tps === undefined) throw new Error('pgbench gave no figure')
  return Number(tps)
}

async function psql(target: string, statement: string): Promise<number> {
  const started = performance.now()
  await run('psql', ['-X', '-A', '-t', '-q', '-o', '/dev/null', '-c', statement, target])
  return (performance.now() - started) / 1000
}
