import { drizzle, type PostgresJsDatabase } from 'drizzle-orm/postgres-js'
import type postgres from 'postgres'
import type { Secret } from '../secret.ts'
import { openDriver } from './driver.ts'

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
 * Opens a pool. Its places outlive any outage: what was running on a lost connection is rejected, and the place is free at once.
 * @param options.application shown in `pg_stat_activity`.
 */
export function openDatabase(options: { url: Secret; max: number; application: string }): Database {
  const sql = openDriver(options.url.reveal(), {
    max: options.max,
    connect_timeout: 4,
    idle_timeout: 60,
    backoff: (failures: number) => Math.min(0.05 * 2 ** failures, longestPause_s),
    onnotice: () => {},
    connection: { application_name: options.application },
  })
  return { db: drizzle(sql), sql, close: () => sql.end({ timeout: 5 }) }
}

/** The database's clock, which is the only one that counts. */
export async function databaseNow(sql: postgres.Sql): Promise<number> {
  const [row] = await sql<{ ms: string }[]>`select (extract(epoch from clock_timestamp()) * 1000)::bigint::text as ms`
  return Number(row!.ms)
}
