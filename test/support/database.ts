import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import { type Database, openDatabase } from '../../src/db/database.ts'
import { type EmbeddedServer, startEmbedded } from '../../src/db/embedded.ts'
import { grantDatabase, migrate, type RoleUrls } from '../../src/db/migrate.ts'
import { Secret } from '../../src/secret.ts'

export interface TestDatabase {
  /** The owner's URL. */
  readonly url: Secret
  readonly roleUrls: RoleUrls
  /** A pool of the owner: may do everything. Open others with `roleUrls` to see what a role may do. */
  readonly database: Database
  /** While `run` runs nobody is connected to it, and nobody can be. */
  away<X>(run: () => Promise<X>): Promise<X>
  drop(): Promise<void>
}

/** What the run's one server offers: its superuser's URL to `postgres`, and a migrated template to copy. */
export interface TestServer {
  readonly admin: string
  readonly template: string
  readonly roleUrls: Readonly<Record<keyof RoleUrls, string>>
}

/** Set by `database-setup.ts`: the socket in the run's main process that starts the server when first asked. */
export const socketVariable = 'SALLYPORT_TEST_DATABASE_SOCKET'

/** A migrated database of its own. Databases are copies of a template (some 50 ms); `drop` is optional, the run takes all along. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const server = await testServer()
  const name = `test_${randomBytes(6).toString('hex')}`
  await withAdmin(
    server.admin,
    sql => sql`create database ${sql(name)} template ${sql(server.template)} strategy file_copy`,
  )
  const at = (url: string) => new Secret(Object.assign(new URL(url), { pathname: `/${name}` }).href)
  const url = at(server.admin)
  const { control, gateway, replay } = server.roleUrls
  const database = openDatabase({ url, max: 8, application: 'test' })
  const user = (role: keyof RoleUrls) => new URL(server.roleUrls[role]).username
  await grantDatabase(database.sql, { control: user('control'), gateway: user('gateway'), replay: user('replay') })
  return {
    url,
    roleUrls: { control: at(control), gateway: at(gateway), replay: at(replay) },
    database,
    away: run =>
      withAdmin(server.admin, async sql => {
        await sql`alter database ${sql(name)} allow_connections false`
        try {
          await sql`select pg_terminate_backend(pid) from pg_stat_activity where datname = ${name}`
          return await run()
        } finally {
          await sql`alter database ${sql(name)} allow_connections true`
        }
      }),
    drop: async () => {
      await database.close()
      await withAdmin(server.admin, sql => sql`drop database if exists ${sql(name)} with (force)`)
    },
  }
}

let running: Promise<TestServer> | undefined

function testServer(): Promise<TestServer> {
  const socket = process.env[socketVariable]
  running ??= socket === undefined ? startTestServer().then(s => s.offer) : askMain(socket)
  return running
}

function askMain(path: string): Promise<TestServer> {
  return new Promise((resolve, reject) => {
    let text = ''
    createConnection(path)
      .setEncoding('utf8')
      .on('data', chunk => (text += chunk))
      .on('error', reject)
      .on('end', () => {
        const answer = JSON.parse(text) as TestServer & { error?: string }
        if (answer.error === undefined) resolve(answer)
        else reject(new Error(answer.error))
      })
  })
}

/** Starts the server of this run; it dies with this process. */
export async function startTestServer(): Promise<{ offer: TestServer; server: EmbeddedServer; stop(): Promise<void> }> {
  const dataDir = mkdtempSync(join(tmpdir(), 'sallyport-test-'))
  const server = await startEmbedded({
    name: 'the test database',
    dataDir,
    port: 0,
    superuser: 'owner',
    durable: false,
    settings: { max_connections: '300' },
  })
  const template = 'sallyport_template'
  const admin = server.url('postgres').reveal()
  await withAdmin(admin, sql => sql`create database ${sql(template)}`)
  const user = (role: string) =>
    server.url(template, { name: `sallyport_${role}`, password: new Secret(randomBytes(12).toString('hex')) })
  const roleUrls = { control: user('control'), gateway: user('gateway'), replay: user('replay') }
  await migrate(server.url(template), roleUrls)
  const { control, gateway, replay } = roleUrls
  return {
    offer: {
      admin,
      template,
      roleUrls: { control: control.reveal(), gateway: gateway.reveal(), replay: replay.reveal() },
    },
    server,
    stop: async () => {
      await server.stop()
      rmSync(dataDir, { recursive: true, force: true })
    },
  }
}

async function withAdmin<X>(url: string, run: (sql: postgres.Sql) => Promise<X>): Promise<X> {
  const sql = postgres(url, { max: 1, onnotice: () => {} })
  try {
    return await run(sql)
  } finally {
    await sql.end({ timeout: 5 })
  }
}
