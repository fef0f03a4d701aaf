import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import postgres from 'postgres'
import { type EmbeddedServer, startEmbedded } from '../../db/embedded.ts'
import { scramVerifier } from '../../db/scram-verifier.ts'
import { Secret } from '../../secret.ts'
import { access, constraints, rows, schema } from './data.ts'

/** The account of the gateway on the demo target. */
export const shopGatewayUser = 'sallyport_gateway'
export const shopDatabase = 'shop'

export interface Shop {
  readonly server: EmbeddedServer
  /** Password of `sallyport_gateway`: what the operator's `secrets:` setting names. */
  readonly gatewayPassword: Secret
  readonly gatewayPasswordFile: string
}

/** Where the password of `sallyport_gateway` lies once the shop has been started. */
export function shopPasswordFile(dataDir: string): string {
  return join(dataDir, 'gateway-password')
}

/** Starts the demo target, a PostgreSQL of its own with its own superuser, and fills it the first time. */
export async function startShop(options: {
  readonly dataDir: string
  readonly port: number
  /** How many customers; everything else follows. */
  readonly customers?: number
  readonly durable?: boolean
  readonly connections?: number
}): Promise<Shop> {
  const server = await startEmbedded({
    name: 'the demo shop database',
    dataDir: options.dataDir,
    port: options.port,
    superuser: 'shop_owner',
    durable: options.durable ?? true,
    settings: {
      shared_buffers: '96MB',
      ...(options.connections === undefined ? {} : { max_connections: String(options.connections) }),
    },
  })
  const file = shopPasswordFile(options.dataDir)
  if (!existsSync(file)) writeFileSync(file, randomBytes(24).toString('base64url') + '\n', { mode: 0o600, flag: 'wx' })
  const gatewayPassword = new Secret(readFileSync(file, 'utf8').trim())
  try {
    await fill(server, gatewayPassword, options.customers ?? 100_000)
  } catch (error) {
    await server.stop()
    throw error
  }
  return { server, gatewayPassword, gatewayPasswordFile: file }
}

/** In one transaction: a start that was cut off leaves an empty database, and the next one fills it. */
async function fill(server: EmbeddedServer, password: Secret, customers: number): Promise<void> {
  await using(server.url('postgres'), async sql => {
    const [found] = await sql`select 1 from pg_database where datname = ${shopDatabase}`
    if (found === undefined) await sql`create database ${sql(shopDatabase)}`
  })
  await using(server.url(shopDatabase), async sql => {
    const [filled] = await sql<{ yes: boolean }[]>`select to_regclass('hr.employees') is not null as yes`
    if (filled!.yes) return
    await sql.begin(async tx => {
      await tx.unsafe(schema)
      for (const statement of rows(customers)) await tx.unsafe(statement)
      await tx.unsafe(constraints)
      await tx.unsafe(access(shopGatewayUser, scramVerifier(password)))
    })
    await sql.unsafe('analyze')
  })
}

async function using(url: Secret, run: (sql: postgres.Sql) => Promise<void>): Promise<void> {
  const sql = postgres(url.reveal(), { max: 1, onnotice: () => {} })
  try {
    await run(sql)
  } finally {
    await sql.end({ timeout: 5 })
  }
}
