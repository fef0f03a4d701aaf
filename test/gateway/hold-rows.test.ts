import { setTimeout as sleep } from 'node:timers/promises'
import { eq, sql } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { holds, requests } from '../../src/approvals/schema.ts'
import { newId } from '../../src/ids.ts'
import type { SubjectFacts } from '../../src/policy/points.ts'
import { tickets } from '../../src/sessions/schema.ts'
import { granted } from '../approvals/world.ts'
import { createHeldWorld, type HeldWorld, noWhere, outcome } from './held.ts'

/** What a gateway that was taken over may make of its holds, on its own connection to the database. */
let held: HeldWorld
let world: HeldWorld['world']
let gatewayDb: HeldWorld['a']['worker']['ground']['database']['db']
let eve: SubjectFacts

beforeAll(async () => {
  held = await createHeldWorld()
  world = held.world
  gatewayDb = held.a.worker.ground.database.db
  eve = await world.person('eve', ['sales'])
}, 60_000)
afterAll(() => world?.close())

type Change = Record<string, unknown>
/** Why the database took it not. */
const codeOf = (running: Promise<unknown>): Promise<string> =>
  running.then(
    () => 'done',
    (error: Error & { cause?: { code?: string } }) =>
      error.cause?.code ?? (error as { code?: string }).code ?? String(error),
  )

async function waits() {
  const opened = await held.open()
  const done = outcome(opened.client.query(noWhere))
  const request = await held.waiting(opened.session.id)
  const [asked] = await world.db.select().from(requests).where(eq(requests.id, request.id))
  const [hold] = await world.db.select().from(holds).where(eq(holds.request_id, request.id))
  const over = async () => {
    await held.approvals.cancel({ request_id: request.id, by: held.dan })
    await done
    await opened.client.end()
  }
  return { ...opened, done, request, asked: asked!, hold: hold!, over }
}

describe('a gateway that was taken over', () => {
  test('AP6: asks for holds as whom, where and as what the session is, of now, and that can be read', async () => {
    const { asked, hold, issued, over } = await waits()
    const forged = (about: { request?: Change; hold?: Change }) => {
      const id = newId('req')
      const now = new Date()
      return codeOf(
        gatewayDb.transaction(async tx => {
          await tx.insert(holds).values({ ...hold, request_id: id, ...about.hold })
          await tx.insert(requests).values({ ...asked, id, created_at: now, ...about.request })
        }),
      )
    }
    expect(await forged({})).toBe('done') // as it is, it may be asked once more
    const { subject } = hold.held
    const day = 86_400_000
    const other = await held.open()
    for (const change of [
      { request: { subject_id: eve.id } },
      { request: { on_behalf_of: eve.id } },
      { request: { role: 'admin' } },
      { request: { resource: 'web-1' } },
      { request: { kind: 'access', duration_s: 3600 } },
      { request: { duration_s: 3600 } },
      { request: { state: 'approved', ended_at: new Date() } },
      { request: { created_at: new Date(Date.now() - 300_000) } },
      { request: { expires_at: new Date(Date.now() + 2 * day) } },
      { request: { ticket_ref: 'OPS-1' } },
      { hold: { released_at: new Date() } },
      { hold: { unused: 'never' } },
      { hold: { session_id: other.session.id } },
      { hold: { connection_id: newId('con') } },
      { hold: { process_id: newId('prc') } },
      { hold: { held: { ...hold.held, subject: { ...subject, id: eve.id } } } },
      { hold: { held: { ...hold.held, subject: { ...subject, on_behalf_of: eve.id } } } },
      { hold: { held: { ...hold.held, role: 'admin' } } },
      { hold: { held: { ...hold.held, resource: { ...hold.held.resource, name: 'web-1' } } } },
      { hold: { held: { ...hold.held, actions: {} } } },
      { hold: { held: {} } },
      { hold: { shown: {} } },
      { hold: { shown: [1] } },
      { hold: { shown: [{ label: 'Writes' }] } },
      { hold: { shown: [{ label: 'Writes', lines: [1] }] } },
      { hold: { shown: [{ label: 'Writes', lines: ['a'], more: 'b' }] } },
    ])
      expect(await forged(change), JSON.stringify(change)).toBe('42501')
    await other.client.end()
    // Neither stands without the other.
    const { request_id: _, ...alone } = hold
    expect(await codeOf(gatewayDb.insert(holds).values({ ...alone, request_id: newId('req') }))).toBe('23503')
    expect(await codeOf(gatewayDb.insert(requests).values({ ...asked, id: newId('req') }))).toBe('42501')
    // Whose session it is on whose behalf stands in its ticket: nobody is taken out of it, so nobody approves their own.
    await world.db.update(tickets).set({ on_behalf_of: held.dora.id }).where(eq(tickets.id, issued.id))
    const behalf = { ...hold.held, subject: { ...subject, on_behalf_of: held.dora.id } }
    expect(await forged({})).toBe('42501')
    expect(await forged({ hold: { held: behalf } })).toBe('42501')
    expect(await forged({ hold: { held: behalf }, request: { on_behalf_of: held.dora.id } })).toBe('done')
    await world.db
      .update(requests)
      .set({ state: 'cancelled', ended_at: new Date() })
      .where(eq(requests.state, 'pending'))
    await over()
  })

  test('answers nothing, and takes back its own only as who asked', async () => {
    const { request, over } = await waits()
    const as = (change: Change) => codeOf(gatewayDb.update(requests).set(change).where(eq(requests.id, request.id)))
    const ended_at = new Date()
    for (const change of [
      { state: 'approved', ended_at },
      { state: 'denied', ended_at, ended_by: held.dan.id },
      { state: 'cancelled', ended_at, ended_by: held.dora.id },
      { terms: null },
      { on_behalf_of: null },
      { expires_at: ended_at },
    ])
      expect(await as(change), JSON.stringify(change)).toBe('42501')
    const access = await world.ask(eve)
    if (!access.refused)
      expect(
        await gatewayDb
          .update(requests)
          .set({ state: 'cancelled' })
          .where(eq(requests.id, access.request.id))
          .returning(),
      ).toEqual([])
    expect((await held.stateOf(request.id)).state).toBe('pending')
    await over()
  })

  test('releases what is approved, once, and what became of it is said once', async () => {
    const { client, done, request, session } = await waits()
    const set = (change: Change) => codeOf(gatewayDb.update(holds).set(change).where(eq(holds.request_id, request.id)))
    expect(await set({ released_at: new Date() })).toBe('42501') // nobody approved it
    granted(await held.cast(request, held.dora))
    expect(await done).toBe('DELETE 500')
    for (const change of [{ released_at: null }, { released_at: new Date(0) }]) expect(await set(change)).toBe('42501')
    expect(await set({ unused: 'so it says' })).toBe('done')
    for (const change of [{ unused: null }, { unused: 'otherwise' }]) expect(await set(change)).toBe('42501')
    await held.refill()
    // Approved and taken out of the gateway's hands: neither another grant nor an ended session lets it go on.
    const second = outcome(client.query(noWhere))
    const next = await held.waiting(session.id)
    await world.db.update(requests).set({ state: 'approved', ended_at: new Date() }).where(eq(requests.id, next.id))
    await world.db.execute(sql`update holds set unused = 'nobody' where request_id = ${next.id}`)
    const again = { released_at: new Date() }
    expect(await codeOf(gatewayDb.update(holds).set(again).where(eq(holds.request_id, next.id)))).toBe('42501')
    expect(await second).toContain('refused')
    await client.end()
  })
})

test('a row that was changed after it was shown is approved by no vote', async () => {
  const { client, done, request } = await waits()
  await world.db.update(holds).set({ text: 'select 1' }).where(eq(holds.request_id, request.id))
  await held.cast(request, held.dora)
  await sleep(1_500)
  expect(await held.orders()).toBe(500)
  await client.end()
  await done.catch(() => {})
})

test('the sweeper ends what nobody waits for any more, and says that what was approved did not run', async () => {
  const [pending, approved] = [await waits(), await waits()]
  await held.a.notices.close() // it hears of no answer any more
  granted(await held.cast(approved.request, held.dora))
  await held.approvals.expireDue()
  expect((await held.stateOf(approved.request.id)).hold?.unused).toBeNull() // it may still go on
  await world.db.update(holds).set({ seen_at: sql`now() - interval '1 minute'` })
  await expect
    .poll(
      async () => {
        await held.approvals.expireDue()
        return (await held.stateOf(pending.request.id)).outcome
      },
      { timeout: 30_000, interval: 200 }, // a server that has just started waits as long from its start
    )
    .toContain('nobody waits')
  expect(await held.stateOf(pending.request.id)).toMatchObject({ state: 'cancelled' })
  expect(await held.stateOf(approved.request.id)).toMatchObject({
    state: 'approved',
    hold: { released_at_ms: null, unused: 'its connection was gone before it could go on' },
  })
  for (const { client, done } of [pending, approved]) {
    await client.end()
    await done.catch(() => {})
  }
  expect(await held.orders()).toBe(500)
})
