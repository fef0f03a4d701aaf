import { readFileSync } from 'node:fs'
import { cpus } from 'node:os'
import pg from 'pg'
import { pgbench, run } from './postgres/run.ts'
import { type BenchWorld, startBenchWorld, type Way } from './postgres/world.ts'

/**
 * `npm run bench -- postgres [--seconds N] [--rounds N] [--peer NAME=URL]…`: pgbench's one-row SELECT with 1 and 16
 * clients, direct, through pgbouncer (session mode), through Sallyport under the starter policies (every statement
 * decided, everything recorded, masking rules on) and through peers, with TLS on both sides and on neither; then results
 * of a million rows, and what the recording costs. The ways take turns, and each figure is the median of its rounds: only
 * ratios of one run mean anything. One JSON line a figure.
 */
interface Figure {
  readonly bench: 'postgres'
  readonly figure: string
  readonly value: number
  readonly unit: string
  readonly budget: number | null
  readonly met: boolean | null
}

interface Settings {
  readonly seconds: number
  readonly rounds: number
  readonly peers: readonly Way[]
}

const budgetToPgbouncer = 0.6
const budgetBulk = 0.7
const budgetMaskedBulk = 0.4
const budgetMemoryMiB = 64
const budgetRecordingBulk = 0.9
const budgetRecording = 0.85
const rows = 1_000_000
const plainRows = `select g, 'row number ' || g as text from generate_series(1, ${rows}) g`
const maskedRows = 'select id, email, national_id from customers'

async function main(args: readonly string[]): Promise<void> {
  const settings = settingsOf(args)
  print(`machine: ${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, Node ${process.version}`, cpus().length, 'cores')
  const world = await startBenchWorld(rows)
  try {
    await proveMasking(world)
    for (const tls of [false, true]) {
      for (const clients of [1, 16]) await oneRow(world, settings, 'simple', clients, tls)
    }
    for (const mode of ['extended', 'prepared']) {
      for (const clients of [1, 16]) await oneRow(world, settings, mode, clients, false)
    }
    await manyRows(world, settings, plainRows, 'no masked column', budgetBulk)
    await manyRows(world, settings, maskedRows, 'two masked columns', budgetMaskedBulk)
    await recording(world, settings)
  } finally {
    await world.stop()
  }
}

function settingsOf(args: readonly string[]): Settings {
  const given = (name: string) =>
    args.flatMap((arg, i) => (arg === `--${name}` && args[i + 1] !== undefined ? [args[i + 1]!] : []))
  const peers = given('peer').map(text => {
    const at = text.indexOf('=')
    if (at < 1) throw new Error(`--peer wants NAME=URL, not '${text}'`)
    return { name: text.slice(0, at), url: (tls: boolean) => (tls ? undefined : text.slice(at + 1)) }
  })
  return { seconds: Number(given('seconds')[0] ?? 5), rounds: Number(given('rounds')[0] ?? 3), peers }
}

/** Figures taken while nothing is masked would be worth nothing. */
async function proveMasking(world: BenchWorld): Promise<void> {
  const client = new pg.Client({ connectionString: world.sallyport.url(false) })
  await client.connect()
  const { rows: found } = await client.query('select national_id from customers where id = 5000')
  await client.end()
  if (found.length !== 1 || String(found[0].national_id).includes('911-22')) throw new Error('masking is not on')
}

async function oneRow(world: BenchWorld, settings: Settings, mode: string, clients: number, tls: boolean) {
  const ways = [world.direct, world.pgbouncer, world.sallyport, ...settings.peers]
  const tps = await inTurns(ways, settings.rounds, tls, url => pgbench(url, mode, clients, settings.seconds))
  const what = `-M ${mode}, ${clients} clients, TLS ${tls ? 'on' : 'off'}`
  for (const [name, value] of tps) print(`${name}, ${what}`, value, 'tps')
  print(`sallyport / pgbouncer, ${what}`, ratio(tps, 'sallyport', 'pgbouncer'), 'x', budgetToPgbouncer)
}

async function manyRows(world: BenchWorld, settings: Settings, sql: string, what: string, budget: number) {
  const before = rssMiB(world.workerPid)
  let most = before
  const watch = setInterval(() => (most = Math.max(most, rssMiB(world.workerPid))), 20)
  const ways = [world.direct, world.pgbouncer, world.sallyport, ...settings.peers]
  const took = await inTurns(ways, settings.rounds, false, url => psql(url, sql))
  clearInterval(watch)
  for (const [name, value] of took) print(`${name}, ${rows} rows, ${what}`, value, 's')
  print(`sallyport / direct, ${rows} rows, ${what}`, ratio(took, 'direct', 'sallyport'), 'x', budget)
  const grown = most - before
  print(`growth of the gateway worker, ${rows} rows, ${what}`, grown, 'MiB', budgetMemoryMiB, grown <= budgetMemoryMiB)
}

/** The same worker with its recording switched off and on, in turns. */
async function recording(world: BenchWorld, { seconds, rounds }: Settings): Promise<void> {
  const switched = (on: boolean): Way => ({ name: on ? 'recorded' : 'not recorded', url: world.sallyport.url })
  const ways = [switched(false), switched(true)]
  const turn = (way: Way) => world.record(way.name === 'recorded')
  try {
    for (const clients of [1, 16]) {
      const tps = await inTurns(ways, rounds, false, url => pgbench(url, 'simple', clients, seconds), turn)
      print(`recorded / not recorded, ${clients} clients`, ratio(tps, 'recorded', 'not recorded'), 'x', budgetRecording)
    }
    for (const [sql, what] of [
      [plainRows, 'no masked column'],
      [maskedRows, 'two masked columns'],
    ] as const) {
      const took = await inTurns(ways, rounds, false, url => psql(url, sql), turn)
      const value = ratio(took, 'not recorded', 'recorded')
      print(`recorded / not recorded, ${rows} rows, ${what}`, value, 'x', budgetRecordingBulk)
    }
  } finally {
    await world.record(true)
  }
}

/** Every way once a round, so that what else the machine does hits all of them. @returns the median of each. */
async function inTurns(
  ways: readonly Way[],
  rounds: number,
  tls: boolean,
  measure: (url: string) => Promise<number>,
  before: (way: Way) => Promise<void> = async () => {},
): Promise<Map<string, number>> {
  const found = new Map<string, number[]>()
  for (let round = 0; round < rounds; round++) {
    for (const way of ways) {
      const url = way.url(tls)
      if (url === undefined) continue
      await before(way)
      found.set(way.name, [...(found.get(way.name) ?? []), await measure(url)])
    }
  }
  return new Map([...found].map(([name, values]) => [name, median(values)]))
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)]!
}

function ratio(values: ReadonlyMap<string, number>, over: string, under: string): number {
  return (values.get(over) ?? Number.NaN) / (values.get(under) ?? Number.NaN)
}

async function psql(url: string, sql: string): Promise<number> {
  const started = performance.now()
  await run('psql', ['-X', '-A', '-t', '-q', '-o', '/dev/null', '-c', sql, url])
  return (performance.now() - started) / 1000
}

function rssMiB(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Number(kib) / 1024
}

function print(name: string, value: number, unit: string, budget: number | null = null, met?: boolean): void {
  const rounded = Math.abs(value) >= 100 ? Math.round(value) : Math.round(value * 100) / 100
  const figure: Figure = {
    bench: 'postgres',
    figure: name,
    value: rounded,
    unit,
    budget,
    met: budget === null ? null : (met ?? value >= budget),
  }
  console.log(JSON.stringify(figure))
}

await main(process.argv.slice(2))
