import { eq, sql } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Permit } from '../../src/policy/permit.ts'
import type { SubjectFacts } from '../../src/policy/points.ts'
import { Leases } from '../../src/sessions/leases.ts'
import type { LeaseToReap } from '../../src/sessions/ports.ts'
import { leases } from '../../src/sessions/schema.ts'
import { compileWith, granted } from '../approvals/world.ts'
import { createSessionWorld, type SessionWorld, type Worker } from './world.ts'

let world: SessionWorld
let gateway: Worker
let other: Worker
let dba: SubjectFacts
const stuck: LeaseToReap[] = []

beforeAll(async () => {
  world = await createSessionWorld()
  gateway = await world.worker()
  other = await world.worker()
  await world.activate(await compileWith())
  dba = await world.person('dan', ['dbas'])
})
afterAll(async () => {
  await gateway.row.close()
  await other.row.close()
  await world.drop()
})

async function planned(worker = gateway) {
  const { session } = granted(await world.present(worker, (await world.ticketOf(dba)).id))
  const own = new Leases(worker.ground, { onStuck: lease => stuck.push(lease) })
  const id = own.newLeaseId()
  await own.plan({
    id,
    session_id: session.id,
    process_id: worker.process_id,
    resource: 'shop-db',
    protocol: 'postgres',
    kind: 'role',
    facts: { role: `sp_${id}` },
  })
  return { own, id, session }
}
const rowOf = async (id: string) => (await world.db.select().from(leases).where(eq(leases.id, id)))[0]!
const dueNow = (id: string) =>
  world.db.update(leases).set({ next_try_at: sql`clock_timestamp()` }).where(eq(leases.id, id))

describe('a lease', () => {
  test('stands in the database before it is made, and is reaped when its session ends, with a Permit', async () => {
    const { own, id, session } = await planned()
    expect((await rowOf(id)).state).toBe('minting')
    expect(await own.minted(id)).toBe(true)
    expect(await own.reapDue(async () => expect.unreachable())).toBe(0)
    await gateway.sessions.end(session.id, 'closed', 'done')
    const reaped: LeaseToReap[] = []
    await own.reapDue(async (permit, lease) => {
      expect(Permit.is(permit)).toBe(true)
      expect(permit).toMatchObject({ point: 'admin', call: 'lease.reap', subject_id: 'system', resource: 'shop-db' })
      reaped.push(lease)
    })
    expect(reaped).toMatchObject([{ id, kind: 'role', facts: { role: `sp_${id}` } }])
    expect(await rowOf(id)).toMatchObject({ state: 'reaped', last_error: null })
    expect((await world.events('lease.reaped')).map(e => e.body['lease_id'])).toContain(id)
  })

  test('FA2: of two gateways that reap at once one is the winner', async () => {
    const { own, id, session } = await planned()
    await own.minted(id)
    await gateway.sessions.end(session.id, 'closed', 'done')
    const winners: string[] = []
    const reap = async (_: Permit, lease: LeaseToReap) => {
      winners.push(lease.id)
      await new Promise(resolve => setTimeout(resolve, 20))
    }
    await Promise.all([own, new Leases(other.ground), new Leases(gateway.ground)].map(l => l.reapDue(reap)))
    expect(winners).toEqual([id])
  })

  test('LC3: that cannot be removed is tried again, ever more slowly, and becomes an alarm that goes on trying', async () => {
    const { own, id, session } = await planned()
    await own.minted(id)
    await gateway.sessions.end(session.id, 'closed', 'done')
    const waits: number[] = []
    for (let i = 0; i < 6; i++) {
      await dueNow(id)
      await own.reapDue(async () => Promise.reject(new Error('role owns objects')))
      waits.push((await rowOf(id)).next_try_at.getTime() - Date.now())
    }
    expect(await rowOf(id)).toMatchObject({ state: 'stuck', attempts: 6, last_error: 'role owns objects' })
    expect(waits[3]!).toBeGreaterThan(waits[0]! * 4)
    expect(stuck.map(lease => lease.id)).toContain(id)
    expect((await world.events('lease.stuck')).filter(e => e.body['lease_id'] === id)).toHaveLength(1)
    await dueNow(id)
    await own.reapDue(async () => {})
    expect((await rowOf(id)).state).toBe('reaped')
  })

  test('LC3: made while its session ended is not used, and reaped again', async () => {
    const { own, id, session } = await planned()
    await gateway.sessions.end(session.id, 'closed', 'done')
    await own.reapDue(async () => {})
    expect((await rowOf(id)).state).toBe('reaping') // perhaps it is being made: looked at a second time
    expect(await own.minted(id)).toBe(false)
    let again = 0
    await own.reapDue(async () => void again++)
    expect(again).toBe(1)
    expect((await rowOf(id)).state).toBe('reaped')
  })

  test('LC3: of a worker that died is due for the others', async () => {
    const lost = await world.worker()
    await world.activate(await compileWith())
    const { own, id } = await planned(lost)
    await own.minted(id)
    await lost.row.close()
    await world.controlSessions.reapDead()
    const reaped: string[] = []
    await new Leases(other.ground).reapDue(async (_, lease) => void reaped.push(lease.id))
    expect(reaped).toEqual([id])
  })

  test('is not reaped where policy does not allow it: that is an error somebody sees', async () => {
    const { own, id, session } = await planned()
    await own.minted(id)
    await gateway.sessions.end(session.id, 'closed', 'done')
    await world.activate(await compileWith(['admin/admin.rego', '"lease.reap"', '"lease.none"']))
    await own.reapDue(async () => expect.unreachable())
    expect((await rowOf(id)).last_error).toContain('policy does not allow lease.reap')
  })
})
