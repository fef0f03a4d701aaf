import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import postgres from 'postgres'
import { freePort } from '../../../src/db/loopback.ts'
import { packageRoot } from '../../../src/db/package-root.ts'
import type { Tuning } from '../../../src/dev/settings.ts'
import { runDevelopmentWorld, type World } from '../../../src/dev/world.ts'
import { CertificateAuthority } from '../../../src/gateway/certificates.ts'
import { Person } from '../../support/person.ts'
import { run } from './run.ts'

/** A way to the same database. */
export interface Way {
  readonly name: string
  /** With TLS on both sides of what lies between, or on neither; `undefined` where a peer has only one. */
  readonly url: (tls: boolean) => string | undefined
}

export interface BenchWorld {
  readonly direct: Way
  readonly pgbouncer: Way
  readonly sallyport: Way
  /** The same with everything on disk before it is forwarded: a commit, and a session of its own that begins after it. */
  strictly(): Promise<Way>
  /** A ticket of its own, and so a session and a recording of its own. */
  fresh(): Promise<Way & { readonly ticket: string }>
  readonly dev: World
  readonly dana: Person
  person(name: string): Person
  readonly folder: string
  /** The process that serves every connection through Sallyport. */
  readonly workerPid: number
  /** Turns the recording of everything off and on again: a switch that only this benchmark loads into the worker. */
  record(on: boolean): Promise<void>
  stop(): Promise<void>
}

const ports = { control: 0, replay: 0, idp: 0, slack: 0, database: 0, shop: 0, gateway: 0, web: 0, ssh: 0 }
const switchFile = join(import.meta.dirname, 'recording-switch.js')
const user = 'bench_user'
const password = 'bench-password'

/** The built system under the starter policies, pgbouncer beside it, and a target with `rows` customers. */
export async function startBenchWorld(rows: number, tuning: Tuning = {}): Promise<BenchWorld> {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-bench-'))
  chmodSync(folder, 0o755) // PostgreSQL and pgbouncer may have to run as another user
  const stops: (() => unknown)[] = [() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 })]
  const stop = async () => {
    for (const each of stops.toReversed()) await each()
  }
  try {
    const options = process.env['NODE_OPTIONS']
    process.env['NODE_OPTIONS'] = `${options ?? ''} --import=${pathToFileURL(switchFile).href}`.trim()
    const dev = await runDevelopmentWorld({
      dataDir: join(folder, 'state'),
      ports,
      durable: false,
      customers: 1000,
      tuning: { plaintext: true, ...tuning },
    }).finally(() => {
      if (options === undefined) delete process.env['NODE_OPTIONS']
      else process.env['NODE_OPTIONS'] = options
    })
    stops.push(() => dev.stop())
    const certificate = await makeCertificate(folder)
    await fillTarget(dev, certificate, rows)
    await twoResources(dev)
    const person = (name: string) =>
      new Person(name, {
        origin: dev.origin,
        program: join(packageRoot(), 'dist/cli/main.js'),
        folder: join(folder, 'people'),
      })
    const dana = person('dana')
    const tickets = [await ticket(dana, 'shop-db'), await ticket(dana, 'shop-tls')] as const
    const plain = await startPgbouncer(folder, certificate, dev.ports.shop, false, stops)
    const secured = await startPgbouncer(folder, certificate, dev.ports.shop, true, stops)
    const workerPid = await findWorker(dev)
    let recording = true
    return {
      direct: { name: 'direct', url: tls => url(dev.ports.shop, user, password, tls) },
      pgbouncer: { name: 'pgbouncer', url: tls => url(tls ? secured : plain, user, password, tls) },
      sallyport: {
        name: 'sallyport',
        url: tls => {
          const { id, secret } = tickets[tls ? 1 : 0]
          return url(dev.ports.gateway, id, secret, tls)
        },
      },
      dev,
      workerPid,
      dana,
      person,
      folder,
      async strictly() {
        const path = join(dev.policies, 'recording/recording.rego')
        writeFileSync(path, `${readFileSync(path, 'utf8')}\nstrictly if input.role != "admin"\n`)
        await activate(dev, 'Everything on disk first')
        const { id, secret } = await dana.ticket({ resource: 'shop-db' })
        return { name: 'strict', url: tls => url(dev.ports.gateway, id, secret, tls) }
      },
      async fresh() {
        const { id, secret } = await dana.ticket({ resource: 'shop-db' })
        return { name: 'fresh', ticket: id, url: tls => url(dev.ports.gateway, id, secret, tls) }
      },
      async record(on) {
        if (on === recording) return
        recording = on
        process.kill(workerPid, 'SIGUSR2')
        await sleep(200)
      },
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

function url(port: number, name: string, secret: string, tls: boolean): string {
  return `postgresql://${name}:${secret}@127.0.0.1:${port}/shop?sslmode=${tls ? 'require' : 'disable'}`
}

/** Key and certificate in one file, which any of the servers may be told to use. */
async function makeCertificate(folder: string): Promise<string> {
  const authority = await CertificateAuthority.open({
    folder: join(folder, 'ca'),
    hosts: ['127.0.0.1'],
    deployment: 'bench',
  })
  authority[Symbol.dispose]()
  return join(folder, 'ca/server.pem')
}

async function fillTarget(dev: World, certificate: string, rows: number): Promise<void> {
  const { server } = dev.shop
  const cluster = join(dev.dataDir, 'shop/cluster')
  const { uid, gid } = statSync(cluster)
  const pem = join(cluster, 'server.pem')
  copyFileSync(certificate, pem)
  chownSync(pem, uid, gid)
  chmodSync(pem, 0o600)
  await run('pgbench', ['-i', '-q', '-s', '1', server.url('shop').reveal()])
  const sql = postgres(server.url('shop').reveal(), { max: 1, onnotice: () => {} })
  try {
    await sql.unsafe(`insert into customers
      select i, 'name ' || i, 'person' || i || '@example.com', '911-22-' || i, '4000' || i, 'Oslo', now()
      from generate_series((select max(id) + 1 from customers), ${rows}) i`)
    await sql.unsafe('grant select on all tables in schema public to shop_reader')
    await sql.unsafe(`create role ${user} login superuser password '${password}'`)
    for (const setting of ["ssl_cert_file = 'server.pem'", "ssl_key_file = 'server.pem'", 'ssl = on'])
      await sql.unsafe(`alter system set ${setting}`)
    await sql.unsafe('alter system set max_connections = 100')
    await sql`select pg_reload_conf()`
    await sql.unsafe('vacuum analyze')
  } finally {
    await sql.end({ timeout: 5 })
  }
}

/** The starter resource without TLS to the target, and the same once more with it. */
async function twoResources(dev: World): Promise<void> {
  const path = join(dev.policies, 'resources/data.yaml')
  const starter = readFileSync(path, 'utf8')
  const from = starter.indexOf('shop-db:')
  const entry = /^shop-db:\n(?: .*\n|\n)+/.exec(starter.slice(from))?.[0]
  if (entry === undefined) throw new Error('the starter policies no longer declare shop-db as this benchmark knows it')
  const plain = entry.replace('sslmode: prefer', 'sslmode: disable')
  const secured = entry.replace('shop-db:', 'shop-tls:').replace('sslmode: prefer', 'sslmode: require')
  writeFileSync(
    path,
    starter.replace(entry, () => `${plain}\n${secured}`),
  )
  await activate(dev, 'Two ways to the shop')
}

/** Commits what lies in the policy repository, and waits until every process enforces it. */
async function activate(dev: World, message: string): Promise<void> {
  const author = ['-c', 'user.name=bench', '-c', 'user.email=bench@example.test', '-c', 'commit.gpgsign=false']
  const git = (...args: string[]) => spawnSync('git', [...author, ...args], { cwd: dev.policies, encoding: 'utf8' })
  git('add', '--all')
  git('commit', '--quiet', '--message', message)
  const commit = git('rev-parse', 'HEAD').stdout.trim()
  const sql = postgres(dev.database.url('sallyport').reveal(), { max: 1, onnotice: () => {} })
  try {
    for (let tries = 0; tries < 300; tries++) {
      const late = await sql`select 1 from processes where heartbeat_at > now() - interval '10 s'
        and generation is distinct from (select generation from revisions where commit = ${commit})`
      if (late.length === 0) return
      await sleep(100)
    }
    const failures = await sql`select problems from revision_failures where commit = ${commit}`
    throw new Error(`the policy of the benchmark did not come into force: ${JSON.stringify(failures)}`)
  } finally {
    await sql.end({ timeout: 5 })
  }
}

async function ticket(person: Person, resource: string) {
  await person.ask({ resource, duration_s: 7200, reason: 'benchmark' })
  return person.ticket({ resource })
}

async function findWorker(dev: World): Promise<number> {
  const sql = postgres(dev.database.url('sallyport').reveal(), { max: 1 })
  try {
    const [row] = await sql<{ pid: string }[]>`select pid from processes where role = 'gateway'`
    if (row === undefined) throw new Error('no gateway worker runs')
    return Number(row.pid)
  } finally {
    await sql.end({ timeout: 5 })
  }
}

async function startPgbouncer(
  folder: string,
  certificate: string,
  target: number,
  tls: boolean,
  stops: (() => unknown)[],
): Promise<number> {
  const port = await freePort()
  const own = join(folder, tls ? 'pgbouncer-tls' : 'pgbouncer')
  mkdirSync(own)
  const config = join(own, 'pgbouncer.ini')
  const users = join(own, 'users.txt')
  const pem = join(own, 'server.pem')
  copyFileSync(certificate, pem)
  writeFileSync(users, `"${user}" "${password}"\n`)
  writeFileSync(
    config,
    `[databases]
shop = host=127.0.0.1 port=${target} dbname=shop
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
auth_type = scram-sha-256
auth_file = ${users}
pool_mode = session
default_pool_size = 40
unix_socket_dir =
${tls ? `client_tls_sslmode = require\nclient_tls_key_file = ${pem}\nclient_tls_cert_file = ${pem}\nserver_tls_sslmode = require\n` : 'server_tls_sslmode = disable\n'}`,
  )
  const root = process.getuid?.() === 0 // pgbouncer refuses to run as root
  if (root) for (const path of [users, config, pem]) chmodSync(path, 0o644) // of a world that is thrown away
  const child = spawn('pgbouncer', ['-q', ...(root ? ['-u', 'nobody'] : []), config], { stdio: 'inherit' })
  stops.push(() => ended(child))
  for (let tries = 0; tries < 50; tries++) {
    if (await answers(port)) return port
    await sleep(100)
  }
  throw new Error('pgbouncer did not start: is it installed?')
}

function answers(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = createConnection(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise(resolve => child.once('exit', resolve))
  child.kill('SIGKILL')
  await gone
}
