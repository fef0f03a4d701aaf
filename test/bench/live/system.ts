import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import postgres from 'postgres'
import { packageRoot } from '../../../src/db/package-root.ts'
import type { Tuning } from '../../../src/dev/settings.ts'
import { runDevelopmentWorld, type World } from '../../../src/dev/world.ts'
import { Person, type RequestBody } from '../../support/person.ts'
import type { Ticket } from '../../support/psql.ts'

const ports = { control: 0, replay: 0, idp: 0, slack: 0, database: 0, shop: 0, gateway: 0, web: 0, ssh: 0 }

/** The built system in processes of its own, with the people that a benchmark of live sessions needs. */
export class System implements AsyncDisposable {
  readonly dev: World
  readonly owner: postgres.Sql
  readonly shop: postgres.Sql
  readonly #folder: string
  readonly #people = new Map<string, Person>()

  private constructor(dev: World, folder: string) {
    this.dev = dev
    this.#folder = folder
    const open = (url: string) => postgres(url, { max: 2, onnotice: () => {}, idle_timeout: 0 })
    this.owner = open(dev.database.url('sallyport').reveal())
    this.shop = open(dev.shop.server.url('shop').reveal())
  }

  static async start(options: { tuning?: Tuning; shopConnections: number; durable?: boolean; customers?: number }) {
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-bench-'))
    try {
      const dev = await runDevelopmentWorld({
        dataDir: join(folder, 'state'),
        ports,
        durable: false,
        customers: 1000,
        ...options,
      })
      return new System(dev, folder)
    } catch (error) {
      rmSync(folder, { recursive: true, force: true })
      throw error
    }
  }

  person(sub: string): Person {
    let person = this.#people.get(sub)
    if (person === undefined) {
      const program = join(packageRoot(), 'dist/cli/main.js')
      person = new Person(sub, { origin: this.dev.origin, program, folder: join(this.#folder, 'people') })
      this.#people.set(sub, person)
    }
    return person
  }

  /** Somebody asks, Dana approves. @returns the grant. */
  async grant(who: Person, resource = 'shop-db'): Promise<string> {
    const request = await who.ask({ resource })
    const { body } = await this.person('dana').vote(request)
    const { grant } = body as unknown as RequestBody
    if (grant === null || grant === undefined) throw new Error(`not approved: ${JSON.stringify(body)}`)
    return grant.id
  }

  /** One session a ticket, a few at a time, as people come. A grant takes 100 open tickets at most. */
  async connectAll(who: Person, count: number, resource = 'shop-db'): Promise<LiveClient[]> {
    const clients: LiveClient[] = []
    const tickets: Ticket[] = []
    for (let n = 0; n < count; n++) tickets.push(await who.ticket({ resource }))
    const open = async () => {
      for (let ticket = tickets.pop(); ticket !== undefined; ticket = tickets.pop())
        clients.push(await this.#patient(ticket))
    }
    await Promise.all(Array.from({ length: 4 }, open))
    return clients
  }

  /** A machine with much else to do may let a login take longer than the gateway waits: the same ticket is tried again. */
  async #patient(ticket: Ticket): Promise<LiveClient> {
    for (let tries = 1; ; tries++) {
      try {
        return await LiveClient.connect(ticket)
      } catch (error) {
        if (tries === 5) throw error
        console.error(`a login is tried again: ${(error as Error).message}`)
      }
    }
  }

  /** Commits to the policy repository. @returns the commit. */
  commit(edits: Readonly<Record<string, string>>): string {
    for (const [path, text] of Object.entries(edits)) writeFileSync(join(this.dev.policies, path), text)
    const author = ['-c', 'user.name=bench', '-c', 'user.email=bench@example.test', '-c', 'commit.gpgsign=false']
    const git = (...args: string[]) => {
      const run = spawnSync('git', [...author, ...args], { cwd: this.dev.policies, encoding: 'utf8' })
      if (run.status !== 0) throw new Error(`git ${args.join(' ')}: ${run.stderr}`)
      return run.stdout.trim()
    }
    git('commit', '--quiet', '--all', '--message', 'A change')
    return git('rev-parse', 'HEAD')
  }

  policy(path: string): string {
    return readFileSync(join(this.dev.policies, path), 'utf8')
  }

  /** @returns when a commit became the active revision (wall clock, ms). */
  async activated(commit: string): Promise<number> {
    for (let tries = 0; tries < 600; tries++) {
      const [row] = await this.owner<{ at: number }[]>`
        select (extract(epoch from activated_at) * 1000)::float8 as at from revisions where commit = ${commit}`
      if (row !== undefined) return row.at
      await sleep(50)
    }
    const failures = await this.owner`select problems from revision_failures where commit = ${commit}`
    throw new Error(`${commit} did not become active: ${JSON.stringify(failures)}`)
  }

  /** Living gateway workers with their process ids. */
  async workers(): Promise<{ id: string; pid: number; connections: number }[]> {
    const rows = await this.owner<{ id: string; pid: string; connections: number }[]>`
      select p.id, p.pid, (select count(*)::int from connections c where c.process_id = p.id and c.closed_at is null) as connections
      from processes p where p.role = 'gateway' and p.heartbeat_at > now() - interval '5 s' order by p.started_at`
    return rows.map(row => ({ ...row, pid: Number(row.pid) }))
  }

  /** The end of a role's log. */
  lastWords(role: string): string {
    return readFileSync(join(this.dev.dataDir, 'logs', `${role}.log`), 'utf8').slice(-3000)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.owner.end({ timeout: 2 }), this.shop.end({ timeout: 2 })])
    await this.dev.stop()
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** A client's connection through the gateway, TLS on, that knows when and why it was closed. */
export class LiveClient {
  readonly client: pg.Client
  /** Resolves with the wall clock when the socket is closed. */
  readonly closed: Promise<number>
  readonly words: string[] = []

  private constructor(client: pg.Client) {
    this.client = client
    client.on('error', error => this.words.push(error.message))
    this.closed = new Promise(resolve => client.once('end', () => resolve(performance.timeOrigin + performance.now())))
  }

  static async connect(ticket: Ticket): Promise<LiveClient> {
    const live = new LiveClient(
      new pg.Client({
        host: ticket.host,
        port: ticket.port,
        user: ticket.id,
        password: ticket.secret,
        database: ticket.database,
        ssl: { ca: readFileSync(ticket.ca_file, 'utf8') },
      }),
    )
    await live.client.connect()
    return live
  }

  /** A statement that runs until something ends it. */
  run(sql: string): void {
    this.client.query(sql).then(
      () => this.words.push('the statement came to its end'),
      error => this.words.push((error as Error).message),
    )
  }
}
