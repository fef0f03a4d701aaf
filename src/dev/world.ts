import { mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import type { Config } from '../config.ts'
import { type EmbeddedServer, startEmbedded } from '../db/embedded.ts'
import { migrate, type RoleUrls } from '../db/migrate.ts'
import { takeOwnership } from '../db/owner.ts'
import { packageRoot } from '../db/package-root.ts'
import { findOpa } from '../policy/opa-binary.ts'
import { makeForge } from './forge.ts'
import { type DevIdentityProvider, startIdentityProvider } from './idp/provider.ts'
import { type Ports, portsOf, settlePorts } from './ports.ts'
import { makeMirror, makePolicyRepository } from './repository.ts'
import {
  developmentClientId,
  developmentTeam,
  SecretFolder,
  systemDatabase,
  type Tuning,
  writeConfig,
  writeDatabaseUrls,
} from './settings.ts'
import { type Shop, shopPasswordFile, startShop } from './shop/start.ts'
import { type SlackStandIn, startSlackStandIn } from './slack/stand-in.ts'
import { type Fall, type NodeChild, Tree } from './tree.ts'
import { hasSshd, startWeb, type Web } from './web/start.ts'

export const roles = ['control', 'gateway', 'replay'] as const

export interface WorldOptions {
  /** Default: `$SALLYPORT_DATA`, else the XDG state folder. */
  readonly dataDir?: string
  /** 0 takes a free one; default: the table in ports.ts with `SALLYPORT_PORT_…`. */
  readonly ports?: Ports
  readonly progress?: (line: string) => void
  /** Tests: no fsync, a small shop. */
  readonly durable?: boolean
  readonly customers?: number
  /** Benchmarks: how many connections the demo target takes. */
  readonly shopConnections?: number
  /** Settings of the roles: more gateway workers, shorter patience. */
  readonly tuning?: Tuning
  /** The program whose `serve` runs the roles. */
  readonly program?: string
}

export interface World {
  readonly dataDir: string
  readonly origin: string
  readonly ports: Ports
  readonly config: Config
  readonly configPath: string
  /** The policy repository: commit there, on `main`. */
  readonly policies: string
  readonly database: EmbeddedServer
  readonly roleUrls: RoleUrls
  readonly shop: Shop
  /** The demo server; absent where this machine has no sshd. */
  readonly web: Web | undefined
  readonly identityProvider: DevIdentityProvider
  readonly slack: SlackStandIn
  readonly children: Readonly<Record<(typeof roles)[number], NodeChild>>
  /** Resolves when a part ended that nobody stopped; the rest is still up then, `stop` ends it. */
  readonly fallen: Promise<Fall>
  stop(): Promise<void>
}

export function defaultDataDir(env: NodeJS.ProcessEnv): string {
  return env['SALLYPORT_DATA'] || join(env['XDG_STATE_HOME'] || join(homedir(), '.local/state'), 'sallyport')
}

/** Brings the whole system up on this machine, in one tree of processes. What it starts dies with this process. */
export async function runDevelopmentWorld(options: WorldOptions = {}): Promise<World> {
  const dataDir = options.dataDir ?? defaultDataDir(process.env)
  // Where PostgreSQL must run as `nobody`, that user has to get through to its own folder; what is secret is 0600 or 0700 below.
  mkdirSync(dataDir, { recursive: true, mode: process.getuid?.() === 0 ? 0o711 : 0o700 })
  const ownership = takeOwnership(join(dataDir, 'instance.json'), `the data folder ${dataDir}`)
  const tree = new Tree(join(dataDir, 'logs'))
  const stop = async () => {
    await tree.stop()
    ownership.release()
  }
  try {
    return await compose({ ...options, dataDir }, tree, stop)
  } catch (error) {
    await stop()
    throw error
  }
}

async function compose(
  options: WorldOptions & { dataDir: string },
  tree: Tree,
  stop: () => Promise<void>,
): Promise<World> {
  const { dataDir } = options
  const done = options.progress ?? (() => {})
  const durable = options.durable ?? true
  const ports = await settlePorts(options.ports ?? portsOf(process.env))
  const origin = `http://127.0.0.1:${ports.control}`
  const secrets = new SecretFolder(join(dataDir, 'secrets'))
  const policies = join(dataDir, 'policies')

  // What takes long goes side by side; the first that fails ends the start. Nobody needs the shop before the end.
  const shopDir = join(dataDir, 'shop')
  const system = async () => {
    const [{ database, roleUrls }, web, opa, identityProvider, slack] = await Promise.all([
      startDatabase(tree, secrets, join(dataDir, 'database'), ports.database, durable, done),
      startServer(tree, join(dataDir, 'web'), ports.web, done),
      findCompiler(done),
      startPeople(tree, secrets, dataDir, ports.idp, origin, done),
      startChat(tree, secrets, dataDir, ports.slack, origin, done),
    ])
    const forge = web === undefined ? undefined : makeForge(join(dataDir, 'forge'))
    const made = makePolicyRepository(policies, join(packageRoot(), 'policies'), { shopPort: ports.shop, web, forge })
    if (made === 'made') done(`policy repository made in ${policies}`)
    if (made === 'updated') done(`policy repository in ${policies}, which nobody changed, is up to date again`)
    if (made === 'offered') done(`policies: yours are kept; to take what is new: git -C ${policies} merge starter`)
    const mirror = join(dataDir, 'audit-mirror.git')
    makeMirror(mirror)
    const { path, config } = await writeConfig({
      dataDir,
      secrets,
      ports,
      opa,
      policies,
      mirror,
      issuer: identityProvider.issuer,
      shopPasswordFile: shopPasswordFile(shopDir),
      web,
      slackApiUrl: slack.apiUrl,
      tuning: options.tuning,
    })
    const children = await startRoles(tree, options.program ?? join(packageRoot(), 'dist/cli/main.js'), path, done)
    return { config, configPath: path, database, roleUrls, web, identityProvider, slack, children }
  }
  const [shop, rest] = await Promise.all([startTarget(tree, shopDir, ports.shop, options, durable, done), system()])
  return { dataDir, origin, ports, policies, shop, ...rest, fallen: tree.fallen, stop }
}

/** All at once: gateway and replay are ready when they have the revision that control activates. */
async function startRoles(tree: Tree, program: string, config: string, done: Done): Promise<World['children']> {
  const env = { ...process.env, SALLYPORT_DEVELOPMENT_TREE: '1' }
  const serve = async (role: string) => {
    const child = await tree.startNode(role, [program, 'serve', '--roles', role, '--config', config], env)
    done(`${role} is ready`)
    return child
  }
  const [control, gateway, replay] = await Promise.all([serve('control'), serve('gateway'), serve('replay')])
  return { control, gateway, replay }
}

type Done = (line: string) => void

async function findCompiler(done: Done): Promise<string> {
  const path = await findOpa({ progress: done })
  done(`opa: ${path}`)
  return path
}

async function startDatabase(
  tree: Tree,
  secrets: SecretFolder,
  dataDir: string,
  port: number,
  durable: boolean,
  done: Done,
) {
  const database = await startEmbedded({
    name: 'the embedded database',
    dataDir,
    port,
    superuser: 'sallyport_owner',
    durable,
  })
  await tree.add({ name: 'the embedded database', exited: database.exited, stop: () => database.stop() })
  const sql = postgres(database.url('postgres').reveal(), { max: 1, onnotice: () => {} })
  try {
    const [found] = await sql`select 1 from pg_database where datname = ${systemDatabase}`
    if (found === undefined) await sql`create database ${sql(systemDatabase)}`
  } finally {
    await sql.end({ timeout: 5 })
  }
  const roleUrls = writeDatabaseUrls(secrets, database)
  await migrate(database.url(systemDatabase), roleUrls)
  done(`PostgreSQL is up on port ${database.port} and migrated`)
  return { database, roleUrls }
}

async function startTarget(
  tree: Tree,
  dataDir: string,
  port: number,
  options: WorldOptions,
  durable: boolean,
  done: Done,
): Promise<Shop> {
  const shop = await startShop({
    dataDir,
    port,
    durable,
    ...(options.customers === undefined ? {} : { customers: options.customers }),
    ...(options.shopConnections === undefined ? {} : { connections: options.shopConnections }),
  })
  await tree.add({ name: 'the demo shop database', exited: shop.server.exited, stop: () => shop.server.stop() })
  done(`demo shop database is up on port ${shop.server.port}`)
  return shop
}

async function startServer(tree: Tree, dataDir: string, port: number, done: Done): Promise<Web | undefined> {
  if (!hasSshd()) {
    done('no demo server (web-1): this machine has no sshd; install openssh-server to have it')
    return undefined
  }
  const web = await startWeb({ dataDir, port })
  await tree.add({ name: 'the demo server', exited: web.exited, stop: () => web.stop() })
  done(`demo server is up on port ${web.port}`)
  return web
}

async function startPeople(
  tree: Tree,
  secrets: SecretFolder,
  dataDir: string,
  port: number,
  origin: string,
  done: Done,
) {
  const folder = join(dataDir, 'identity-provider')
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const provider = await startIdentityProvider({
    port,
    dataDir: folder,
    clients: [
      {
        client_id: developmentClientId,
        client_secret: secrets.made('oidc-client').reveal(),
        redirect_uris: [`${origin}/auth/callback`],
        post_logout_redirect_uris: [`${origin}/`, origin],
      },
    ],
  })
  await tree.add({ name: 'the identity provider', stop: () => provider.stop() })
  done(`identity provider is up: ${provider.issuer}`)
  return provider
}

async function startChat(tree: Tree, secrets: SecretFolder, dataDir: string, port: number, origin: string, done: Done) {
  const folder = join(dataDir, 'slack')
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const slack = await startSlackStandIn({
    port,
    dataDir: folder,
    signingSecret: secrets.made('slack-signing'),
    botToken: secrets.made('slack-bot'),
    teamId: developmentTeam,
    eventsUrl: `${origin}/slack/events`,
  })
  await tree.add({ name: 'the Slack stand-in', stop: () => slack.stop() })
  done(`Slack stand-in is up: ${slack.url}`)
  return slack
}
