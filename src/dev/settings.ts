import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { ensureKeys } from '../cli/keys.ts'
import type { Config } from '../config.ts'
import type { EmbeddedServer } from '../db/embedded.ts'
import { databaseRoles } from '../db/grants.ts'
import type { RoleUrls } from '../db/migrate.ts'
import { rootKeyOf } from '../keys.ts'
import { checkConfig } from '../load-config.ts'
import { publish } from '../protocols/ssh/keys.ts'
import { Secret } from '../secret.ts'
import { protocolKeys } from '../signing-keys.ts'
import type { Ports } from './ports.ts'
import type { Web } from './web/start.ts'

/** The database of the system itself, on its embedded server. */
export const systemDatabase = 'sallyport'

/** Secrets of the development system: files of one folder, made once, readable by their owner only. */
export class SecretFolder {
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = folder
    mkdirSync(folder, { recursive: true, mode: 0o700 })
  }

  path(name: string): string {
    return join(this.#folder, name)
  }

  ref(name: string): string {
    return `file:${this.path(name)}`
  }

  /** A random one, made at the first call. */
  made(name: string): Secret {
    if (!existsSync(this.path(name))) this.write(name, randomBytes(24).toString('base64url'))
    return new Secret(readFileSync(this.path(name), 'utf8').trim())
  }

  write(name: string, value: string): void {
    writeFileSync(this.path(name), value + '\n', { mode: 0o600 })
  }
}

/** The three database users' URLs, written where the configuration points: the port may be another one at each start. */
export function writeDatabaseUrls(secrets: SecretFolder, server: EmbeddedServer): RoleUrls {
  const url = (role: string) => {
    const made = server.url(systemDatabase, {
      name: `sallyport_${role}`,
      password: secrets.made(`database-password-${role}`),
    })
    secrets.write(`database-url-${role}`, made.reveal())
    return made
  }
  secrets.write('database-url-owner', server.url(systemDatabase).reveal())
  const [control, gateway, replay] = databaseRoles.map(url) as [Secret, Secret, Secret]
  return { control, gateway, replay }
}

export const developmentClientId = 'sallyport'
export const developmentTeam = 'T0DEVWORLD'

/** What may differ from the development system's own choice. */
export interface Tuning {
  readonly gateway_workers?: number
  readonly offline_grace_s?: number
  readonly refresh_s?: number
  /** How often checkpoints go to the mirror. */
  readonly mirror_s?: number
  /** Clients may connect without TLS, for measuring. */
  readonly plaintext?: boolean
  /** Other settings of recordings: another store. */
  readonly recording?: Partial<Config['recording']>
  /** Another way to the policy repository, given its folder. */
  readonly policy?: (policies: string) => Partial<Config['policy']>
}

/** Makes missing keys and writes the configuration that the three processes read: the same form as in production. */
export async function writeConfig(options: {
  readonly dataDir: string
  readonly secrets: SecretFolder
  readonly ports: Ports
  readonly issuer: string
  readonly policies: string
  /** A bare repository that stands for the one outside. */
  readonly mirror: string
  readonly opa: string
  readonly shopPasswordFile: string
  readonly web: Web | undefined
  readonly slackApiUrl: string
  readonly tuning?: Tuning | undefined
}): Promise<{ path: string; config: Config; origin: string }> {
  const { dataDir, secrets, ports, tuning = {} } = options
  const origin = `http://127.0.0.1:${ports.control}`
  const keys = {
    control: `file:${join(dataDir, 'keys/control')}`,
    gateway: `file:${join(dataDir, 'keys/gateway')}`,
    replay: `file:${join(dataDir, 'keys/replay')}`,
  }
  const identity = `file:${join(dataDir, 'keys/recordings')}`
  const originals_identity = `file:${join(dataDir, 'keys/originals')}`
  const made = await ensureKeys({ keys, recording: { identity, originals_identity } })
  const root = rootKeyOf(keys.gateway)
  options.web?.trust(publish(purpose => protocolKeys(root, 'ssh', purpose)).target_ca)
  const settings = {
    origin,
    deployment: 'development',
    development: true,
    database: {
      owner: secrets.ref('database-url-owner'),
      control: secrets.ref('database-url-control'),
      gateway: secrets.ref('database-url-gateway'),
      replay: secrets.ref('database-url-replay'),
    },
    keys,
    public_keys: made.public_keys,
    data: join(dataDir, 'data'),
    control: { host: '127.0.0.1', port: ports.control },
    replay: { host: '127.0.0.1', port: ports.replay },
    gateway: {
      host: '127.0.0.1',
      public_host: '127.0.0.1',
      workers: tuning.gateway_workers ?? 1,
      ports: { postgres: ports.gateway, ssh: ports.ssh },
      offline_grace_s: tuning.offline_grace_s ?? 30,
      ...(tuning.plaintext === undefined ? {} : { plaintext: tuning.plaintext }),
    },
    oidc: {
      issuer: options.issuer,
      client_id: developmentClientId,
      client_secret: secrets.ref('oidc-client'),
      groups_claim: 'groups',
      scopes: 'openid profile email groups offline_access',
      refresh_s: tuning.refresh_s ?? 15,
      max_groups_age_s: 3600,
      allow_http: true,
    },
    slack: {
      signing_secret: secrets.ref('slack-signing'),
      bot_token: secrets.ref('slack-bot'),
      team_id: developmentTeam,
      api_url: options.slackApiUrl,
      policy_channel: 'policy',
    },
    policy: {
      source: options.policies,
      ref: 'main',
      poll_s: 1,
      opa: options.opa,
      ...tuning.policy?.(options.policies),
    },
    first_admins: 'security-admins',
    secrets: { 'shop-gateway': { from: `file:${options.shopPasswordFile}`, hosts: ['127.0.0.1'] } },
    // The demo targets lie on loopback, which is refused otherwise.
    allow_addresses: [ports.shop, ...(options.web === undefined ? [] : [ports.web])].map(port => `127.0.0.1:${port}`),
    recording: {
      recipients: [made.recipient],
      identity,
      originals_recipients: [made.originals_recipient],
      originals_identity,
      spool_mib: 256,
      ...tuning.recording,
    },
    audit: {
      copy: join(dataDir, 'audit-copy'),
      places: [{ name: 'mirror', kind: 'git', source: options.mirror, every_s: tuning.mirror_s ?? 30 }],
    },
    zone: 'UTC',
  }
  const path = join(dataDir, 'sallyport.yaml')
  const config = checkConfig(structuredClone(settings), 'the development configuration')
  writeFileSync(path, `# Written by \`sallyport dev\` at each start: changes here are lost.\n${stringify(settings)}`, {
    mode: 0o600,
  })
  return { path, config, origin }
}
