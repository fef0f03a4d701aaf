import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { SallyportError } from '../../errors.ts'
import type { LeasePlan, LeaseProvider, LeaseRequest, Minted, Resource, Target } from '../../gateway/protocol.ts'
import type { Permit } from '../../policy/permit.ts'
import { Secret } from '../../secret.ts'
import { dial, type Upstream } from './dial.ts'
import { actsAs, type Options } from './options.ts'
import { closeUpstream, quoteName, quoteText, runQuery } from './queries.ts'
import { formatVerifier, makeVerifier } from './scram.ts'
import { leasePrefix } from './sql/utility.ts'

/** The role outlives its grant by this much at most, should every other way to end it fail. */
const slackMs = 60_000
const settleMs = 3000

/**
 * The credential on the target: a role made for one session, or a stored account. The role's password reaches the target
 * as a SCRAM verifier, so that it stands in no log of the target.
 */
export const lease: LeaseProvider = {
  plan(resource: Resource, request: LeaseRequest): LeasePlan {
    const { lease: wanted, database } = resource.options as Options
    if (wanted.kind === 'stored') return { kind: 'stored', facts: { user: wanted.user } }
    const memberOf = actsAs(resource.options as Options, request.role)
    if (memberOf === undefined) {
      throw new SallyportError(
        'policy_denied',
        `${resource.name} does not say which role of the target a ${request.role} gets`,
        {
          remedy: 'add the role to options.lease.in_role of the resource',
        },
      )
    }
    return { kind: 'role', facts: { role: `${leasePrefix}${request.id.slice(-26)}`, in_role: memberOf, database } }
  },

  async mint(permit: Permit, target: Target, request: LeaseRequest, plan: LeasePlan): Promise<Minted> {
    const { lease: wanted } = target.resource.options as Options
    if (plan.kind === 'stored') return { user: wanted.user, secret: target.secret(permit) }
    const role = String(plan.facts['role'])
    const password = new Secret(randomBytes(32).toString('base64url'))
    // One more than policy gives: the catalog is read on a connection of its own.
    const limit = request.max_connections + 1
    const group = String(plan.facts['in_role'])
    await asOwner(permit, target, async run => {
      await requirePlain(run, group, target.resource.name)
      await run(
        `create role ${quoteName(role)} login inherit nosuperuser nocreatedb nocreaterole noreplication nobypassrls ` +
          `connection limit ${limit} password ${quoteText(formatVerifier(makeVerifier(password)))} ` +
          `valid until ${validUntil(request.ends_at_ms)} in role ${quoteName(group)}`,
      )
    })
    return { user: role, secret: password }
  },

  async extend(permit, target, facts, ends_at_ms): Promise<void> {
    if (facts['role'] === undefined) return
    const name = quoteName(String(facts['role']))
    await asOwner(permit, target, run => run(`alter role ${name} valid until ${validUntil(ends_at_ms)}`))
  },

  async reap(permit: Permit, target: Target, facts: Readonly<Record<string, unknown>>): Promise<void> {
    if (facts['role'] === undefined) return
    const role = String(facts['role'])
    await asOwner(permit, target, run => removeRole(run, role, String(facts['in_role'])))
  },
}

type Run = (sql: string) => Promise<readonly Readonly<Record<string, string | null>>[]>

const validUntil = (ends_at_ms: number): string => quoteText(new Date(ends_at_ms + slackMs).toISOString())

/** Attributes are not inherited by members, but who acts as the role has them: making roles, say, is a way around us. */
async function requirePlain(run: Run, group: string, resource: string): Promise<void> {
  const [found] = await run(
    `select pg_catalog.concat_ws(', ', case when rolsuper then 'superuser' end, case when rolcreaterole then 'createrole' end,
      case when rolcreatedb then 'createdb' end, case when rolreplication then 'replication' end,
      case when rolbypassrls then 'bypassrls' end) as attributes
    from pg_catalog.pg_roles where rolname = ${quoteText(group)}`,
  )
  const attributes = found?.['attributes'] ?? ''
  if (attributes === '') return
  throw new SallyportError(
    'policy_denied',
    `the role ${group} of ${resource} has attributes (${attributes}), and a session would act with them`,
    {
      remedy: `take them from ${group}, or name a role without them in options.lease.in_role`,
    },
  )
}

/** LC3: no new login first, then no backend, then no role. */
async function removeRole(run: Run, role: string, heir: string): Promise<void> {
  const name = quoteName(role)
  const exists = `select 1 as found from pg_catalog.pg_roles where rolname = ${quoteText(role)}`
  if ((await run(exists)).length === 0) return
  await run(`alter role ${name} nologin connection limit 0 password null`)
  await become(run, name)
  await endBackends(run, role)
  try {
    await run(`drop role ${name}`)
  } catch (error) {
    if (!(error instanceof SallyportError) || error.facts['sqlstate'] !== '2BP01') throw error
    // It owns something: that stays, with the role that it acted as.
    await run(`reassign owned by ${name} to ${quoteName(heir)}`)
    await run(`drop owned by ${name}`)
    await run(`drop role ${name}`)
  }
}

/** Who makes roles may not end their backends or touch their things before being a member, and says so since PostgreSQL 16. */
async function become(run: Run, name: string): Promise<void> {
  const [version] = await run('show server_version_num')
  const modern = Number(version?.['server_version_num']) >= 160_000
  await run(`grant ${name} to current_user${modern ? ' with inherit true, set true' : ''}`)
}

async function endBackends(run: Run, role: string): Promise<void> {
  const until = Date.now() + settleMs
  for (;;) {
    const backends = await run(
      'select pg_catalog.pg_terminate_backend(pid)::pg_catalog.text as ended from pg_catalog.pg_stat_activity ' +
        `where usename = ${quoteText(role)}`,
    )
    if (backends.length === 0) return
    if (Date.now() > until)
      throw new SallyportError('target_unavailable', `${backends.length} backends of ${role} do not end`)
    await sleep(50)
  }
}

/** A connection of the account that makes the roles, closed at the end. */
async function asOwner(permit: Permit, target: Target, act: (run: Run) => Promise<unknown>): Promise<void> {
  const { lease: wanted } = target.resource.options as Options
  const settings = { application_name: 'sallyport lease', search_path: 'pg_catalog', client_encoding: 'UTF8' }
  const owner = { user: wanted.user, secret: target.secret(permit) }
  const upstream: Upstream = await dial(permit, target, owner, settings)
  try {
    await act(sql => runQuery(upstream, sql, target.resource.name))
  } finally {
    closeUpstream(upstream)
  }
}
