import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import pg from 'pg'
import { startEmbedded } from '../../src/db/embedded.ts'
import { Notices } from '../../src/db/notices.ts'
import { starterHostKey, startWeb } from '../../src/dev/web/start.ts'
import { CertificateAuthority } from '../../src/gateway/certificates.ts'
import { Gateway } from '../../src/gateway/gateway.ts'
import { defaultLimits } from '../../src/gateway/ground.ts'
import type { CommandHandler, KeyPair, RidingProtocol } from '../../src/gateway/protocol.ts'
import { Registry } from '../../src/gateway/registry.ts'
import type { SubjectFacts } from '../../src/policy/points.ts'
import { allProtocols } from '../../src/protocols/all.ts'
import { publish } from '../../src/protocols/ssh/keys.ts'
import { Catalog } from '../../src/recording/catalog.ts'
import { FileStore } from '../../src/recording/file-store.ts'
import { Journal } from '../../src/recording/journal.ts'
import { Reader } from '../../src/recording/reader.ts'
import { Secret } from '../../src/secret.ts'
import { Leases } from '../../src/sessions/leases.ts'
import { protocolKeys } from '../../src/signing-keys.ts'
import { compileWith, type Edit, granted } from '../approvals/world.ts'
import { createSessionWorld } from '../sessions/world.ts'

const maker = 'sallyport_gateway'

const shop = () => `
  create database shop;
`
const schema = (password: string) => `
  create table customers (id int primary key, name text, email text, national_id text, card_number text);
  insert into customers values (1, 'Ada', 'ada@example.com', '111-22-3333', '4111111111111111'), (2, 'Bob', 'bob@example.com', '444-55-6666', '5500000000000004');
  create table orders (id int primary key, customer int, total int);
  insert into orders select i, 1 + i % 2, i from generate_series(1, 500) i;
  create schema hr;
  create table hr.employees (id int, salary int);
  create role shop_reader nologin; create role shop_writer nologin; create role shop_admin nologin;
  grant usage on schema hr to shop_reader, shop_writer, shop_admin;
  grant select on all tables in schema public, hr to shop_reader, shop_writer, shop_admin;
  grant insert, update, delete on orders to shop_writer;
  grant all on all tables in schema public, hr to shop_admin;
  create role ${maker} login createrole noinherit password '${password}';
  grant shop_reader, shop_writer, shop_admin to ${maker} with admin true, inherit false, set false;
`

/** As a worker makes them; one folder each. */
function handlersIn(folder: string, keys: (protocol: string, purpose: string) => KeyPair): Map<string, CommandHandler> {
  const riding = allProtocols.filter(each => each.listener.kind === 'rides-on') as RidingProtocol[]
  return new Map(
    riding.map(each => {
      mkdirSync(join(folder, each.name), { recursive: true })
      return [each.name, each.handler({ folder: join(folder, each.name), keys: purpose => keys(each.name, purpose) })]
    }),
  )
}

/** A target, a control side, and gateway workers in this process, all on real parts. */
export async function createGatewayWorld(options: { readonly web?: readonly string[] } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-gateway-'))
  const target = await startEmbedded({
    name: 'the target',
    dataDir: join(folder, 'target'),
    port: 0,
    superuser: 'boss',
    durable: false,
  })
  const password = randomBytes(12).toString('hex')
  const passwordFile = join(folder, 'password')
  writeFileSync(passwordFile, password, { mode: 0o600 })
  const admin = async (sql: string, database = 'shop') => {
    const client = new pg.Client({ connectionString: target.url(database).reveal() })
    await client.connect()
    try {
      return await client.query(sql)
    } finally {
      await client.end()
    }
  }
  await admin(shop(), 'postgres')
  await admin(schema(password))
  const world = await createSessionWorld()
  const keys = (protocol: string, purpose: string) => protocolKeys(world.root, protocol, purpose)
  const web =
    options.web === undefined
      ? undefined
      : await startWeb({ dataDir: join(folder, 'web'), port: 0, settings: options.web })
  web?.trust(publish(purpose => keys('ssh', purpose)).target_ca)
  const identity = await generateX25519Identity()
  const recipient = await identityToRecipient(identity)
  const originals = await generateX25519Identity()
  const originalsRecipient = await identityToRecipient(originals)
  const authority = await CertificateAuthority.open({
    folder: join(folder, 'ca'),
    hosts: ['127.0.0.1'],
    deployment: 'test',
  })
  const caFile = join(folder, 'ca.pem')
  writeFileSync(caFile, authority.ca)
  const place: Edit = ['resources/data.yaml', '127.0.0.1:5455', `127.0.0.1:${target.port}`]
  const webPlace: Edit[] =
    web === undefined
      ? []
      : [
          ['resources/data.yaml', '127.0.0.1:5457', `127.0.0.1:${web.port}`],
          ['resources/data.yaml', starterHostKey, web.hostKey],
          ['resources/data.yaml', ': deploy', `: ${web.login}`],
        ]
  const activate = async (...edits: Edit[]) => world.activate(await compileWith(place, ...webPlace, ...edits))
  const closers: (() => Promise<unknown>)[] = []

  async function gateway(
    settings: { allow?: boolean; max?: number; plaintext?: boolean; offline_grace_s?: number } = {},
  ) {
    const worker = await world.worker()
    const notices = new Notices({ url: world.test.roleUrls.gateway, application: 'test gateway' })
    await notices.start()
    const { ground, process_id } = worker
    const journal = await Journal.start({
      catalog: new Catalog(ground.database, ground.audit),
      store: new FileStore(join(folder, 'store')),
      process_id,
      spool_root: join(folder, 'spool'),
      spool_bytes: 64 * 1024 * 1024,
      recipients: [recipient],
      originals_recipients: [originalsRecipient],
    })
    const leases = new Leases(ground)
    const one = new Gateway(
      {
        process_id,
        skewMs: () => worker.row.skewMs,
        database: ground.database,
        notices,
        audit: ground.audit,
        engine: worker.engine,
        resources: worker.resources,
        decisionLog: ground.decisionLog,
        tickets: worker.tickets,
        sessions: worker.sessions,
        leases,
        journal,
        registry: new Registry(allProtocols),
        handlers: handlersIn(join(folder, 'handlers'), keys),
        targets: {
          secrets: {
            'shop-gateway': { from: `file:${passwordFile}`, hosts: ['127.0.0.1'] },
            'web-key': { from: `file:${join(folder, 'web-key')}`, hosts: ['127.0.0.1'] },
          },
          allow_addresses: settings.allow === false ? [] : [target.port, web?.port].map(port => `127.0.0.1:${port}`),
          connect_ms: 2000,
          keys,
        },
        tls: () => authority.context(),
        maskKey: Buffer.alloc(32, 1),
        pretenceKey: Buffer.alloc(32, 2),
        origin: 'http://sallyport.test',
        offline_grace_s: settings.offline_grace_s ?? 30,
        plaintext: settings.plaintext ?? false,
        limits: defaultLimits,
      },
      { host: '127.0.0.1', ports: { postgres: 0, ssh: 0 }, max_connections: settings.max ?? 100, max_per_address: 100 },
    )
    await one.start()
    const close = async () => {
      await one.stop(500)
      await ground.decisionLog.flush()
      await journal.close(1000)
      await notices.close()
      await worker.row.close()
    }
    closers.push(close)
    const port = (protocol: string) => one.listeners.port(protocol)!
    return { gateway: one, worker, notices, journal, leases, port: port('postgres'), portOf: port, close }
  }

  async function ticket(subject: SubjectFacts, role = 'reader', resource = 'shop-db') {
    const wire = resource === 'shop-db' ? 'postgres' : 'ssh'
    const protocol = new Registry(allProtocols).listening().find(each => each.name === wire)!
    const prepared = protocol.prepare?.()
    const offer = prepared?.offer ?? {}
    const keysOf = (purpose: string) => keys(protocol.name, purpose)
    const issued = granted(
      await world.tickets.issue(world.approvals, {
        subject,
        resource,
        role,
        verifiers: secret => protocol.verifiers(secret, offer, keysOf),
        client: { address: '127.0.0.1', application: 'test', via: 'cli' },
      }),
    )
    const credential = protocol.credential?.(issued, offer, keysOf) ?? {}
    return { ...issued, prepared: prepared?.secret ?? null, credential, published: protocol.publish?.(keysOf) ?? {} }
  }

  async function connect(
    port: number,
    issued: { id: string; secret: { reveal(): string } },
    options: pg.ClientConfig = {},
  ) {
    const client = new pg.Client({
      host: '127.0.0.1',
      port,
      user: issued.id,
      password: issued.secret.reveal(),
      database: 'shop',
      ssl: { ca: authority.ca },
      ...options,
    })
    const errors: Error[] = []
    client.on('error', error => errors.push(error))
    await client.connect()
    return Object.assign(client, { errors })
  }

  return {
    ...world,
    activate,
    admin,
    target,
    web,
    keys,
    reader: new Reader({
      database: world.test.database,
      store: new FileStore(join(folder, 'store')),
      identities: [new Secret(identity)],
      originals_identities: [new Secret(originals)],
    }),
    folder,
    certificate: join(folder, 'ca/server.pem'),
    caFile,
    gateway,
    ticket,
    connect,
    async close() {
      for (const close of closers.reverse()) await close()
      authority[Symbol.dispose]()
      await world.drop()
      await target.stop()
      await web?.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

export type GatewayWorld = Awaited<ReturnType<typeof createGatewayWorld>>
