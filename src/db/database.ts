import net from 'node:net'
import { drizzle, type PostgresJsDatabase } from 'drizzle-orm/postgres-js'
import postgres from 'postgres'
import type { Secret } from '../secret.ts'

export type Db = PostgresJsDatabase<Record<string, never>>
export type Tx = Parameters<Parameters<Db['transaction']>[0]>[0]
/** A store's functions take this: the connection pool, or the transaction they are part of. */
export type Queryable = Db | Tx

export interface Database {
  readonly db: Db
  readonly sql: postgres.Sql
  close(): Promise<void>
}

const longestPause_s = 1

/**
 * Opens a pool. Sockets get TCP_NODELAY, which postgres.js never sets: without it a COPY stalls 40 ms on a delayed ACK.
 * INVARIANT: postgres.js gets the socket before it is connected. It learns of a failure from the socket's events alone; a
 * rejected promise would cost the pool one of its places for ever.
 * @param options.application shown in `pg_stat_activity`.
 */
export function openDatabase(options: { url: Secret; max: number; application: string }): Database {
  const sql = postgres(options.url.reveal(), {
    max: options.max,
    connect_timeout: 4, // also bounds how long a connection that was lost in the middle of a write keeps its place
    idle_timeout: 60,
    backoff: (failures: number) => Math.min(0.05 * 2 ** failures, longestPause_s),
    onnotice: () => {},
    connection: { application_name: options.application },
    socket: ({ host, port }: { host: string[]; port: number[] }) =>
      net.connect({ host: host[0]!, port: port[0]!, noDelay: true }),
  } as unknown as postgres.Options<Record<string, never>>)
  return { db: drizzle(sql), sql, close: () => sql.end({ timeout: 5 }) }
}

/** The database's clock, which is the only one that counts. */
export async function databaseNow(sql: postgres.Sql): Promise<number> {
  const [row] = await sql<{ ms: string }[]>`select (extract(epoch from clock_timestamp()) * 1000)::bigint::text as ms`
  return Number(row!.ms)
}
