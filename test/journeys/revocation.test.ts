import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { closeToReadersUntested, replaced } from '../support/policy-edits.ts'
import type { Psql, Ticket } from '../support/psql.ts'
import { startWorld, type TestWorld } from '../support/world.ts'

/** LC1: what ends access ends running queries, on every worker, and says why. */
let world: TestWorld
const open: Psql[] = []
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world?.stop())
afterEach(async () => {
  for (const psql of open.splice(0)) psql.command.kill()
})

const patience_ms = 20_000 // how fast is shown by the benchmark `revocation`; a query left alone would go on for 60 s

/** One session of Erin's with a long query running on each of the two workers. */
async function sleepingOnBothWorkers(): Promise<{ grant: string; ticket: Ticket; sleepers: Psql[] }> {
  const { erin } = world.person
  const request = await world.grant(erin)
  const ticket = await erin.ticket()
  const sleepers: Psql[] = []
  while ((await world.serving(ticket.id)).length < 2) {
    if (sleepers.length > 8) throw new Error('the connections all go to one worker')
    const psql = erin.openPsql(ticket)
    open.push(psql)
    sleepers.push(psql)
    expect(await psql.ask('select 1;')).toEqual({ out: '1', err: '' })
  }
  for (const psql of sleepers) psql.send('select pg_sleep(60);')
  await world.until(async () => {
    const sleeping = (await world.backends()).filter(b => b.state === 'active' && b.query.includes('pg_sleep'))
    expect(sleeping.length).toBe(sleepers.length)
  })
  return { grant: request.grant!.id, ticket, sleepers }
}

/** Waits for the end of everything: clients that read why, backends, leases. */
async function ended(sleepers: readonly Psql[], why: RegExp): Promise<void> {
  await Promise.all(sleepers.map(psql => psql.command.says(why, patience_ms)))
  await world.until(async () => expect(await world.backends()).toEqual([]), patience_ms)
  await world.until(async () => expect(await world.leaseRoles()).toEqual([]), patience_ms)
}

describe('LC1: a query that runs on two workers', () => {
  test('ends when the grant is revoked, and the client reads who and why', async () => {
    const { grant, ticket, sleepers } = await sleepingOnBothWorkers()
    const answer = await world.person.sam.post(`/api/grants/${grant}/revoke`, { reason: 'the incident is over' })
    expect(answer.status).toBe(200)
    await ended(sleepers, /the session has ended: .*the incident is over/)
    await world.until(async () => expect(await world.sessionOf(ticket.id)).toMatchObject({ end_code: 'revoked' }))
    const late = await world.person.erin.psql(ticket, 'select 1;')
    expect(late.code).toBe(2)
  })

  test('ends when the session itself is ended, while the grant goes on', async () => {
    const { ticket, grant, sleepers } = await sleepingOnBothWorkers()
    const session = await world.sessionOf(ticket.id)
    expect((await world.person.sam.post(`/api/sessions/${session.id}/end`, { reason: 'maintenance' })).status).toBe(200)
    await ended(sleepers, /the session has ended: .*maintenance/)
    const again = await world.person.erin.psql(await world.person.erin.ticket(), 'select 2;')
    expect(again).toMatchObject({ code: 0, stdout: '2\n' })
    await world.person.sam.post(`/api/grants/${grant}/revoke`, { reason: 'tidy' })
  })

  test('ends when the time of the grant is over, though nobody does anything', async () => {
    const { grant, sleepers, ticket } = await sleepingOnBothWorkers()
    const [row] = await world.owner<{ ends_at: Date }[]>`
      update grants set ends_at = date_trunc('milliseconds', clock_timestamp()) + interval '2 s' where id = ${grant} returning ends_at`
    await world.owner`select pg_notify('grants', ${grant})`
    await Promise.all(
      sleepers.map(psql =>
        psql.command.says(/the session has ended: (its time|the time of its grant) is over/, patience_ms),
      ),
    )
    await world.until(async () => expect(await world.backends()).toEqual([]), patience_ms)
    await world.until(async () => expect(await world.sessionOf(ticket.id)).toMatchObject({ end_code: 'expired' }))
    const { ended_at } = await world.sessionOf(ticket.id)
    expect(ended_at!.getTime()).toBeGreaterThanOrEqual(row!.ends_at.getTime())
  })

  test('ID11: ends when the identity provider no longer names the group', async () => {
    const { sleepers, ticket } = await sleepingOnBothWorkers()
    world.dev.identityProvider.setGroups('erin', ['visitors'])
    await Promise.all(sleepers.map(psql => psql.command.says(/the session has ended: .*none of your groups/, 20_000)))
    await world.until(async () => expect(await world.backends()).toEqual([]), patience_ms)
    await world.until(async () => {
      expect(await world.sessionOf(ticket.id)).toMatchObject({ end_code: expect.stringMatching(/^(policy|revoked)$/) })
    })
    world.dev.identityProvider.setGroups('erin', ['engineers'])
    await world.until(async () => {
      const { body } = await world.person.erin.get('/api/me')
      expect(body['subject']).toMatchObject({ groups: ['engineers'] })
    })
  })

  test('PO8: ends when a merged policy no longer allows it; the other role goes on', async () => {
    const { sleepers, ticket } = await sleepingOnBothWorkers()
    await world.grant(world.person.eli, { role: 'writer' })
    const writer = world.person.eli.openPsql(await world.person.eli.ticket({ role: 'writer' }))
    open.push(writer)
    expect(await writer.ask('select 1;')).toEqual({ out: '1', err: '' })
    await world.activate(closeToReadersUntested)
    await Promise.all(
      sleepers.map(psql => psql.command.says(/the session has ended: .*none of your groups/, patience_ms)),
    )
    await world.until(async () => {
      expect(await world.sessionOf(ticket.id)).toMatchObject({ end_code: expect.stringMatching(/^(policy|revoked)$/) })
    })
    expect(await writer.ask('select 2;')).toEqual({ out: '2', err: '' })
  })

  test('PO8: the next statement of a live session meets the new rules', async () => {
    await world.grant(world.person.eli, { role: 'writer' })
    const writer = world.person.eli.openPsql(await world.person.eli.ticket({ role: 'writer' }))
    open.push(writer)
    const update = "update orders set status = 'paid' where id = 3;"
    expect(await writer.ask(`${update}\nselect status from orders where id = 3;`)).toEqual({ out: 'paid', err: '' })
    await world.activate({
      'action/action.rego': text =>
        replaced(text, '"writer": {"read", "write", "session"}', '"writer": {"read", "session"}'),
      'action/action_test.rego': () =>
        'package sallyport.action_test\n\nimport data.sallyport.action\n\ntest_readers_do_not_write if {\n\tr := action.result with input as {"role": "reader", "action": {"verb": "write", "kind": "update", "reads": [], "writes": [], "functions": []}}\n\tr.effect == "deny"\n}\n',
    })
    const { err } = await writer.ask(update)
    expect(err).toContain('your role does not cover this')
    expect(await writer.ask('select 1;')).toEqual({ out: '1', err: '' })
  })
})
