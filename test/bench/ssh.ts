import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import ssh2 from 'ssh2'
import { nativeCrypto } from '../../src/protocols/ssh/inside.ts'
import type { Person } from '../support/person.ts'
import { figure, median, quantile } from './live/figure.ts'
import { rssMiB } from './live/memory.ts'
import { System } from './live/system.ts'
import { Terminal } from './ssh/terminal.ts'
import { type BenchTicket, directWay, peerWay, ticketWay, timed, type Way } from './ssh/ways.ts'

/**
 * `npm run bench -- ssh [--mib N] [--rounds N] [--keys N] [--sessions N] [--only copy|echo|idle] [--peer NAME=HOST:PORT]…`:
 * OpenSSH's own clients straight to a real sshd and through Sallyport under the starter policies, everything decided and
 * recorded, transfers hashed. The ways take turns in pairs, and each figure is the median over its pairs: only ratios of
 * one run mean anything. One JSON line a figure.
 */
interface Settings {
  readonly mib: number
  readonly rounds: number
  readonly keys: number
  readonly sessions: number
  readonly only: string | undefined
  readonly peers: readonly Way[]
}

const budget = { sameCipher: 0.5, defaults: 0.8, echoMedian_ms: 1, echoP95_ms: 3, session_MiB: 0.5 }
const cipher = ['-c', 'aes128-gcm@openssh.com']
const perGrant = 90 // a grant takes 100 open tickets

function settingsOf(args: readonly string[]): Settings {
  const given = (name: string) =>
    args.flatMap((arg, i) => (arg === `--${name}` && args[i + 1] !== undefined ? [args[i + 1]!] : []))
  return {
    mib: Number(given('mib')[0] ?? 1024),
    rounds: Number(given('rounds')[0] ?? 5),
    keys: Number(given('keys')[0] ?? 500),
    sessions: Number(given('sessions')[0] ?? 500),
    only: given('only')[0],
    peers: given('peer').map(peerWay),
  }
}

const settings = settingsOf(process.argv.slice(2))
const wanted = (what: string) => settings.only === undefined || settings.only === what
const folder = mkdtempSync(join(tmpdir(), 'sallyport-bench-ssh-'))
const system = await System.start({ shopConnections: 20 })
try {
  figure(
    'ssh',
    `machine: ${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, Node ${process.version}`,
    cpus().length,
    'cores',
  )
  figure('ssh', 'ciphers of ssh2 in machine code', nativeCrypto() ? 1 : 0, 'yes = 1')
  const erin = system.person('erin')
  await granted(erin, 'web-1')
  const direct = directWay(system, folder)
  const [worker] = await system.workers()
  const pid = worker!.pid
  if (wanted('copy')) await copies(erin, direct, pid)
  if (wanted('echo')) await echoes(direct, (await ticketWay(erin, folder)).way)
  if (wanted('idle')) await idle(erin, pid)
} finally {
  await system[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
}

async function granted(who: Person, resource: string): Promise<void> {
  const request = await who.ask({ resource, role: 'operator' })
  const { body } = await system.person('dana').vote(request)
  if (body['state'] !== 'approved') throw new Error(`not approved: ${JSON.stringify(body)}`)
}

async function copies(erin: Person, direct: Way, pid: number): Promise<void> {
  const { mib } = settings
  const zeros = `head -c ${mib}M /dev/zero`
  const file = join(folder, 'zeros')
  const sallyport = (await ticketWay(erin, folder)).way
  const ways = [direct, sallyport, ...settings.peers]
  await timed('sh', ['-c', `${zeros} > ${file}`])
  const ssh = (more: readonly string[], words: string) => (way: Way) =>
    timed('ssh', [...way.options, ...more, way.host, words])
  const scp = (more: readonly string[], turn: (way: Way) => string[]) => (way: Way) =>
    timed('scp', ['-q', ...way.options, ...more, ...turn(way)])
  const from = (way: Way) => [`${way.host}:${file}`, '/dev/null']
  const to = (way: Way) => [file, `${way.host}:${file}.copy`]
  for (const [what, least, run] of [
    ['output of a command, same cipher (aes128-gcm)', budget.sameCipher, ssh(cipher, zeros)],
    ["output of a command, both sides' defaults", budget.defaults, ssh([], zeros)],
    ['scp from the server, same cipher, hashed', budget.sameCipher, scp(cipher, from)],
    ['scp to the server, same cipher, hashed', budget.sameCipher, scp(cipher, to)],
    ["scp from the server, both sides' defaults, hashed", budget.defaults, scp([], from)],
    ["scp to the server, both sides' defaults, hashed", budget.defaults, scp([], to)],
  ] as const) {
    const before = cpuSeconds(pid)
    const took = await inTurns(ways, run)
    const cpu = cpuSeconds(pid) - before
    for (const [name, seconds] of took) figure('ssh', `${name}, ${mib} MiB, ${what}`, mib / median(seconds), 'MiB/s')
    for (const way of ways.slice(1)) {
      const ratios = took.get(way.name)!.map((seconds, i) => took.get('direct')![i]! / seconds)
      figure('ssh', `${way.name} / direct, ${what}`, median(ratios), 'x', way === sallyport ? { least } : null)
    }
    figure('ssh', `CPU of the gateway, ${what}`, cpu / ((settings.rounds * mib) / 1024), 's/GiB')
  }
}

/** Each way once a round, and each round begins with another one. */
async function inTurns(ways: readonly Way[], run: (way: Way) => Promise<number>): Promise<Map<string, number[]>> {
  const took = new Map(ways.map(way => [way.name, [] as number[]]))
  for (let round = 0; round < settings.rounds; round++)
    for (let i = 0; i < ways.length; i++) {
      const way = ways[(round + i) % ways.length]!
      took.get(way.name)!.push(await run(way))
    }
  return took
}

/** One terminal on each way, a key on each in turns: the terminal's own echo comes back. */
async function echoes(direct: Way, sallyport: Way): Promise<void> {
  const ways = [direct, sallyport, ...settings.peers]
  const terminals = ways.map(way => new Terminal(way))
  const took = ways.map(() => [] as number[])
  for (const terminal of terminals) await terminal.ready
  for (let n = 0; n < settings.keys; n++) {
    for (const [i, terminal] of terminals.entries()) took[i]!.push(await terminal.key())
    await sleep(5)
  }
  for (const terminal of terminals) terminal.close()
  const of = (i: number, q: number) => quantile(took[i]!, q)
  for (const [i, way] of ways.entries()) {
    figure('ssh', `echo, ${way.name}, median`, of(i, 0.5), 'ms')
    figure('ssh', `echo, ${way.name}, p95`, of(i, 0.95), 'ms')
  }
  figure('ssh', 'echo added by sallyport, median', of(1, 0.5) - of(0, 0.5), 'ms', { most: budget.echoMedian_ms })
  figure('ssh', 'echo added by sallyport, p95', of(1, 0.95) - of(0, 0.95), 'ms', { most: budget.echoP95_ms })
}

/** Shells with a terminal that nobody types into. */
async function idle(erin: Person, pid: number): Promise<void> {
  const names = Array.from({ length: Math.ceil(settings.sessions / perGrant) }, (_, n) => `idle-${n}`)
  const starter = system.policy('resources/data.yaml')
  const entry = /^web-1:\n(?: .*\n)+/m.exec(`${starter}\n`)?.[0] ?? ''
  const more = names.map(name => `\n${entry.replace('web-1:', `${name}:`)}`).join('')
  await system.activated(system.commit({ 'resources/data.yaml': starter + more }))
  await sleep(3000)
  for (const name of names) await granted(erin, name)
  const clients: ssh2.Client[] = []
  for (let n = 0; n < 10; n++) clients.push(await shell(await ticketWay(erin, folder)))
  await sleep(5000)
  const before = rssMiB(pid)
  for (let n = 0; n < settings.sessions; n++) {
    clients.push(await shell(await ticketWay(erin, folder, names[Math.floor(n / perGrant)])))
  }
  await sleep(10_000)
  const after = rssMiB(pid)
  const [row] = await system.owner<{ n: number }[]>`
    select count(distinct session_id)::int as n from connections where closed_at is null`
  if (row!.n < clients.length) throw new Error(`${row!.n} sessions live, not ${clients.length}`)
  figure('ssh', `an idle shell of ${clients.length}`, (after - before) / settings.sessions, 'MiB RSS', {
    most: budget.session_MiB,
  })
  figure('ssh', `the gateway worker with ${clients.length} idle shells`, after, 'MiB RSS')
  for (const client of clients) client.destroy()
}

function shell(ticket: BenchTicket): Promise<ssh2.Client> {
  const client = new ssh2.Client()
  return new Promise((resolve, reject) => {
    client.on('error', reject)
    client.on('ready', () =>
      client.shell((error, channel) => {
        if (error !== undefined) return reject(error)
        channel.once('data', () => resolve(client))
        channel.on('data', () => {})
      }),
    )
    client.connect({
      host: ticket.host,
      port: ticket.port,
      username: ticket.id,
      privateKey: ticket.key.reveal(),
      hostVerifier: () => true,
    })
  })
}

/** What a process has used so far. */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}
