import { connect } from 'node:net'
import { eq, sql } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Approvals } from '../../src/approvals/approvals.ts'
import { grants } from '../../src/approvals/schema.ts'
import { notify } from '../../src/db/notices.ts'
import type { SubjectFacts } from '../../src/policy/points.ts'
import { actionDecisions } from '../../src/policy/schema.ts'
import { recordings } from '../../src/recording/schema.ts'
import { connections, leases, sessions } from '../../src/sessions/schema.ts'
import { granted } from '../approvals/world.ts'
import { createGatewayWorld, type GatewayWorld } from './world.ts'

let world: GatewayWorld
let dba: SubjectFacts
let a: Awaited<ReturnType<GatewayWorld['gateway']>>
let b: Awaited<ReturnType<GatewayWorld['gateway']>>

beforeAll(async () => {
  world = await createGatewayWorld()
  a = await world.gateway()
  b = await world.gateway()
  await world.activate()
  dba = await world.person('dan', ['dbas'])
}, 60_000)
afterAll(() => world?.close())

const message = (error: unknown) => (error as Error).message
const rolesOfOurs = async () =>
  (await world.admin("select rolname from pg_roles where rolname like 'sp\\_%'")).rows.map(r => r.rolname as string)
const sessionOf = async (ticket_id: string) =>
  (await world.db.select().from(sessions).where(eq(sessions.ticket_id, ticket_id)))[0]!

/** Lets something happen in the moment between the row of a connection and its session in this process. */
function whilePresenting(act: (session: { grant_id: string }) => Promise<unknown>) {
  const { sessions: doors } = a.worker
  const present = doors.present.bind(doors)
  const presenting = {
    met: false,
    [Symbol.dispose]: () => void delete (doors as { present?: unknown }).present,
  }
  doors.present = async presented => {
    const answer = await present(presented)
    if (answer.refused) return answer
    presenting.met = true
    await act(answer.session)
    await new Promise(resolve => setTimeout(resolve, 2100)) // two polls have seen how things are: they will not look again
    return answer
  }
  return presenting
}

describe('a ticket opens a session', () => {
  test('decided, recorded, leased, masked; and its end leaves nothing on the target', async () => {
    const issued = await world.ticket(dba)
    const client = await world.connect(a.port, issued)
    const { rows } = await client.query('select current_user as me, session_user as you')
    expect(rows[0]).toEqual({ me: 'shop_reader', you: expect.stringMatching(/^sp_[0-9a-z]{26}$/) })
    expect((await client.query('select name, national_id from customers where id = 1')).rows[0]).toEqual({
      name: 'Ada',
      national_id: expect.not.stringContaining('111'),
    })
    const session = await sessionOf(issued.id)
    expect(await world.db.$count(recordings, eq(recordings.session_id, session.id))).toBe(1)
    await client.end()
    await expect
      .poll(
        async () =>
          (await world.db.select().from(connections).where(eq(connections.session_id, session.id)))[0]!.closed_at,
      )
      .not.toBeNull()
    await a.worker.sessions.end(session.id, 'closed', 'done')
    await a.leases.reapDue((permit, lease) => a.gateway.reap(permit, lease))
    expect(await rolesOfOurs()).toEqual([])
    expect((await world.db.select().from(leases).where(eq(leases.session_id, session.id)))[0]).toMatchObject({
      state: 'reaped',
      last_error: null,
    })
  })

  test('a denial names rule, file, line, commit and decision, and that decision is in the log', async () => {
    const client = await world.connect(a.port, await world.ticket(dba))
    const denied = (await client.query('delete from orders').catch((e: unknown) => e)) as {
      code: string
      message: string
      detail: string
      hint: string
    }
    expect(denied).toMatchObject({
      code: '42501',
      message: expect.stringContaining('a reader may not write'),
      hint: 'ask for the role writer',
    })
    expect(denied.detail).toMatch(/rule action\.reader-write \(action\/action\.rego:\d+@[0-9a-f]+\), decision dec_/)
    const id = /dec_\w+/.exec(denied.detail)![0]
    await expect.poll(() => world.db.$count(actionDecisions, eq(actionDecisions.id, id))).toBe(1)
    await client.end()
  })

  test('equal statements are one decision with a count', async () => {
    const issued = await world.ticket(dba)
    const client = await world.connect(a.port, issued)
    for (let i = 1; i <= 20; i++) await client.query(`select total from orders where id = ${i}`)
    await client.end()
    await a.worker.ground.decisionLog.flush()
    const session = await sessionOf(issued.id)
    const rows = await world.db.select().from(actionDecisions).where(eq(actionDecisions.session_id, session.id))
    const actions = rows.filter(r => r.point === 'action')
    expect(actions.map(r => r.count)).toEqual([20])
  })

  test('LC2: one ticket with the secret of another opens nothing, and that is an event', async () => {
    const [one, other] = [await world.ticket(dba), await world.ticket(dba)]
    await expect(world.connect(a.port, { id: one.id, secret: other.secret })).rejects.toThrow(
      'the ticket is unknown, has ended, or its secret is wrong',
    )
    await expect
      .poll(async () => (await world.events('ticket.refused')).some(e => e.body['ticket_id'] === one.id))
      .toBe(true)
  })

  test('a target on loopback that the operator did not allow is not dialled', async () => {
    const strict = await world.gateway({ allow: false })
    await world.activate()
    await expect(world.connect(strict.port, await world.ticket(dba))).rejects.toThrow(
      'lies on an address of this machine',
    )
    await strict.close()
  })
})

describe('what lives is decided again', () => {
  test('LC1: a revoked grant closes its connections on every worker, with the reason, in the middle of their queries', async () => {
    const issued = await world.ticket(dba)
    const [one, two] = [await world.connect(a.port, issued), await world.connect(b.port, issued)]
    const running = one.query('select pg_sleep(30)').catch(message)
    const waiting = two.query('select pg_sleep(30)').catch(message)
    await new Promise(resolve => setTimeout(resolve, 300))
    const session = await sessionOf(issued.id)
    const revoked = await new Approvals(world.control.ground).revoke({
      grant_id: session.grant_id,
      by: dba,
      reason: 'incident 42',
    } as never)
    expect(revoked).toMatchObject({ refused: false })
    expect([await running, await waiting]).toEqual([
      expect.stringContaining('incident 42'),
      expect.stringContaining('incident 42'),
    ])
    await expect
      .poll(
        async () =>
          (
            await world.admin(
              "select 1 from pg_stat_activity where query like '%pg_sleep(30)%' and state = 'active' and pid <> pg_backend_pid()",
            )
          ).rowCount,
      )
      .toBe(0)
    await expect.poll(async () => (await sessionOf(issued.id)).end_code).toBe('revoked')
  })

  test('a group that is gone ends the session', async () => {
    const moved = await world.person('moved', ['dbas'])
    const client = await world.connect(a.port, await world.ticket(moved))
    await world.setGroups(moved.id, [])
    await expect
      .poll(() => client.errors.map(e => e.message).join(), { timeout: 10_000 })
      .toContain('policy no longer allows this')
  })

  test.each([
    [
      'LC1: a grant that is revoked',
      'its grant was revoked: too late',
      async (grant_id: string) => {
        granted(await new Approvals(world.control.ground).revoke({ grant_id, by: dba, reason: 'too late' }))
        await a.gateway.live.redecide()
      },
    ],
    [
      'PO8: a revision that is activated',
      'policy no longer allows this',
      () => world.activate(['roles/data.yaml', 'dbas:\n', 'nobodies:\n']),
    ],
  ])('%s while the connection is being opened ends it at once', async (_, why, act) => {
    const bystander = await world.person('bystander', ['security-admins', 'engineers', 'dbas'])
    const other = await world.connect(a.port, await world.ticket(bystander)) // the worker has something to decide about
    const issued = await world.ticket(dba)
    using presenting = whilePresenting(session => act(session.grant_id))
    const client = await world.connect(a.port, issued).catch(message)
    expect(presenting.met).toBe(true)
    if (typeof client === 'string') expect(client).toContain(why)
    else await expect.poll(() => client.errors.map(e => e.message).join(), { timeout: 10_000 }).toContain(why)
    await other.end().catch(() => {})
    await world.activate()
  })

  test('PO8: a new revision holds for the next statement, and its masking rules for what was prepared before', async () => {
    const client = await world.connect(a.port, await world.ticket(dba))
    const read = () => client.query({ name: 'n', text: 'select name from customers where id = 1' })
    expect((await read()).rows[0].name).toBe('Ada')
    await world.activate(['masking/masking.rego', '"column": "email"', '"column": "name"'])
    expect((await read()).rows[0].name).not.toBe('Ada')
    await world.activate(['action/action.rego', '"reader": {"read", "session"}', '"reader": {"session"}'])
    await expect(read()).rejects.toThrow('your role does not cover this')
    await world.activate()
    await client.end()
  })

  test('masking rules that do not fit the database end the session', async () => {
    const client = await world.connect(a.port, await world.ticket(dba))
    await world.activate(['masking/masking.rego', '"column": "salary"', '"column": "gone"'])
    await expect
      .poll(() => client.errors.map(e => e.message).join(), { timeout: 10_000 })
      .toContain('new masking rules do not fit')
    await world.activate()
  })

  test('LC1: the end of its time ends it, not before, though nobody does anything', async () => {
    const issued = await world.ticket(dba)
    const client = await world.connect(a.port, issued)
    const { id, grant_id } = await sessionOf(issued.id)
    const [cut] = await world.db
      .update(grants)
      .set({ ends_at: sql`date_trunc('milliseconds', clock_timestamp()) + interval '700 ms'` })
      .where(eq(grants.id, grant_id))
      .returning({ ends_at: grants.ends_at })
    await notify(world.db, 'grants', JSON.stringify({ id: grant_id }))
    await expect
      .poll(() => client.errors.map(e => e.message).join(), { timeout: 10_000 })
      .toMatch(/the session has ended: (its time|the time of its grant) is over/)
    await expect.poll(async () => (await sessionOf(issued.id)).end_code).toBe('expired')
    const { ended_at, ends_at } = await sessionOf(issued.id)
    expect(ended_at!.getTime()).toBeGreaterThanOrEqual(cut!.ends_at.getTime())
    expect([cut!.ends_at, ends_at]).toEqual([ends_at, cut!.ends_at])
    expect(a.gateway.live.get(id)).toBeUndefined()
  })
})

describe('between workers', () => {
  test('PG18: a cancel that arrives at another worker reaches the query', async () => {
    const client = await world.connect(a.port, await world.ticket(dba))
    const running = client.query('select pg_sleep(20)').catch(message)
    await new Promise(resolve => setTimeout(resolve, 200))
    const { processID, secretKey } = client as unknown as { processID: number; secretKey: number }
    const bytes = Buffer.alloc(16)
    for (const [i, value] of [16, 80_877_102, processID, secretKey].entries()) bytes.writeInt32BE(value, i * 4)
    connect(b.port, '127.0.0.1').end(bytes)
    expect(await running).toContain('cancel')
    await client.end()
  })

  test('a worker that stops tells its clients, and the ticket opens the session again elsewhere', async () => {
    const short = await world.gateway()
    await world.activate()
    const issued = await world.ticket(dba)
    const client = await world.connect(short.port, issued)
    await short.close()
    expect(client.errors.map(e => e.message).join()).toContain('the gateway is stopping')
    const again = await world.connect(a.port, issued)
    expect((await again.query('select 1 as one')).rows[0].one).toBe(1)
    await again.end()
  })
})

test('a client that leaves while others log in holds none of them up', async () => {
  const issued = await world.ticket(dba)
  for (let round = 0; round < 10; round++) {
    const lender = await world.connect(a.port, issued) // the catalog is read with its credential
    const others = Array.from({ length: 4 }, () => world.connect(a.port, issued))
    await new Promise(resolve => setTimeout(resolve, round * 5))
    await lender.end()
    for (const client of await Promise.all(others)) {
      expect((await client.query('select 1 as one')).rows[0].one).toBe(1)
      await client.end()
    }
  }
})
