import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import postgres from 'postgres'
import { vi } from 'vitest'
import { parse, stringify } from 'yaml'
import { type EmbeddedServer, startEmbedded } from '../../src/db/embedded.ts'
import { freePort } from '../../src/db/loopback.ts'
import type { Tuning } from '../../src/dev/settings.ts'
import { type NodeChild, Tree } from '../../src/dev/tree.ts'
import { runDevelopmentWorld, type World } from '../../src/dev/world.ts'
import type { Outcome } from './commands.ts'
import { Person, type RequestBody } from './person.ts'

const root = resolve(import.meta.dirname, '../..')
const program = join(root, 'dist/cli/main.js')
const ports = { control: 0, replay: 0, idp: 0, slack: 0, database: 0, shop: 0, gateway: 0, web: 0, ssh: 0 }

/** A file's new text, made from what stands there now ('' for a new file); `null` deletes it. */
export type Edits = Readonly<Record<string, (old: string) => string | null>>

export const people = ['erin', 'eli', 'dana', 'ava', 'sam'] as const

interface Options {
  readonly tuning?: Tuning
  readonly customers?: number
  /** The starter policies keep their tests: half of what an activation takes, so only where a journey is about them. */
  readonly policyTests?: boolean
}

/** The whole built system in processes of its own, with people and the means to look behind the curtain. */
export async function startWorld(options: Options = {}) {
  const built = spawnSync(process.execPath, [join(root, 'src/cli/build.js')], { encoding: 'utf8' })
  if (built.status !== 0) throw new Error(`the build failed:\n${built.stdout}${built.stderr}`)
  process.env['SALLYPORT_LOG_LEVEL'] = 'info' // of the children: their logs are searched for what may not stand in them
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-journey-'))
  const dataDir = join(folder, 'state')
  // The policy is looked for before anything has started.
  const policy = (policies: string) => {
    if (options.policyTests !== true) withoutTests(policies)
    return options.tuning?.policy?.(policies) ?? {}
  }
  let dev: World
  try {
    dev = await runDevelopmentWorld({
      dataDir,
      ports,
      durable: false,
      customers: options.customers ?? 200,
      tuning: { gateway_workers: 2, refresh_s: 5, ...options.tuning, policy },
    })
  } catch (error) {
    rmSync(folder, { recursive: true, force: true })
    throw error
  }
  return new TestWorld(dev, folder)
}

function withoutTests(policies: string): void {
  const as = ['-c', 'user.name=Sam', '-c', 'user.email=sam@example.test', '-c', 'commit.gpgsign=false']
  for (const args of [
    ['rm', '--quiet', '--', '*_test.rego', 'policy.yaml'],
    [...as, 'commit', '--quiet', '--message', 'Without tests'],
  ])
    execFileSync('git', args, { cwd: policies })
}

export class TestWorld {
  readonly dev: World
  readonly folder: string
  /** The built command. */
  readonly program = program
  readonly origin: string
  readonly person: Readonly<Record<(typeof people)[number], Person>>
  /** The target's superuser: the oracle on the other side, and the hand that plants canaries. */
  readonly shop: postgres.Sql
  /** The owner of the system's own database. */
  readonly owner: postgres.Sql
  readonly #tree: Tree
  #database: EmbeddedServer

  constructor(dev: World, folder: string) {
    this.dev = dev
    this.folder = folder
    this.origin = dev.origin
    const make = (sub: string) => new Person(sub, { origin: dev.origin, program, folder: join(folder, 'people') })
    this.person = Object.fromEntries(people.map(sub => [sub, make(sub)])) as TestWorld['person']
    const open = (url: string) => postgres(url, { max: 3, onnotice: () => {}, idle_timeout: 0 })
    this.shop = open(dev.shop.server.url('shop').reveal())
    this.owner = open(dev.database.url('sallyport').reveal())
    this.#tree = new Tree(join(dev.dataDir, 'logs'))
    this.#database = dev.database
  }

  /** A grant by request and vote. @returns the request with its grant. */
  async grant(who: Person, options: Parameters<Person['ask']>[0] = {}): Promise<RequestBody> {
    const request = await who.ask(options)
    if (request.state === 'approved') return request
    const approver = who === this.person.dana ? this.person.sam : this.person.dana
    let answer = await approver.vote(request)
    if (answer.status === 200 && answer.body['state'] === 'pending') answer = await this.person.sam.vote(request)
    if (answer.body['state'] !== 'approved') throw new Error(`not approved: ${JSON.stringify(answer)}`)
    return answer.body as unknown as RequestBody
  }

  /** Binds a person's account in the Slack stand-in by the code that the signed-in page shows. */
  async linkSlack(who: Person): Promise<void> {
    const { body } = await who.post('/api/slack/link-code')
    await this.dev.slack.command(who.slackId, `/access link ${String(body['code'])}`)
  }

  /** Commits to the policy repository. @returns the commit. */
  commit(edits: Edits, message = 'Change the policy'): string {
    for (const [path, edit] of Object.entries(edits)) {
      const file = join(this.dev.policies, path)
      mkdirSync(dirname(file), { recursive: true })
      const text = edit(readOr(file))
      if (text === null) rmSync(file)
      else writeFileSync(file, text)
    }
    this.git('add', '--all')
    this.git('-c', 'user.name=Sam', '-c', 'user.email=sam@example.test', 'commit', '--quiet', '--message', message)
    return this.git('rev-parse', 'HEAD')
  }

  /** Git in the policy repository. */
  git(...args: string[]): string {
    const run = spawnSync('git', ['-c', 'commit.gpgsign=false', ...args], { cwd: this.dev.policies, encoding: 'utf8' })
    if (run.status !== 0) throw new Error(`git ${args.join(' ')}: ${run.stderr}`)
    return run.stdout.trim()
  }

  /** Commits and waits until every living process enforces it. */
  async activate(edits: Edits, message?: string): Promise<string> {
    const commit = this.commit(edits, message)
    await this.until(async () => {
      const [active] = await this.owner<{ commit: string; generation: string }[]>`
        select commit, generation from revisions order by generation desc limit 1`
      const failures = await this.owner`select problems from revision_failures where commit = ${commit}`
      if (failures.length > 0) throw new Fatal(`the commit was refused: ${JSON.stringify(failures)}`)
      if (active?.commit !== commit) throw new Error(`${commit} is not active yet`)
      const late = await this.owner`select role from processes
        where heartbeat_at > now() - interval '10 s' and generation is distinct from ${active.generation}`
      if (late.length > 0) throw new Error('not everywhere yet')
    })
    return commit
  }

  /** Tries again until it no longer throws. */
  async until<T>(run: () => Promise<T> | T, timeout = 20_000, interval = 50): Promise<T> {
    let fatal: Fatal | undefined
    const found = await vi.waitFor(
      async () => {
        try {
          return await run()
        } catch (error) {
          if (!(error instanceof Fatal)) throw error
          fatal = error
        }
      },
      { timeout, interval },
    )
    if (fatal !== undefined) throw fatal
    return found as T
  }

  /** Living gateway workers, oldest first. */
  async workers(): Promise<{ id: string; pid: number }[]> {
    const rows = await this.owner<{ id: string; pid: string }[]>`
      select id, pid from processes where role = 'gateway' and heartbeat_at > now() - interval '10 s' order by started_at`
    return rows.map(({ id, pid }) => ({ id, pid: Number(pid) })).filter(({ pid }) => lives(pid))
  }

  /** The worker processes that serve a ticket's open connections. */
  async serving(ticket: string): Promise<{ id: string; pid: number }[]> {
    const rows = await this.owner<{ id: string; pid: string }[]>`
      select distinct p.id, p.pid from connections c join sessions s on s.id = c.session_id join processes p on p.id = c.process_id
      where s.ticket_id = ${ticket} and c.closed_at is null order by p.id`
    return rows.map(({ id, pid }) => ({ id, pid: Number(pid) }))
  }

  async sessionOf(
    ticket: string,
  ): Promise<{ id: string; ended_at: Date | null; end_code: string | null; end_reason: string | null }> {
    const [row] = await this.owner<
      { id: string; ended_at: Date | null; end_code: string | null; end_reason: string | null }[]
    >`
      select id, ended_at, end_code, end_reason from sessions where ticket_id = ${ticket}`
    if (row === undefined) throw new Error(`${ticket} opened no session`)
    return row
  }

  /** Backends on the target that sessions opened. */
  async backends(): Promise<{ pid: number; usename: string; state: string; query: string }[]> {
    return this.shop`select pid, usename, state, query from pg_stat_activity where usename like 'sp\\_%'`
  }

  /** Roles that leases made on the target. */
  async leaseRoles(): Promise<string[]> {
    const rows = await this.shop<{ rolname: string }[]>`
      select rolname from pg_roles where rolname like 'sp\\_%' order by 1`
    return rows.map(row => row.rolname)
  }

  /** From now on the target writes down each statement that it is sent. */
  async logStatements(): Promise<void> {
    await this.shop`alter system set log_statement = 'all'`
    await this.shop`select pg_reload_conf()`
    await this.until(async () => {
      const [row] = await this.shop`show log_statement`
      if (row?.['log_statement'] !== 'all') throw new Error('not reloaded yet')
    })
  }

  /** What the target has written down. */
  targetLog(): string {
    return readFileSync(join(this.dev.dataDir, 'shop/postgres.log'), 'utf8')
  }

  /** Starts control again after the test has killed it. */
  async startControl(config = this.dev.configPath): Promise<NodeChild> {
    const argv = [program, 'serve', '--roles', 'control', '--config', config]
    return this.#tree.startNode('control', argv, { ...process.env, SALLYPORT_DEVELOPMENT_TREE: '1' })
  }

  /** Another control of the same deployment, as on another host: a port, a data folder and a mirror of its own. */
  async startSecondControl(): Promise<NodeChild> {
    const config = parse(readFileSync(this.dev.configPath, 'utf8')) as { data: string; control: { port: number } }
    config.data = join(this.folder, 'second')
    config.control.port = await freePort()
    mkdirSync(config.data, { mode: 0o700 })
    const path = join(this.folder, 'second.yaml')
    writeFileSync(path, stringify(config), { mode: 0o600 })
    return this.startControl(path)
  }

  async stopDatabase(): Promise<void> {
    await this.#database.stop()
  }

  async startDatabase(): Promise<void> {
    this.#database = await startEmbedded({
      name: 'the embedded database',
      dataDir: join(this.dev.dataDir, 'database'),
      port: this.dev.ports.database,
      superuser: 'sallyport_owner',
      durable: false,
    })
  }

  /** The control host's own commands. */
  async hostCli(...args: string[]): Promise<Outcome> {
    return this.person.sam.cli(...args, '--config', this.dev.configPath)
  }

  async stop(): Promise<void> {
    await Promise.all([this.shop.end({ timeout: 2 }), this.owner.end({ timeout: 2 })])
    await this.#tree.stop()
    await this.dev.stop()
    if (this.#database !== this.dev.database) await this.#database.stop()
    if (process.env['SALLYPORT_KEEP'] === undefined)
      rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** Waiting longer will not help. */
class Fatal extends Error {}

export function lives(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

function readOr(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}
