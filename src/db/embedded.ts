import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { SallyportError } from '../errors.ts'
import { Secret } from '../secret.ts'
import { type Lifelined, spawnOnLifeline } from './lifeline.ts'
import { freePort, requireFreePort } from './loopback.ts'
import { startOf, takeOwnership } from './owner.ts'
import { findPostgresBinaries, type PostgresBinaries } from './postgres-binaries.ts'

export interface EmbeddedOptions {
  /** Shown in messages: 'the embedded database', 'the demo target'. */
  readonly name: string
  /** A folder of ours: `cluster/` (the server's own), `password`, `owner.json`, `postgres.log`. */
  readonly dataDir: string
  /** 0 takes a free one. */
  readonly port: number
  /** Name of the superuser, made once. */
  readonly superuser: string
  /** `false` only for tests: a crash of the machine then loses the data. */
  readonly durable?: boolean
  /** Further server settings. */
  readonly settings?: Readonly<Record<string, string>>
}

export interface EmbeddedServer {
  readonly port: number
  readonly superuser: string
  /** The superuser's URL, or another user's. */
  url(database: string, user?: { readonly name: string; readonly password: Secret }): Secret
  /** Pid of the wrapper, which lives as long as the server. */
  readonly pid: number
  /** Resolves when the server is gone, for whatever reason. */
  readonly exited: Promise<void>
  /** Fast shutdown: ends connections, writes a checkpoint. Idempotent. */
  stop(): Promise<void>
}

/** @throws SallyportError `conflict` for a taken port or a folder that a running instance owns. */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedServer> {
  mkdirSync(options.dataDir, { recursive: true, mode: 0o700 })
  const ownership = takeOwnership(join(options.dataDir, 'owner.json'), `${options.name} in ${options.dataDir}`)
  try {
    const binaries = findPostgresBinaries(join(options.dataDir, '..'))
    const cluster = join(options.dataDir, 'cluster')
    await stopOrphan(cluster, options.name)
    if (options.port !== 0) await requireFreePort(options.port, options.name)
    const password = await initialise(binaries, cluster, options)
    return await launch(binaries, cluster, password, options, () => ownership.release())
  } catch (error) {
    ownership.release()
    throw error
  }
}

async function initialise(binaries: PostgresBinaries, cluster: string, options: EmbeddedOptions): Promise<Secret> {
  const file = join(options.dataDir, 'password')
  if (existsSync(join(cluster, 'PG_VERSION')) && existsSync(file)) return new Secret(readFileSync(file, 'utf8').trim())
  if (existsSync(join(cluster, 'PG_VERSION'))) {
    throw new SallyportError('bad_config', `${options.name} has data in ${cluster}, but ${file} is missing`, {
      remedy: 'restore that file from a backup',
    })
  }
  const draft = `${cluster}.new` // A first start that was cut off leaves no half-made cluster behind.
  rmSync(draft, { recursive: true, force: true })
  mkdirSync(draft, { mode: 0o700 })
  const password = randomBytes(24).toString('base64url')
  writeFileSync(file, password + '\n', { mode: 0o600 })
  const passwordFile = join(draft, '..', 'password.initdb')
  writeFileSync(passwordFile, password + '\n', { mode: 0o600 })
  if (binaries.uid !== undefined) {
    chmodSync(options.dataDir, 0o711) // `nobody` must get through to its cluster; the files here stay 0600
    chownSync(draft, binaries.uid, binaries.gid!)
    chownSync(passwordFile, binaries.uid, binaries.gid!)
  }
  const argv = [...binaries.prefix, binaries.initdb, '-D', draft, '-U', options.superuser, '--pwfile', passwordFile]
  argv.push(
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    '--locale=C',
    '--locale-provider=builtin',
    '--builtin-locale=C.UTF-8',
  )
  if (options.durable === false) argv.push('--no-sync')
  // Beside whatever else starts, and gone with us.
  const making = spawnOnLifeline(argv, {
    ...identity(binaries),
    ending: 'kill',
    cwd: options.dataDir,
    env: serverEnvironment(),
    output: 'pipe',
  })
  let said = ''
  for (const stream of [making.child.stdout, making.child.stderr])
    stream?.on('data', chunk => (said = `${said}${chunk}`.slice(-800)))
  const read = once(making.child, 'close')
  const code = await making.exited
  await read
  rmSync(passwordFile, { force: true })
  if (code !== 0) {
    throw new SallyportError('internal', `${options.name} could not be made in ${cluster}: ${said.trim()}`)
  }
  renameSync(draft, cluster)
  return new Secret(password)
}

/** A server of a dead owner may still run on our folder (its lifeline needs a moment): end it before we start ours. */
async function stopOrphan(cluster: string, name: string): Promise<void> {
  const pid = Number(postmasterLine(cluster, 0))
  if (!Number.isSafeInteger(pid) || pid <= 1 || !runsIn(pid, cluster)) return
  for (const [signal, wait_s] of [
    ['SIGINT', 15],
    ['SIGQUIT', 10],
  ] as const) {
    try {
      process.kill(pid, signal)
    } catch {
      return
    }
    for (let i = 0; i < wait_s * 20; i++) {
      if (startOf(pid) === undefined) return
      await sleep(50)
    }
  }
  throw new SallyportError(
    'conflict',
    `${name} in ${cluster} is still run by an older server (pid ${pid}) that does not stop`,
    { remedy: `end it with \`kill -QUIT ${pid}\`` },
  )
}

/** The server's working directory is its data folder: any other process with that pid is not it. */
function runsIn(pid: number, cluster: string): boolean {
  if (startOf(pid) === undefined) return false
  if (process.platform !== 'linux')
    return spawnSync('ps', ['-o', 'command=', '-p', String(pid)], { encoding: 'utf8' }).stdout.includes(cluster)
  try {
    return readlinkSync(`/proc/${pid}/cwd`) === realpathSync(cluster)
  } catch {
    return false
  }
}

async function launch(
  binaries: PostgresBinaries,
  cluster: string,
  password: Secret,
  options: EmbeddedOptions,
  released: () => void,
): Promise<EmbeddedServer> {
  const port = options.port || (await freePort())
  const settings: Record<string, string> = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    shared_buffers: '64MB',
    max_connections: '120',
    max_wal_size: '512MB',
    timezone: 'UTC',
    log_timezone: 'UTC',
    ...(options.durable === false ? { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' } : {}),
    ...options.settings,
  }
  const argv = [...binaries.prefix, binaries.postgres, '-D', cluster, '-p', String(port)]
  for (const [name, value] of Object.entries(settings)) argv.push('-c', `${name}=${value}`)
  rmSync(join(cluster, 'postmaster.pid'), { force: true }) // stopOrphan made sure that nobody serves this folder
  const log = join(options.dataDir, 'postgres.log')
  const out = openSync(log, 'w', 0o600)
  const run = spawnOnLifeline(argv, {
    ...identity(binaries),
    ending: 'interrupt',
    cwd: cluster,
    env: serverEnvironment(),
    output: out,
  })
  closeSync(out)
  let gone = false
  const exited = run.exited.then(() => {
    gone = true
    released()
  })
  const stop = () => stopServer(run, exited, () => gone)
  await untilReady(
    cluster,
    port,
    () => gone,
    async () => {
      await stop()
      const text = readFileSync(log, 'utf8').trim().slice(-800)
      throw new SallyportError('internal', `${options.name} did not start on port ${port}: ${text}`, { facts: { log } })
    },
  )
  return {
    port,
    superuser: options.superuser,
    pid: run.child.pid!,
    exited,
    stop,
    url: (database, user) => {
      const { name, secret } =
        user === undefined ? { name: options.superuser, secret: password } : { name: user.name, secret: user.password }
      return new Secret(
        `postgres://${encodeURIComponent(name)}:${encodeURIComponent(secret.reveal())}@127.0.0.1:${port}/${encodeURIComponent(database)}`,
      )
    },
  }
}

/** As `pg_ctl -w` does: the server writes `ready` into the last line of its pid file. */
async function untilReady(
  cluster: string,
  port: number,
  gone: () => boolean,
  fail: () => Promise<never>,
): Promise<void> {
  const deadline = Date.now() + 60_000
  while (!(postmasterLine(cluster, 3) === String(port) && postmasterLine(cluster, 7) === 'ready')) {
    if (gone() || Date.now() > deadline) await fail()
    await sleep(20)
  }
}

async function stopServer({ child, cut }: Lifelined, exited: Promise<void>, gone: () => boolean): Promise<void> {
  if (gone()) return
  cut()
  const waited = await Promise.race([exited.then(() => true), sleep(15_000, false, { ref: false })])
  if (waited || child.pid === undefined) return
  try {
    process.kill(-child.pid, 'SIGQUIT') // immediate shutdown: recovery runs at the next start
  } catch {
    // It ended in this moment.
  }
  await exited
}

function postmasterLine(cluster: string, line: number): string {
  try {
    return (readFileSync(join(cluster, 'postmaster.pid'), 'utf8').split('\n')[line] ?? '').trim()
  } catch {
    return ''
  }
}

function identity(binaries: PostgresBinaries): { uid?: number; gid?: number } {
  return binaries.uid === undefined ? {} : { uid: binaries.uid, gid: binaries.gid! }
}

/** Nothing of our environment (tokens, PG* variables) reaches the server. */
function serverEnvironment(): NodeJS.ProcessEnv {
  return { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC' }
}
