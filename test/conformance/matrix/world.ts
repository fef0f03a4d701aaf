import { spawnSync } from 'node:child_process'
import { chmodSync, chownSync, copyFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { packageRoot } from '../../../src/db/package-root.ts'
import { runDevelopmentWorld, type World } from '../../../src/dev/world.ts'
import { CertificateAuthority } from '../../../src/gateway/certificates.ts'
import { Person } from '../../support/person.ts'
import { replaced } from '../../support/policy-edits.ts'

/** What a client is told, of the target itself or of the gateway before it. */
export interface Way {
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password: string
  readonly database: string
  readonly ca: string
}

export interface ConformanceWorld {
  readonly folder: string
  /** The target itself, with the rights of the role `admin`. */
  readonly direct: Way
  /** Role `admin`: policy allows every action and masks nothing. */
  readonly open: Way
  /** Role `reader` under the starter policies. */
  readonly starter: Way
  readonly targetVersion: string
  /** One ticket more: a session of its own. */
  another(like: 'open' | 'starter'): Promise<Way>
  /** A statement at the target, as its superuser. */
  atTarget(sql: string): Promise<unknown>
  /** Processes that serve connections. */
  workers(): Promise<number[]>
  stop(): Promise<void>
}

const ports = { control: 0, replay: 0, idp: 0, slack: 0, database: 0, shop: 0, gateway: 0, web: 0, ssh: 0 }
const password = 'direct-password' // of a target that is thrown away
const roles = 'shop_reader, shop_writer, shop_admin'

/** The built system with two gateway workers, TLS on every leg, and a target that may be reached directly as well. */
export async function startConformanceWorld(): Promise<ConformanceWorld> {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-conformance-'))
  chmodSync(folder, 0o755) // PostgreSQL may have to run as another user
  const stops: (() => unknown)[] = [() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 })]
  const stop = async () => {
    for (const each of stops.splice(0).toReversed()) await each()
  }
  try {
    const dev = await runDevelopmentWorld({
      dataDir: join(folder, 'state'),
      ports,
      durable: false,
      customers: 1000,
      tuning: { gateway_workers: 2 },
    })
    stops.push(() => dev.stop())
    const owner = postgres(dev.database.url('sallyport').reveal(), { max: 1, onnotice: () => {} })
    stops.push(() => owner.end({ timeout: 5 }))
    const target = postgres(dev.shop.server.url('shop').reveal(), { max: 1, onnotice: () => {} })
    stops.push(() => target.end({ timeout: 5 }))
    const targetVersion = await prepareTarget(dev, await makeCertificates(folder))
    await allowEverything(dev, owner)
    const person = (sub: string) =>
      new Person(sub, {
        origin: dev.origin,
        program: join(packageRoot(), 'dist/cli/main.js'),
        folder: join(folder, 'people'),
      })
    const [dana, eli, sam] = [person('dana'), person('eli'), person('sam')]
    const request = await eli.ask({ role: 'admin', duration_s: 1800, reason: 'conformance' })
    for (const approver of [dana, sam])
      await approver.vote(await eli.get(`/api/requests/${request.id}`).then(asRequest))
    await dana.ask({ role: 'reader', duration_s: 3600, reason: 'conformance' })
    const way = async (who: Person, role: string): Promise<Way> => {
      const { id, secret, host, port, database, ca_file } = await who.ticket({ role })
      return { host, port, user: id, password: secret, database, ca: ca_file }
    }
    return {
      folder,
      direct: {
        host: '127.0.0.1',
        port: dev.ports.shop,
        user: 'direct_user',
        password,
        database: 'shop',
        ca: join(folder, 'target-ca/ca.crt'),
      },
      open: await way(eli, 'admin'),
      starter: await way(dana, 'reader'),
      targetVersion,
      another: like => (like === 'open' ? way(eli, 'admin') : way(dana, 'reader')),
      atTarget: sql => target.unsafe(sql),
      async workers() {
        const rows = await owner<{ pid: string }[]>`
          select pid from processes where role = 'gateway' and heartbeat_at > now() - interval '10 s' order by pid`
        return rows.map(row => Number(row.pid))
      },
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

function asRequest(answer: { body: Record<string, unknown> }) {
  return answer.body as unknown as Parameters<Person['vote']>[0]
}

/** A certificate for the target, and the CA that its direct clients verify it with. */
async function makeCertificates(folder: string): Promise<string> {
  const authority = await CertificateAuthority.open({
    folder: join(folder, 'target-ca'),
    hosts: ['127.0.0.1'],
    deployment: 'conformance',
  })
  writeFileSync(join(folder, 'target-ca/ca.crt'), authority.ca)
  authority[Symbol.dispose]()
  return join(folder, 'target-ca/server.pem')
}

async function prepareTarget(dev: World, certificate: string): Promise<string> {
  const cluster = join(dev.dataDir, 'shop/cluster')
  const { uid, gid } = statSync(cluster)
  const pem = join(cluster, 'server.pem')
  copyFileSync(certificate, pem)
  chownSync(pem, uid, gid)
  chmodSync(pem, 0o600)
  const url = dev.shop.server.url('shop').reveal()
  const filled = spawnSync('pgbench', ['-i', '-q', '-s', '1', url], { encoding: 'utf8' })
  if (filled.status !== 0) throw new Error(`pgbench -i: ${filled.error?.message ?? filled.stderr}`)
  const sql = postgres(url, { max: 1, onnotice: () => {} })
  try {
    await sql.unsafe('grant all on all tables in schema public to shop_admin')
    await sql.unsafe('grant create on schema public to shop_admin')
    await sql.unsafe(`grant temporary on database shop to ${roles}`)
    await sql.unsafe('grant set on parameter lc_messages to shop_admin')
    await sql.unsafe(`create role direct_user login password '${password}' in role shop_admin`)
    for (const setting of ["ssl_cert_file = 'server.pem'", "ssl_key_file = 'server.pem'", 'ssl = on'])
      await sql.unsafe(`alter system set ${setting}`)
    await sql`select pg_reload_conf()`
    const [row] = await sql<{ server_version: string }[]>`show server_version`
    return row?.server_version ?? 'unknown'
  } finally {
    await sql.end({ timeout: 5 })
  }
}

/** `admin` may do everything that the parser understands; the leg to the target is under TLS, like the direct one. */
async function allowEverything(dev: World, owner: postgres.Sql): Promise<void> {
  const edit = (path: string, change: (text: string) => string) => {
    const file = join(dev.policies, path)
    writeFileSync(file, change(readFileSync(file, 'utf8')))
  }
  edit('resources/data.yaml', text => replaced(text, 'sslmode: prefer', 'sslmode: require'))
  edit('action/action.rego', text => replaced(text, '"admin", "session"}', '"admin", "session", "dynamic"}'))
  edit('action/action.rego', text =>
    replaced(text, 'input.action.verb == "dynamic"', 'input.action.verb == "dynamic"\n\tinput.role != "admin"'),
  )
  edit('action/action_test.rego', text =>
    text.replaceAll(
      'in {"reader", "writer", "admin"} {\n\t\tfired(statement(role, "dynamic"))',
      'in {"reader", "writer"} {\n\t\tfired(statement(role, "dynamic"))',
    ),
  )
  const author = [
    '-c',
    'user.name=conformance',
    '-c',
    'user.email=conformance@example.test',
    '-c',
    'commit.gpgsign=false',
  ]
  const git = (...args: string[]) => spawnSync('git', [...author, ...args], { cwd: dev.policies, encoding: 'utf8' })
  git('add', '--all')
  git('commit', '--quiet', '--message', 'Allow every action to the role admin')
  const commit = git('rev-parse', 'HEAD').stdout.trim()
  for (let tries = 0; tries < 300; tries++) {
    const failures = await owner`select problems from revision_failures where commit = ${commit}`
    if (failures.length > 0) throw new Error(`the policy was refused: ${JSON.stringify(failures)}`)
    const late = await owner`select 1 from processes where heartbeat_at > now() - interval '10 s'
      and generation is distinct from (select generation from revisions where commit = ${commit})`
    if (late.length === 0) return
    await sleep(100)
  }
  throw new Error('the policy did not come into force within 30 s')
}
