import { createHash, type Hash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip, createGzip } from 'node:zlib'
import postgres from 'postgres'
import { SallyportError } from '../errors.ts'
import type { Secret } from '../secret.ts'

export interface DumpedTable {
  readonly name: string
  readonly columns: readonly string[]
  readonly rows: number
  readonly file: string
  readonly bytes: number
  readonly sha256: string
}

export interface Dump {
  readonly at_ms: number
  /** Hashes of the migrations that the schema is made of: a dump is loaded into this very schema and no other. */
  readonly migrations: readonly string[]
  readonly tables: readonly DumpedTable[]
  readonly sequences: readonly { readonly name: string; readonly value: string; readonly called: boolean }[]
}

const connect = (owner: Secret, application: string) =>
  postgres(owner.reveal(), { max: 1, onnotice: () => {}, connection: { application_name: application } })

/**
 * Writes every row of our tables, as of one moment, into a folder: what no other tool is needed for, whatever the server's
 * version. The queue is left out: it is made anew.
 * @param also read in the same snapshot.
 */
export async function dumpDatabase<X>(
  owner: Secret,
  folder: string,
  also: (sql: postgres.TransactionSql) => Promise<X>,
): Promise<{ dump: Dump; also: X }> {
  await mkdir(join(folder, 'tables'), { recursive: true, mode: 0o700 })
  const sql = connect(owner, 'sallyport backup')
  try {
    return await sql.begin('isolation level repeatable read read only', async tx => {
      const [clock] = await tx<
        { ms: string }[]
      >`select (extract(epoch from clock_timestamp()) * 1000)::bigint::text as ms`
      const tables: DumpedTable[] = []
      for (const { name, columns } of await tablesOf(tx)) tables.push(await dumpTable(tx, folder, name, columns))
      const sequences = await tx<{ name: string; value: string; called: boolean }[]>`
        select sequencename as name, coalesce(last_value, start_value)::text as value, last_value is not null as called
        from pg_sequences where schemaname = 'public' order by 1`
      const dump = { at_ms: Number(clock!.ms), migrations: await migrationsOf(tx), tables, sequences: [...sequences] }
      return { dump, also: await also(tx) }
    })
  } finally {
    await sql.end({ timeout: 5 })
  }
}

/**
 * Loads a dump into a database that has its schema and no rows, all or nothing.
 * @param after run in the same transaction: what may not be as it was.
 */
export async function loadDatabase(
  owner: Secret,
  folder: string,
  dump: Dump,
  after: (sql: postgres.TransactionSql) => Promise<void>,
): Promise<void> {
  const sql = connect(owner, 'sallyport restore')
  try {
    const here = await migrationsOf(sql)
    if (here.join() !== dump.migrations.join()) {
      throw new SallyportError(
        'conflict',
        `the backup is of a schema with ${dump.migrations.length} migrations, and this program makes one with ${here.length}`,
        { remedy: 'restore with the version of sallyport that made the backup, then upgrade' },
      )
    }
    await sql.begin(async tx => {
      const order = await tablesOf(tx)
      for (const { name } of order) {
        const [row] = await tx`select 1 from ${tx(name)} limit 1`
        if (row !== undefined)
          throw new SallyportError('conflict', `the database is not empty: ${name} has rows`, {
            remedy: 'make a new database and name it in the configuration; nothing is ever restored over what is there',
          })
      }
      const dumped = new Map(dump.tables.map(table => [table.name, table]))
      for (const { name } of order) {
        const table = dumped.get(name)
        if (table !== undefined) await loadTable(tx, folder, table)
      }
      for (const { name, value, called } of dump.sequences)
        await tx`select setval(${`public.${name}`}::regclass, ${value}::bigint, ${called})`
      await after(tx)
    })
    await sql`analyze`
  } finally {
    await sql.end({ timeout: 5 })
  }
}

/** Our tables with their columns, each after those that it refers to. */
async function tablesOf(sql: postgres.Sql | postgres.TransactionSql): Promise<{ name: string; columns: string[] }[]> {
  const rows = await sql<{ name: string; columns: string[]; refers: string[] }[]>`
    select c.relname as name,
      (select array_agg(a.attname::text order by a.attnum) from pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '') as columns,
      coalesce((select array_agg(distinct r.relname::text) from pg_constraint k join pg_class r on r.oid = k.confrelid
        where k.conrelid = c.oid and k.contype = 'f' and k.confrelid <> c.oid), '{}') as refers
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'public' and c.relkind in ('r', 'p') and not c.relispartition order by 1`
  const left = new Map(rows.map(row => [row.name, row]))
  const order: { name: string; columns: string[] }[] = []
  while (left.size > 0) {
    const next = [...left.values()].filter(row => row.refers.every(name => !left.has(name)))
    if (next.length === 0)
      throw new SallyportError('internal', `tables refer to each other: ${[...left.keys()].join(', ')}`)
    for (const { name, columns } of next) {
      order.push({ name, columns })
      left.delete(name)
    }
  }
  return order
}

async function migrationsOf(sql: postgres.Sql | postgres.TransactionSql): Promise<string[]> {
  const rows = await sql<{ hash: string }[]>`select hash from drizzle.__drizzle_migrations order by created_at`
  return rows.map(row => row.hash)
}

async function dumpTable(
  sql: postgres.TransactionSql,
  folder: string,
  name: string,
  columns: readonly string[],
): Promise<DumpedTable> {
  const file = join('tables', `${name}.copy.gz`)
  const path = join(folder, file)
  const rows = { count: 0 }
  const hash = createHash('sha256')
  const from = await sql`copy (select ${sql(columns)} from ${sql(name)}) to stdout`.readable()
  await pipeline(
    from,
    counting(rows),
    createGzip({ level: 1 }),
    hashing(hash),
    createWriteStream(path, { mode: 0o600 }),
  )
  return { name, columns, rows: rows.count, file, bytes: (await stat(path)).size, sha256: hash.digest('hex') }
}

async function loadTable(sql: postgres.TransactionSql, folder: string, table: DumpedTable): Promise<void> {
  const rows = { count: 0 }
  const into = await sql`copy ${sql(table.name)} (${sql(table.columns)}) from stdin`.writable()
  await pipeline(createReadStream(join(folder, table.file)), createGunzip(), counting(rows), into)
  if (rows.count !== table.rows)
    throw new SallyportError('conflict', `${table.file} holds ${rows.count} rows, and the backup says ${table.rows}`)
}

/** In this format of COPY a line break in a value is written as an escape: a line is a row. */
function counting(rows: { count: number }): Transform {
  return new Transform({
    transform(chunk: Buffer, _, done) {
      for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) rows.count++
      done(null, chunk)
    },
  })
}

function hashing(hash: Hash): Transform {
  return new Transform({
    transform(chunk: Buffer, _, done) {
      hash.update(chunk)
      done(null, chunk)
    },
  })
}
