import { eq, sql } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { grants } from '../../src/approvals/schema.ts'
import { notify } from '../../src/db/notices.ts'
import type { SubjectFacts } from '../../src/policy/points.ts'
import { leases, sessions } from '../../src/sessions/schema.ts'
import { createGatewayWorld, type GatewayWorld } from './world.ts'

/** The credential of a session on a real target: whose its things are, until when it is good, what is left of it. */
let world: GatewayWorld
let dba: SubjectFacts
let a: Awaited<ReturnType<GatewayWorld['gateway']>>
let b: Awaited<ReturnType<GatewayWorld['gateway']>>

beforeAll(async () => {
  world = await createGatewayWorld()
  a = await world.gateway()
  b = await world.gateway()
  await world.admin('grant create on schema public to shop_writer')
  // what a session makes is not the matter of its role's name: whoever gets one without asking may make tables here
  await world.activate(
    ['resources/data.yaml', 'reader: shop_reader', 'reader: shop_writer'],
    ['action/action.rego', '"reader": {"read", "session"}', '"reader": {"read", "write", "ddl", "session"}'],
    [
      'action/action.rego',
      'not is_git\n\tinput.action.verb in {"write", "ddl", "admin"}',
      'not is_git\n\tinput.action.verb == "admin"',
    ],
  )
  dba = await world.person('dan', ['dbas'])
}, 60_000)
afterAll(() => world?.close())

const sessionOf = async (ticket_id: string) =>
  (await world.db.select().from(sessions).where(eq(sessions.ticket_id, ticket_id)))[0]!
const leasesOf = (session_id: string) => world.db.select().from(leases).where(eq(leases.session_id, session_id))
const ownerOf = async (table: string) =>
  (await world.admin(`select pg_get_userbyid(relowner) as owner from pg_class where relname = '${table}'`)).rows[0]
    ?.owner
const end = async (session_id: string) => {
  await a.worker.sessions.end(session_id, 'closed', 'done')
  await a.leases.reapDue((permit, lease) => a.gateway.reap(permit, lease))
}

describe('what a session makes', () => {
  test('belongs to the role that was granted: another worker of the session alters and drops it', async () => {
    const issued = await world.ticket(dba)
    const [one, two] = [await world.connect(a.port, issued), await world.connect(b.port, issued)]
    const names = await Promise.all(
      [one, two].map(c => c.query('select session_user as name').then(r => r.rows[0].name)),
    )
    expect(new Set(names).size).toBe(2)
    await one.query('create table shared (a int)')
    expect(await ownerOf('shared')).toBe('shop_writer')
    await two.query('alter table shared add b int')
    await two.query('insert into shared values (1, 2)')
    await one.query('discard all')
    expect((await one.query('select current_user as me')).rows[0].me).toBe('shop_writer')
    await one.query('drop table shared')
    await Promise.all([one.end(), two.end()])
    await end((await sessionOf(issued.id)).id)
  })

  const handed = async (more: string) => {
    const issued = await world.ticket(dba)
    const client = await world.connect(a.port, issued)
    const name = (await client.query('select session_user as name')).rows[0].name
    await world.admin(`drop table if exists given; create table given (a int); alter table given owner to "${name}"`)
    await world.admin(more.replaceAll('LEASE', `"${name}"`))
    await client.end()
    const { id } = await sessionOf(issued.id)
    await end(id)
    const { rows } = await world.admin(`select rolcanlogin from pg_roles where rolname = '${name}'`)
    return { role: rows[0], lease: (await leasesOf(id))[0]!, name }
  }

  test('LC3: what it came to own all the same stays, with the role it acted as, and the lease is gone', async () => {
    const { role, lease } = await handed('select 1')
    expect(await ownerOf('given')).toBe('shop_writer')
    expect([role, lease.state, lease.last_error]).toEqual([undefined, 'reaped', null])
  })

  test('LC3: one that cannot be dropped, for what others granted to it, opens no door and is tried again', async () => {
    const { role, lease, name } = await handed('grant select on orders to LEASE')
    expect([role, lease.state]).toEqual([{ rolcanlogin: false }, 'reaping'])
    expect(lease.last_error).toContain('cannot be dropped because some objects depend on it')
    expect(await ownerOf('given')).toBe('shop_writer')
    await world.admin(`revoke all on orders from "${name}"`)
  })

  test.each(['createrole', 'createdb', 'bypassrls', 'replication', 'superuser'])(
    'LC4: a role of the target with the attribute %s is not handed out: a session would act with it',
    async attribute => {
      await world.admin(`alter role shop_writer ${attribute}`)
      const issued = await world.ticket(dba)
      const why = await world.connect(a.port, issued).catch(error => String(error.message))
      await world.admin(`alter role shop_writer no${attribute}`)
      expect(why).toContain(`has attributes (${attribute})`)
    },
  )
})

describe('the end of a credential', () => {
  const validUntil = async (lease: { facts: Record<string, unknown> }) => {
    const { rows } = await world.admin(
      `select (extract(epoch from rolvaliduntil) * 1000)::bigint as until from pg_roles where rolname = '${lease.facts['role']}'`,
    )
    return Number(rows[0]?.until)
  }

  test('LC4: moves when the grant is extended, and new logins work behind the first one', async () => {
    const issued = await world.ticket(dba)
    const client = await world.connect(a.port, issued)
    const before = await sessionOf(issued.id)
    const set = async (interval: string) => {
      await world.db
        .update(grants)
        .set({ ends_at: sql`date_trunc('milliseconds', clock_timestamp()) + ${interval}::interval` })
        .where(eq(grants.id, before.grant_id))
      await notify(world.db, 'grants', JSON.stringify({ id: before.grant_id }))
    }
    const slack = 60_000
    // a grant that was longer, and comes to an end sooner: then it is extended
    await set('5 minutes')
    await expect
      .poll(async () => (await sessionOf(issued.id)).ends_at.getTime(), { timeout: 10_000 })
      .toBeLessThan(before.ends_at.getTime())
    const other = await world.connect(b.port, issued)
    const short = await sessionOf(issued.id)
    const [, second] = await leasesOf(before.id)
    expect(await validUntil(second!)).toBe(short.ends_at.getTime() + slack)
    await set('20 minutes')
    await expect
      .poll(async () => (await sessionOf(issued.id)).ends_at.getTime(), { timeout: 10_000 })
      .toBeGreaterThan(short.ends_at.getTime())
    const long = await sessionOf(issued.id)
    await expect.poll(() => validUntil(second!), { timeout: 10_000 }).toBe(long.ends_at.getTime() + slack)
    const third = await world.connect(b.port, issued)
    await Promise.all([client, other, third].map(c => c.end()))
    await end(before.id)
  })
})
