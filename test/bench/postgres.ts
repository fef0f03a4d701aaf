import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createConnection, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { createGatewayWorld, type GatewayWorld } from '../gateway/world.ts'

/**
 * `npm run bench -- postgres [--seconds N] [--peer NAME=URL]…`: pgbench's one-row SELECT with 1 and 16 clients: direct,
 * through pgbouncer (session mode), through Sallyport with policy, journal and masking rules on, through peers; with the
 * same sslmode on both sides, off and on. Then a result of a million rows. One JSON line a figure, all in one run.
 */
interface Figure {
  readonly bench: 'postgres'
  readonly figure: string
  readonly value: number
  readonly unit: string
  readonly budget: number | null
  readonly met: boolean | null
}

interface Way {
  readonly name: string
  /** Without TLS and with it; `undefined` where a peer has only one. */
  readonly url: (tls: boolean) => string | undefined
}

const clients = [1, 16]
const budgetToPgbouncer = 0.6
const budgetBulk = 0.7
const budgetMaskedBulk = 0.4
const rows = 1_000_000

export async function benchPostgres(
  ways: readonly Way[],
  seconds: number,
  print: (figure: Figure) => void,
): Promise<void> {
  for (const tls of [false, true]) {
    for (const n of clients) {
      const tps = new Map<string, number>()
      for (const way of ways) {
        const url = way.url(tls)
        if (url === undefined) continue
        const value = await pgbench(url, n, seconds)
        tps.set(way.name, value)
        print(figure(`${way.name}, ${n} clients, TLS ${tls ? 'on' : 'off'}`, value, 'tps'))
      }
      const ratio = (tps.get('sallyport') ?? 0) / (tps.get('pgbouncer') ?? Number.NaN)
      if (Number.isFinite(ratio)) {
        print(figure(`sallyport / pgbouncer, ${n} clients, TLS ${tls ? 'on' : 'off'}`, ratio, 'x', budgetToPgbouncer))
      }
    }
  }
  await bulk(
    ways,
    `select g, 'row number ' || g as text from generate_series(1, ${rows}) g`,
    'no masked column',
    budgetBulk,
    print,
  )
  await bulk(ways, 'select id, email, national_id from customers', 'two masked columns', budgetMaskedBulk, print)
}

async function bulk(
  ways: readonly Way[],
  sql: string,
  what: string,
  budget: number,
  print: (figure: Figure) => void,
): Promise<void> {
  const before = process.memoryUsage().rss
  let most = before
  const watch = setInterval(() => (most = Math.max(most, process.memoryUsage().rss)), 20)
  const took = new Map<string, number>()
  for (const way of ways) {
    const url = way.url(false)
    if (url === undefined) continue
    const started = performance.now()
    await run('psql', ['-X', '-A', '-t', '-q', '-o', '/dev/null', '-v', 'FETCH_COUNT=0', '-c', sql, url])
    took.set(way.name, performance.now() - started)
    print(figure(`${rows} rows, ${what}, ${way.name}`, took.get(way.name)! / 1000, 's'))
  }
  clearInterval(watch)
  const ratio = (took.get('direct') ?? 0) / (took.get('sallyport') ?? Number.NaN)
  if (Number.isFinite(ratio)) print(figure(`sallyport / direct, ${rows} rows, ${what}`, ratio, 'x', budget))
  print({
    ...figure(`growth of the gateway, ${rows} rows, ${what}`, (most - before) / 1024 / 1024, 'MiB'),
    budget: 64,
    met: most - before <= 64 * 1024 * 1024,
  })
}

function figure(name: string, value: number, unit: string, budget: number | null = null): Figure {
  const rounded = value >= 100 ? Math.round(value) : Math.round(value * 100) / 100
  return {
    bench: 'postgres',
    figure: name,
    value: rounded,
    unit,
    budget,
    met: budget === null ? null : value >= budget,
  }
}

async function pgbench(url: string, n: number, seconds: number): Promise<number> {
  const out = await run('pgbench', [
    '-n',
    '-S',
    '-c',
    String(n),
    '-j',
    String(Math.min(n, 2)),
    '-T',
    String(seconds),
    url,
  ])
  const tps = /tps = ([\d.]+)/.exec(out)?.[1]
  if (tps === undefined) throw new Error(`pgbench gave no figure: ${out}`)
  return Number(tps)
}

function run(program: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    let out = ''
    let err = ''
    child.stdout.on('data', chunk => (out += chunk))
    child.stderr.on('data', chunk => (err += chunk))
    child.on('error', reject)
    child.on('close', code => (code === 0 ? resolve(out) : reject(new Error(`${program}: ${err}`))))
  })
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise(resolve => server.close(resolve))
  return port
}

async function startPgbouncer(world: GatewayWorld): Promise<{ port: number; child: ChildProcess }> {
  const port = await freePort()
  const target = new URL(world.target.url('shop').reveal())
  const users = join(world.folder, 'users.txt')
  const config = join(world.folder, 'pgbouncer.ini')
  writeFileSync(users, `"${target.username}" "${decodeURIComponent(target.password)}"\n`)
  writeFileSync(
    config,
    `[databases]\nshop = host=127.0.0.1 port=${world.target.port} dbname=shop\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = ${port}\n` +
      `auth_type = scram-sha-256\nauth_file = ${users}\npool_mode = session\ndefault_pool_size = 40\nunix_socket_dir =\n` +
      `client_tls_sslmode = allow\nclient_tls_key_file = ${world.certificate}\nclient_tls_cert_file = ${world.certificate}\n`,
  )
  const root = process.getuid?.() === 0
  if (root) for (const path of [world.folder, join(world.folder, 'ca')]) chmodSync(path, 0o755)
  if (root) for (const path of [world.certificate, users, config]) chmodSync(path, 0o644) // a throw-away world
  const child = spawn('pgbouncer', ['-q', ...(root ? ['-u', 'nobody'] : []), config], {
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  for (let tries = 0; tries < 50; tries++) {
    const up = await new Promise<boolean>(resolve => {
      const socket = createConnection(port, '127.0.0.1', () => resolve(true))
      socket.on('error', () => resolve(false)).on('connect', () => socket.destroy())
    })
    if (up) return { port, child }
    await sleep(100)
  }
  throw new Error('pgbouncer did not start')
}

async function main(args: readonly string[]): Promise<void> {
  const option = (name: string) =>
    args.flatMap((arg, i) => (arg === `--${name}` && args[i + 1] !== undefined ? [args[i + 1]!] : []))
  const seconds = Number(option('seconds')[0] ?? 5)
  const peers = option('peer').map(text => ({
    name: text.slice(0, text.indexOf('=')),
    url: text.slice(text.indexOf('=') + 1),
  }))
  const world = await createGatewayWorld()
  let bouncer: ChildProcess | undefined
  try {
    const gateway = await world.gateway({ plaintext: true })
    await world.activate()
    const direct = new URL(world.target.url('shop').reveal())
    await run('pgbench', ['-i', '-q', '-s', '1', direct.href])
    await world.admin('grant select on all tables in schema public to shop_reader')
    await world.admin(
      `insert into customers select i, 'n' || i, 'person' || i || '@example.com', '111-22-' || i, '4111' || i from generate_series(3, ${rows}) i`,
    )
    const dba = await world.person('bench', ['dbas'])
    const issued = await world.ticket(dba)
    const started = await startPgbouncer(world)
    bouncer = started.child
    const at = (port: number, tls: boolean, user = direct.username, password = direct.password) =>
      `postgresql://${user}:${password}@127.0.0.1:${port}/shop?sslmode=${tls ? 'require' : 'disable'}`
    const ways: Way[] = [
      { name: 'direct', url: tls => (tls ? undefined : direct.href) },
      { name: 'pgbouncer', url: tls => at(started.port, tls) },
      { name: 'sallyport', url: tls => at(gateway.port, tls, issued.id, issued.secret.reveal()) },
      ...peers.map(peer => ({ name: peer.name, url: () => peer.url })),
    ]
    const check = new pg.Client({ connectionString: at(gateway.port, false, issued.id, issued.secret.reveal()) })
    await check.connect()
    const { rows: found } = await check.query('select national_id from customers where id = 1')
    await check.end()
    if (String(found[0].national_id).includes('111-22'))
      throw new Error('masking is not on: the figures would be worth nothing')
    await benchPostgres(ways, seconds, one => console.log(JSON.stringify(one)))
  } finally {
    bouncer?.kill()
    await world.close()
  }
}

await main(process.argv.slice(2))
