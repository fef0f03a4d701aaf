import { eq, sql } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { grants } from '../../src/approvals/schema.ts'
import { processes } from '../../src/db/schema.ts'
import { subjects } from '../../src/identity/schema.ts'
import { newId } from '../../src/ids.ts'
import type { SubjectFacts } from '../../src/policy/points.ts'
import { decisions } from '../../src/policy/schema.ts'
import { timeFacts } from '../../src/policy/time.ts'
import { connections, sessions } from '../../src/sessions/schema.ts'
import { compileWith, granted, refused } from '../approvals/world.ts'
import { createSessionWorld, type SessionWorld, type Worker } from './world.ts'

let world: SessionWorld
let gateway: Worker
let dba: SubjectFacts

beforeAll(async () => {
  world = await createSessionWorld()
  gateway = await world.worker()
  await world.activate(await compileWith())
  dba = await world.person('dan', ['dbas'])
})
afterAll(async () => {
  await gateway.row.close()
  await world.drop()
})

async function openSession(subject: SubjectFacts, worker = gateway) {
  const issued = await world.ticketOf(subject)
  return { issued, ...granted(await world.present(worker, issued.id)) }
}
const rowOf = async (id: string) => (await world.db.select().from(sessions).where(eq(sessions.id, id)))[0]!
const endsOf = async (worker = gateway) =>
  new Map((await worker.sessions.redecideLive(worker.process_id)).end.map(e => [e.session_id, e]))

describe('a live session is decided again', () => {
  test('and goes on, without a row in the log for each time', async () => {
    const { session } = await openSession(dba)
    for (let i = 0; i < 3; i++) expect((await endsOf()).has(session.id)).toBe(false)
    await gateway.ground.decisionLog.flush()
    const logged = await world.db.select().from(decisions).where(eq(decisions.session_id, session.id))
    expect(logged.filter(d => d.input.includes('"stage":"live"'))).toHaveLength(1)
  })

  test('ID11: the group is gone: it ends, with rule and place, and that decision is in the log', async () => {
    const moved = await world.person('moved', ['dbas'])
    const { session } = await openSession(moved)
    await world.setGroups(moved.id, [])
    const end = (await endsOf()).get(session.id)
    expect(end).toMatchObject({
      code: 'policy',
      reason: expect.stringMatching(/no longer allows this: .*access\.default, access\/access\.rego:\d+@/),
    })
    await gateway.ground.decisionLog.flush()
    expect(await world.db.$count(decisions, eq(decisions.id, end!.decision_id!))).toBe(1)
  })

  test('LC1: the grant was revoked: it ends, in the words of whoever revoked it', async () => {
    const holder = await world.person('holder', ['dbas'])
    const { session, issued } = await openSession(holder)
    granted(await world.approvals.revoke({ grant_id: issued.grant_id, by: holder, reason: 'wrong database' }))
    expect((await endsOf()).get(session.id)).toMatchObject({
      code: 'revoked',
      reason: 'its grant was revoked: wrong database',
    })
  })

  test('LC1: the grant ran out: it ends; a longer grant carries it on and moves its end', async () => {
    const holder = await world.person('two grants', ['dbas'])
    const short = granted(await world.ask(holder, { duration_s: 60 })).grant!
    const { session } = await openSession(holder)
    expect(session.ends_at.getTime()).toBe(short.ends_at.getTime())
    const long = granted(await world.ask(holder, { duration_s: 3600 })).grant!
    const { keep } = await gateway.sessions.redecideLive(gateway.process_id)
    expect(keep.find(k => k.session_id === session.id)?.ends_at_ms).toBe(long.ends_at.getTime())
    expect(await rowOf(session.id)).toMatchObject({ grant_id: long.id, ends_at: long.ends_at })
    await world.db
      .update(grants)
      .set({ starts_at: sql`clock_timestamp() - interval '9 s'`, ends_at: sql`clock_timestamp() - interval '1 ms'` })
      .where(eq(grants.subject_id, holder.id))
    expect((await endsOf()).get(session.id)?.code).toBe('expired')
  })

  test('the account was disabled: it ends', async () => {
    const gone = await world.person('gone', ['dbas'])
    const { session } = await openSession(gone)
    await world.db.update(subjects).set({ disabled_at: new Date() }).where(eq(subjects.id, gone.id))
    expect((await endsOf()).get(session.id)?.code).toBe('revoked')
  })

  test('a policy that fails ends it, and so does a log that is full', async () => {
    const { session } = await openSession(dba)
    gateway.engine.markStale('a newer revision is active and not here')
    expect((await endsOf()).get(session.id)?.code).toBe('policy')
    gateway.engine.markStale(null)
    const { Sessions } = await import('../../src/sessions/sessions.ts')
    const full = new Sessions({ ...gateway.ground, decisionLog: { insert: async () => {}, append: () => false } })
    const { end } = await full.redecideLive(gateway.process_id)
    expect(end.find(e => e.session_id === session.id)?.reason).toContain('decision log')
  })

  test('ended elsewhere: the worker that serves it is told so, with the reason', async () => {
    const { session } = await openSession(dba)
    await world.controlSessions.end(session.id, 'revoked', 'ended by an administrator')
    expect((await endsOf()).get(session.id)).toMatchObject({ code: 'revoked', reason: 'ended by an administrator' })
  })

  test('the mark moves when something changed, and stands still when nothing did', async () => {
    const holder = await world.person('marked', ['dbas'])
    const own = await world.worker()
    await world.activate(await compileWith())
    const { issued } = await openSession(holder, own)
    const mark = () => own.sessions.liveMark(own.process_id)
    const first = await mark()
    expect(await mark()).toBe(first)
    await world.setGroups(holder.id, ['dbas', 'more'])
    const second = await mark()
    expect(second).not.toBe(first)
    granted(await world.approvals.revoke({ grant_id: issued.grant_id, by: holder, reason: 'x' }))
    expect(await mark()).not.toBe(second)
    await own.row.close()
  })

  test('200 sessions are decided again in one go', async () => {
    const busy = await world.worker()
    await world.activate(await compileWith())
    const people = await Promise.all(Array.from({ length: 20 }, (_, i) => world.person(`p${i}`, ['dbas'])))
    for (const person of people) {
      const { session } = await openSession(person, busy)
      const copies = Array.from({ length: 9 }, () => ({ id: newId('tkt'), ses: newId('ses'), con: newId('con') }))
      for (const { id, ses, con } of copies) {
        await world.db.execute(
          sql`insert into tickets select ${id}, grant_id, subject_id, resource, role, protocol, token, on_behalf_of, sealed, decision_id, created_at, unused_until, ended_at from tickets where id = ${session.ticket_id}`,
        )
        await world.db.insert(sessions).values({ ...session, id: ses, ticket_id: id })
        await world.db
          .insert(connections)
          .values({ id: con, session_id: ses, process_id: busy.process_id, client_address: '192.0.2.7' })
      }
    }
    await busy.sessions.redecideLive(busy.process_id)
    const { keep, end } = await busy.sessions.redecideLive(busy.process_id)
    expect([keep.length, end.length]).toEqual([200, 0])
    await busy.row.close()
  })
})

describe('the end of a session', () => {
  test('is written once, closes its ticket, and is heard by other processes', async () => {
    const { session, issued } = await openSession(dba)
    const heard: string[] = []
    await world.test.database.sql.listen('sessions', payload => heard.push(payload))
    const ends = await Promise.all([1, 2, 3].map(() => gateway.sessions.end(session.id, 'closed', 'done')))
    expect(ends.filter(e => e !== undefined)).toHaveLength(1)
    expect((await world.events('session.ended')).filter(e => e.session_id === session.id)).toHaveLength(1)
    expect(await gateway.tickets.find(issued.id)).toBeUndefined()
    await expect.poll(() => heard.map(text => (JSON.parse(text) as { id: string }).id)).toContain(session.id)
  })

  test('of many at once on two workers is written for each, once and in its own words, with its connections', async () => {
    const other = await world.worker()
    await world.activate(await compileWith())
    const many: Awaited<ReturnType<typeof openSession>>[] = []
    for (let n = 0; n < 12; n++) many.push(await openSession(dba, n % 2 === 0 ? gateway : other))
    const both = [gateway, other]
    const ends = await Promise.all(
      both.flatMap((worker, w) =>
        many.map(({ session }, n) => worker.sessions.end(session.id, 'revoked', `words ${w} ${n}`)),
      ),
    )
    const closes = await Promise.all(
      both.flatMap(worker => many.map(({ connection_id }) => worker.sessions.closeConnection(connection_id, 'told'))),
    )
    expect([ends.filter(Boolean).length, closes.filter(Boolean).length]).toEqual([12, 12])
    const ended = await world.events('session.ended')
    const closed = (await world.events('connection.closed')).map(event => event.body['connection_id'])
    for (const [n, { session, connection_id }] of many.entries()) {
      const row = await rowOf(session.id)
      expect(row.end_reason).toMatch(new RegExp(`^words [01] ${n}$`))
      expect(ended.filter(e => e.session_id === session.id).map(e => e.body['reason'])).toEqual([row.end_reason])
      expect(closed.filter(id => id === connection_id)).toHaveLength(1)
    }
    await other.row.close()
  })

  test('comes when it lies idle with no connection, not while it has one', async () => {
    const { session, connection_id } = await openSession(dba)
    const idle = () =>
      world.db
        .update(sessions)
        .set({ last_connection_at: sql`clock_timestamp() - interval '2 h'` })
        .where(eq(sessions.id, session.id))
    await idle()
    await world.controlSessions.sweep()
    expect((await rowOf(session.id)).ended_at).toBeNull()
    expect(await gateway.sessions.closeConnection(connection_id, 'client gone')).toBe(true)
    expect(await gateway.sessions.closeConnection(connection_id, 'again')).toBe(false)
    await idle()
    await world.controlSessions.sweep()
    expect(await rowOf(session.id)).toMatchObject({ end_code: 'idle' })
  })

  test('FA1: comes from the sweeper when its process is dead, and is an event all the same', async () => {
    const lost = await world.worker()
    await world.activate(await compileWith())
    const { session, connection_id } = await openSession(dba, lost)
    await lost.row.close()
    await world.db
      .update(processes)
      .set({ heartbeat_at: sql`clock_timestamp() - interval '1 h'` })
      .where(eq(processes.id, lost.process_id))
    await world.controlSessions.reapDead()
    expect((await world.events('connection.closed')).map(e => e.body['connection_id'])).toContain(connection_id)
    await world.db.update(sessions).set({ ends_at: sql`clock_timestamp()` }).where(eq(sessions.id, session.id))
    await Promise.all([world.controlSessions.sweep(), world.controlSessions.sweep()])
    expect(await rowOf(session.id)).toMatchObject({ end_code: 'expired' })
    expect((await world.events('session.ended')).filter(e => e.session_id === session.id)).toHaveLength(1)
  })

  test('comes when the API token that it was opened with is no longer good', async () => {
    const { session } = {
      ...granted(
        await world.present(gateway, (await world.ticketOf(dba, { token: { id: newId('tok'), scopes: ['*'] } })).id),
      ),
    }
    await world.controlSessions.sweep()
    expect(await rowOf(session.id)).toMatchObject({ end_code: 'token' })
  })

  test('is for its holder, and for who has the Permit of this call', async () => {
    const { session } = await openSession(dba)
    const sec = await world.person('sec', ['security-admins'])
    const permit = world.control.engine.decide('admin', {
      subject: sec,
      call: 'sessions.end',
      target: { session: session.id },
      own: false,
      time: timeFacts(Date.now(), 'UTC'),
    }).permit
    const eve = await world.person('eve', [])
    expect(
      refused(await world.controlSessions.revoke({ session_id: session.id, by: eve, reason: 'x', permit })).code,
    ).toBe('policy_denied')
    granted(await world.controlSessions.revoke({ session_id: session.id, by: sec, reason: 'odd queries', permit }))
    expect(await rowOf(session.id)).toMatchObject({ end_code: 'revoked', end_reason: 'ended by sec: odd queries' })
  })
})
