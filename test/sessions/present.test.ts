import { inspect } from 'node:util'
import { eq, sql } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { grants } from '../../src/approvals/schema.ts'
import type { SubjectFacts } from '../../src/policy/points.ts'
import { decisions } from '../../src/policy/schema.ts'
import { connections, sessions, tickets } from '../../src/sessions/schema.ts'
import { compileWith, type Edit, granted, refused } from '../approvals/world.ts'
import { createSessionWorld, type SessionWorld, type Worker } from './world.ts'

const access = 'access/access.rego'
const two: Edit = [access, '"max_connections": 20', '"max_connections": 2']
const office: Edit = [access, '["0.0.0.0/0", "::/0"]', '["192.0.2.0/24", "2001:db8::/32"]']
const nowhere: Edit = [access, '["0.0.0.0/0", "::/0"]', '[]']

let world: SessionWorld
let one: Worker
let other: Worker
let dba: SubjectFacts

beforeAll(async () => {
  world = await createSessionWorld()
  one = await world.worker()
  other = await world.worker()
  await world.activate(await compileWith())
  dba = await world.person('dan', ['dbas'])
})
afterAll(async () => {
  await one.row.close()
  await other.row.close()
  await world.drop()
})

const ended = (id: string) =>
  world.db
    .update(grants)
    .set({ starts_at: sql`clock_timestamp() - interval '9 s'`, ends_at: sql`clock_timestamp() - interval '1 ms'` })
    .where(eq(grants.id, id))

describe('a ticket', () => {
  test('is issued for standing access, and found by its id with its verifiers only', async () => {
    const issued = await world.ticketOf(dba)
    expect(issued.secret.reveal()).toMatch(/^[\w-]{43}$/)
    const found = await one.tickets.find(issued.id)
    expect(found?.verifiers).toEqual({ hash: 'verifier of 43' })
    expect(issued.unused_until_ms).toBeLessThanOrEqual(issued.ends_at_ms)
    expect((await world.events('ticket.issued')).at(-1)?.body).toMatchObject({
      ticket_id: issued.id,
      grant_id: issued.grant_id,
    })
  })

  test('LC4: its secret is in no row, event or print', async () => {
    const issued = await world.ticketOf(dba)
    const secret = issued.secret.reveal()
    expect(inspect(issued) + JSON.stringify(issued)).not.toContain(secret)
    const dump = await world.db.execute(
      sql`select (select string_agg(t::text, '') from tickets t) || (select string_agg(e::text, '') from audit_inbox e) || (select string_agg(d::text, '') from decisions d) as text`,
    )
    expect(String(dump[0]?.['text'])).not.toContain(secret)
  })

  test('AP11: is refused while the request waits, and when there is none', async () => {
    const ada = await world.person('ada', ['engineers'])
    const none = refused(await world.issue(ada))
    expect(none).toMatchObject({ code: 'policy_denied', ask: true })
    const { request } = granted(await world.ask(ada))
    expect(refused(await world.issue(ada)).message).toContain(request.id)
    granted(await world.approvals.vote({ request_id: request.id, approver: dba, answer: 'approve', via: 'web' }))
    expect((await world.ticketOf(ada)).grant_id).toMatch(/^grt_/)
    expect(await world.db.$count(tickets, eq(tickets.subject_id, ada.id))).toBe(1)
  })

  test('LC2: sealed for its own id: verifiers moved to another row open nothing', async () => {
    const [a, b] = [await world.ticketOf(dba), await world.ticketOf(dba)]
    await world.db.execute(
      sql`update tickets set sealed = (select sealed from tickets where id = ${a.id}) where id = ${b.id}`,
    )
    expect(await one.tickets.find(b.id)).toBeUndefined()
    expect(await one.tickets.find(a.id)).toBeDefined()
  })

  test.each([
    ['nothing', ''],
    ['a bare prefix', 'tkt_'],
    ['an unknown id', 'tkt_00000000000000000000000000'],
    ['a quote', "tkt_'; drop table tickets --"],
    ['a very long one', 'x'.repeat(100_000)],
  ])('is not found by %s', async (_, id) => {
    expect(await one.tickets.find(id)).toBeUndefined()
  })

  test('unused, it ends', async () => {
    const issued = await world.ticketOf(dba)
    await world.db.update(tickets).set({ unused_until: sql`clock_timestamp()` }).where(eq(tickets.id, issued.id))
    expect(await one.tickets.find(issued.id)).toBeUndefined()
    expect(refused(await world.present(one, issued.id))).toMatchObject({
      code: 'ticket_refused',
      message: expect.stringContaining('not used in time'),
    })
    await world.controlSessions.sweep()
    expect((await world.db.select().from(tickets).where(eq(tickets.id, issued.id)))[0]?.ended_at).not.toBeNull()
  })
})

describe('presenting a ticket', () => {
  test('opens one session at the first use, which later uses join on every worker', async () => {
    const issued = await world.ticketOf(dba)
    const first = granted(await world.present(one, issued.id))
    const second = granted(await world.present(other, issued.id))
    expect([first.first, second.first]).toEqual([true, false])
    expect(second.session.id).toBe(first.session.id)
    expect(first.permit).toMatchObject({
      point: 'access',
      call: 'connect',
      subject_id: dba.id,
      resource: 'shop-db',
      role: 'reader',
      session_id: first.session.id,
    })
    const [row] = await world.db.select().from(decisions).where(eq(decisions.id, first.session.decision_id))
    expect(row).toMatchObject({ point: 'access', effect: 'allow', session_id: first.session.id })
    expect(first.session.ends_at.getTime()).toBe(issued.ends_at_ms)
    const mine = (await world.events()).filter(e =>
      [first.connection_id, second.connection_id].includes(String(e.body['connection_id'])),
    )
    expect(mine.map(e => e.type)).toEqual(['connection.opened', 'connection.opened'])
    expect((await world.events('session.opened')).filter(e => e.body['ticket_id'] === issued.id)).toHaveLength(1)
  })

  test('twenty first uses at once on two workers are one session', async () => {
    const issued = await world.ticketOf(dba)
    const opened = await Promise.all(
      Array.from({ length: 20 }, (_, i) => world.present(i % 2 ? one : other, issued.id)),
    )
    expect(new Set(opened.map(o => granted(o).session.id)).size).toBe(1)
    expect(opened.filter(o => granted(o).first)).toHaveLength(1)
  })

  test('LC2: beyond max_connections it is refused, also when they come at once on two workers', async () => {
    await world.activate(await compileWith(two))
    try {
      const issued = await world.ticketOf(dba)
      const answers = await Promise.all(
        Array.from({ length: 10 }, (_, i) => world.present(i % 2 ? one : other, issued.id)),
      )
      expect(answers.filter(a => !a.refused)).toHaveLength(2)
      expect(refused(answers.find(a => a.refused)!).message).toContain('2 open connections')
      const kept = granted(answers.find(a => !a.refused)!)
      await one.sessions.closeConnection(kept.connection_id, 'client gone')
      granted(await world.present(one, issued.id))
      expect(await world.db.$count(connections, eq(connections.session_id, kept.session.id))).toBe(3)
    } finally {
      await world.activate(await compileWith())
    }
  })

  test('LC2: from outside session.from it is refused, and an empty list admits nobody', async () => {
    await world.activate(await compileWith(office))
    const issued = await world.ticketOf(dba)
    for (const address of ['198.51.100.1', '::1', '2001:db9::1', 'nonsense', '']) {
      expect(refused(await world.present(one, issued.id, address)).code).toBe('policy_denied')
    }
    for (const address of ['192.0.2.200', '::ffff:192.0.2.1', '2001:db8::7'])
      granted(await world.present(one, issued.id, address))
    await world.activate(await compileWith(nowhere))
    expect(refused(await world.present(one, issued.id)).code).toBe('policy_denied')
    await world.activate(await compileWith())
    expect((await world.events('ticket.refused')).at(-1)?.body).toMatchObject({
      ticket_id: issued.id,
      address: '192.0.2.7',
    })
  })

  test('LC2: after the session ended the ticket opens nothing', async () => {
    const issued = await world.ticketOf(dba)
    const opened = granted(await world.present(one, issued.id))
    await one.sessions.end(opened.session.id, 'closed', 'done')
    expect(await other.tickets.find(issued.id)).toBeUndefined()
    expect(refused(await world.present(other, issued.id)).code).toBe('ticket_refused')
  })

  test('LC1: without a grant that covers now it is refused; an overlapping grant goes on', async () => {
    const [a, b] = [
      granted(await world.ask(dba, { duration_s: 600 })).grant!,
      granted(await world.ask(dba, { duration_s: 7200 })).grant!,
    ]
    const issued = await world.ticketOf(dba)
    expect(issued.ends_at_ms).toBeGreaterThanOrEqual(b.ends_at.getTime())
    await ended(b.id)
    const opened = granted(await world.present(one, issued.id))
    expect(opened.session.ends_at.getTime()).toBeLessThan(b.ends_at.getTime() + 28_800_000)
    await world.db
      .update(grants)
      .set({ starts_at: sql`clock_timestamp() - interval '9 s'`, ends_at: sql`clock_timestamp() - interval '1 ms'` })
      .where(eq(grants.subject_id, dba.id))
    expect(refused(await world.present(one, issued.id)).code).toBe('session_ended')
    expect(a.id).not.toBe(b.id)
  })

  test('ID11: groups are read at the moment of presenting', async () => {
    const moved = await world.person('moved', ['dbas'])
    const issued = await world.ticketOf(moved)
    await world.setGroups(moved.id, [])
    const refusal = refused(await world.present(one, issued.id))
    expect(refusal.message).toMatch(/access\.default, access\/access\.rego:\d+@/)
    expect(refusal.decision_id).toMatch(/^dec_/)
    expect(await world.db.$count(sessions, eq(sessions.ticket_id, issued.id))).toBe(0)
  })

  test('the scopes of the token that it was issued to go on subtracting', async () => {
    const token = { id: 'tok_00000000000000000000000000', scopes: ['access:request', 'access:ticket'] }
    const issued = await world.ticketOf(dba, { token })
    expect(refused(await world.present(one, issued.id)).message).toContain('scopes of token')
  })

  test('FA1: a process whose policy is stale opens nothing', async () => {
    const issued = await world.ticketOf(dba)
    one.engine.markStale('a newer revision is active and not here')
    expect(refused(await world.present(one, issued.id)).code).toBe('policy_unavailable')
    one.engine.markStale(null)
    granted(await world.present(one, issued.id))
  })

  test('the database refuses a session for somebody else than its ticket, or without a decision', async () => {
    const issued = await world.ticketOf(dba)
    const eve = await world.person('eve', [])
    const row = {
      id: 'ses_x',
      ticket_id: issued.id,
      grant_id: issued.grant_id,
      resource: 'shop-db',
      role: 'reader',
      protocol: 'postgres',
      ends_at: new Date(),
      idle_s: 1,
      max_connections: 1,
    }
    const [decision] = await world.db.select().from(decisions).limit(1)
    await expect(
      world.db.insert(sessions).values({ ...row, subject_id: eve.id, decision_id: decision!.id }),
    ).rejects.toThrow()
    await expect(
      world.db.insert(sessions).values({ ...row, role: 'admin', subject_id: dba.id, decision_id: decision!.id }),
    ).rejects.toThrow()
    await expect(
      world.db.insert(sessions).values({ ...row, subject_id: dba.id, decision_id: 'dec_none' }),
    ).rejects.toThrow()
  })
})
