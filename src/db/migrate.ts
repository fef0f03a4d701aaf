import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { drizzle } from 'drizzle-orm/postgres-js'
import { migrate as applyMigrations } from 'drizzle-orm/postgres-js/migrator'
import postgres from 'postgres'
import { SallyportError } from '../errors.ts'
import { Secret } from '../secret.ts'
import {
  askable,
  callable,
  type DatabaseRole,
  databaseRoles,
  deletable,
  rowRules,
  tableGrants,
  updatable,
} from './grants.ts'
import { packageRoot } from './package-root.ts'
import { scramVerifier } from './scram-verifier.ts'

/** Any constant of ours: whoever migrates holds it, so two starts at once follow one another. */
const migrationLock = 7_310_452_881_601n

export type RoleUrls = Readonly<Record<DatabaseRole, Secret>>

/**
 * Brings the schema up to date, makes the database users of the three URLs where they are missing, and gives each
 * exactly what `grants.ts` says. Idempotent; safe to run from several hosts at once.
 * @param owner URL of the owner of the database (CREATEROLE, or the users exist already).
 */
export async function migrate(owner: Secret, roles: RoleUrls): Promise<void> {
  const sql = postgres(owner.reveal(), {
    max: 1,
    onnotice: () => {},
    connection: { application_name: 'sallyport migrate' },
  })
  try {
    await sql`select pg_advisory_lock(${migrationLock.toString()}::bigint)`
    await applyMigrations(drizzle(sql), { migrationsFolder: migrationsFolder() })
    const users = usersOf(roles)
    for (const role of databaseRoles) await ensureUser(sql, users[role])
    await applyGrants(sql, { control: users.control.name, gateway: users.gateway.name, replay: users.replay.name })
  } finally {
    await sql.end({ timeout: 5 }) // ends the session, and with it the lock
  }
}

function migrationsFolder(): string {
  const folder = join(packageRoot(), 'migrations')
  if (existsSync(join(folder, 'meta/_journal.json'))) return folder
  throw new SallyportError('internal', `the folder ${folder} with the migrations is missing`, {
    remedy: 'install the package again',
  })
}

interface User {
  readonly name: string
  readonly password: Secret | undefined
}

function usersOf(roles: RoleUrls): Readonly<Record<DatabaseRole, User>> {
  const user = (role: DatabaseRole): User => {
    const url = new URL(roles[role].reveal())
    const name = decodeURIComponent(url.username)
    if (name === '') throw new SallyportError('bad_config', `the database URL of ${role} names no user`)
    return { name, password: url.password === '' ? undefined : new Secret(decodeURIComponent(url.password)) }
  }
  const users = { control: user('control'), gateway: user('gateway'), replay: user('replay') }
  if (new Set(Object.values(users).map(u => u.name)).size < 3) {
    throw new SallyportError('bad_config', 'control, gateway and replay must have three different database users', {
      remedy: 'give each role a user of its own: what one may not do is the second lock behind the code',
    })
  }
  return users
}

async function ensureUser(sql: postgres.Sql, user: User): Promise<void> {
  const [found] = await sql<{ rolsuper: boolean; rolbypassrls: boolean }[]>`
    select rolsuper, rolbypassrls from pg_roles where rolname = ${user.name}`
  if (found?.rolsuper || found?.rolbypassrls) {
    throw new SallyportError(
      'bad_config',
      `the database user ${user.name} is a superuser, which no role of Sallyport may be`,
      {
        remedy: 'give an ordinary user, or one that does not exist yet',
      },
    )
  }
  const name = sql(user.name)
  const verifier = user.password === undefined ? undefined : scramVerifier(user.password)
  try {
    if (found === undefined) await sql`create role ${name} login noinherit`
    // ALTER ROLE takes no parameters; the verifier holds base64, digits and $ only.
    if (verifier !== undefined) await sql`alter role ${name} login password ${sql.unsafe(`'${verifier}'`)}`
  } catch (error) {
    if ((error as { code?: string }).code !== '42501') throw error
    if (found !== undefined) return // made and kept by somebody else: its password is theirs to set
    throw new SallyportError(
      'bad_config',
      `the database user ${user.name} does not exist, and the owner may not make it`,
      {
        remedy: `run \`create role "${user.name}" login password '…'\` as an administrator, then start again`,
      },
    )
  }
}

/** Revokes everything and grants the table, in one transaction: nobody ever sees a moment in between. */
async function applyGrants(sql: postgres.Sql, users: Readonly<Record<DatabaseRole, string>>): Promise<void> {
  await sql.begin(async tx => {
    await grantDatabase(tx, users)
    await tx`revoke all on schema public from public`
    for (const role of databaseRoles) {
      const user = tx(users[role])
      await tx`grant usage on schema public to ${user}`
      await tx`revoke all on all tables in schema public from ${user}`
      await tx`revoke all on all sequences in schema public from ${user}`
      for (const sequence of askable) await tx`grant select on sequence ${tx(sequence)} to ${user}`
      for (const [table, grants] of Object.entries(tableGrants)) {
        for (const privilege of grants[role]) {
          await tx`grant ${tx.unsafe(privilege)} on ${tx(table)} to ${user}`
        }
      }
    }
    await applyCallable(tx, users)
    await applyRowRules(tx, users)
    await tx`create schema if not exists jobs`
    await tx`grant all on schema jobs to ${tx(users.control)}`
  })
}

async function applyCallable(
  tx: postgres.TransactionSql,
  users: Readonly<Record<DatabaseRole, string>>,
): Promise<void> {
  await tx`revoke all on schema decision_days from public`
  await tx`revoke all on all functions in schema decision_days from public`
  for (const role of databaseRoles) {
    const user = tx(users[role])
    await tx`revoke all on schema decision_days from ${user}`
    await tx`revoke all on all functions in schema decision_days from ${user}`
    if (callable[role].length > 0) await tx`grant usage on schema decision_days to ${user}`
    for (const name of callable[role]) await tx`grant execute on function ${tx.unsafe(name)} to ${user}`
  }
}

/** Row security: what is not allowed by a policy made here is refused. */
async function applyRowRules(
  tx: postgres.TransactionSql,
  users: Readonly<Record<DatabaseRole, string>>,
): Promise<void> {
  const stale = await tx<{ table: string; policy: string }[]>`
    select tablename as table, policyname as policy from pg_policies where schemaname = 'public'`
  for (const { table, policy } of stale) await tx`drop policy ${tx(policy)} on ${tx(table)}`
  for (const [table, rules] of Object.entries(rowRules)) {
    await tx`alter table ${tx(table)} enable row level security`
    for (const role of databaseRoles) {
      const of = (condition: string | Readonly<Record<DatabaseRole, string>>) =>
        tx.unsafe(`(${typeof condition === 'string' ? condition : condition[role]})`)
      const [on, user] = [tx(table), tx(users[role])]
      const policy = (command: string) => tx(`${role}_${command}`)
      await tx`create policy ${policy('reads')} on ${on} for select to ${user} using (true)`
      await tx`create policy ${policy('deletes')} on ${on} for delete to ${user} using ${of(deletable[table] ?? 'true')}`
      await tx`create policy ${policy('inserts')} on ${on} for insert to ${user} with check ${of(rules.insert)}`
      const [from, to] = [of(updatable[table] ?? 'true'), of(rules.update)]
      await tx`create policy ${policy('updates')} on ${on} for update to ${user} using ${from} with check ${to}`
    }
  }
}

/** What a copy of a database (a restore, a test's template) does not bring along. No temporary tables, for nobody. */
export async function grantDatabase(
  sql: postgres.Sql | postgres.TransactionSql,
  users: Readonly<Record<DatabaseRole, string>>,
): Promise<void> {
  const [row] = await sql<{ database: string }[]>`select current_database() as database`
  const database = sql(row!.database)
  await sql`revoke all on database ${database} from public`
  for (const role of databaseRoles) await sql`grant connect on database ${database} to ${sql(users[role])}`
  // The queue's tables are control's own; its migrator says CREATE SCHEMA IF NOT EXISTS, which asks for CREATE first.
  await sql`grant create on database ${database} to ${sql(users.control)}`
}
