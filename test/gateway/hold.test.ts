import { spawn } from 'node:child_process'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { eq } from 'drizzle-orm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { placeHold } from '../../src/approvals/hold.ts'
import { holds, requests } from '../../src/approvals/schema.ts'
import { newId } from '../../src/ids.ts'
import type { SubjectFacts } from '../../src/policy/points.ts'
import { granted, refused } from '../approvals/world.ts'
import { createHeldWorld, everywhere, type HeldWorld, noWhere, outcome, standing } from './held.ts'

let held: HeldWorld
let world: HeldWorld['world']
let a: HeldWorld['a']
let approvals: HeldWorld['approvals']
let dan: SubjectFacts
let dora: SubjectFacts
let eve: SubjectFacts

beforeAll(async () => {
  held = await createHeldWorld()
  ;({ world, a, approvals, dan, dora } = held)
  eve = await world.person('eve', ['sales'])
}, 60_000)
afterAll(() => world?.close())

const open = (role?: string) => held.open(role)
const waiting = (session_id: string) => held.waiting(session_id)
const stateOf = (id: string) => held.stateOf(id)
const cast: HeldWorld['cast'] = (...args) => held.cast(...args)
const orders = () => held.orders()
const refill = () => held.refill()

describe('a statement for which policy asks', () => {
  test('waits, says where it is decided, and runs once when it is approved', async () => {
    const { client, notices, session } = await open()
    const done = outcome(client.query(noWhere))
    const request = await waiting(session.id)
    expect(request).toMatchObject({
      kind: 'hold',
      reason: 'delete on public.orders',
      hold: {
        text: noWhere,
        shown: [
          {
            label: 'Why it waits',
            lines: [
              expect.stringMatching(
                /^this delete has no WHERE .* \(action\.production-every-row, action\/production\.rego:\d+@/,
              ),
            ],
          },
          { label: 'Writes', lines: ['public.orders'] },
        ],
      },
    })
    await expect.poll(() => notices.join('\n')).toContain(`http://sallyport.test/requests/${request.id}`)
    expect(notices.join('\n')).toMatch(/action\.production-every-row, action\/production\.rego:\d+@/)
    expect(await orders()).toBe(500)
    expect(granted(await cast(request, dora))).toMatchObject({ state: 'approved', grant: null })
    expect(await done).toBe('DELETE 500')
    expect(notices.join('\n')).toContain('approved by dora (1 of 1)')
    expect((await stateOf(request.id)).hold).toMatchObject({ released_at_ms: expect.any(Number), unused: null })
    await refill()
    // The approval was for that statement, once.
    const again = outcome(client.query(noWhere))
    const second = await waiting(session.id)
    expect(second.id).not.toBe(request.id)
    granted(await cast(second, dora, 'deny'))
    expect(await again).toMatch(
      /^42501 refused: this needs an approval, and denied by dora · rule action\.production-every-row \(action\/production\.rego:\d+@[0-9a-f]+\), decision dec_\w+, request req_/,
    )
    expect(await orders()).toBe(500)
    expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }])
    const told = (await world.events())
      .filter(event => event.body['request_id'] === request.id)
      .map(event => event.type)
      .sort()
    expect(told).toEqual(['action.held', 'action.released', 'request.approved', 'vote.cast'])
    await client.end()
  })

  test('AP6: is not approved by who sent it, nor by who is no approver', async () => {
    const { client, session } = await open()
    const done = outcome(client.query(noWhere))
    const request = await waiting(session.id)
    expect(refused(await cast(request, dan)).code).toBe('policy_denied')
    expect(refused(await cast(request, eve)).code).toBe('policy_denied')
    expect((await stateOf(request.id)).state).toBe('pending')
    granted(await approvals.cancel({ request_id: request.id, by: dan }))
    expect(await done).toContain('cancelled by dan')
    await client.end()
  })

  test('is withdrawn by Ctrl-C in psql', async () => {
    const { issued, session, client } = await open()
    const psql = spawn('psql', ['-X', '-A', '-t'], {
      env: {
        PATH: process.env['PATH'] ?? '',
        PGHOST: '127.0.0.1',
        PGPORT: String(a.port),
        PGUSER: issued.id,
        PGPASSWORD: issued.secret.reveal(),
        PGDATABASE: 'shop',
        PGSSLMODE: 'verify-full',
        PGSSLROOTCERT: world.caFile,
      },
    })
    let text = ''
    for (const stream of [psql.stdout, psql.stderr]) stream.on('data', chunk => (text += chunk))
    psql.stdin.write(`${noWhere};\n`)
    const request = await waiting(session.id)
    await expect.poll(() => text).toContain('NOTICE:  sallyport: waits for an approval by 1 of dbas')
    const closed = new Promise(resolve => psql.once('close', resolve)) // as psql does that reads from a pipe
    psql.kill('SIGINT')
    await closed
    expect(text).toContain('canceling statement due to user request')
    await expect.poll(async () => (await stateOf(request.id)).state).toBe('cancelled')
    expect(await orders()).toBe(500)
    await client.end()
  })

  test('that was cancelled leaves its connection in step, also in the midst of a transaction', async () => {
    const { client, session } = await open()
    for (const begin of [false, true]) {
      if (begin) await client.query('begin')
      const done = outcome(client.query(noWhere))
      await waiting(session.id)
      const { processID, secretKey } = client as unknown as { processID: number; secretKey: number }
      const bytes = Buffer.alloc(16)
      for (const [i, value] of [16, 80_877_102, processID, secretKey].entries()) bytes.writeInt32BE(value, i * 4)
      connect(a.port, '127.0.0.1').end(bytes)
      expect(await done).toMatch(/^57014 canceling statement due to user request/)
      if (begin) expect(await outcome(client.query('select 1'))).toMatch(/^25P02/)
      if (begin) await client.query('rollback')
      expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }])
    }
    await client.end()
  })

  test('is withdrawn when its client is gone, or its session ends', async () => {
    const { client, session } = await open()
    const done = outcome(client.query(noWhere))
    const request = await waiting(session.id)
    ;(client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy()
    await done
    await expect.poll(async () => (await stateOf(request.id)).state).toBe('cancelled')
    const other = await open()
    const ending = outcome(other.client.query(noWhere))
    const second = await waiting(other.session.id)
    granted(await approvals.revoke({ grant_id: other.session.grant_id, by: dan, reason: 'enough' }))
    expect(await ending).toMatch(/terminat|enough|closed|the session has ended/i)
    await expect.poll(async () => (await stateOf(second.id)).state).toBe('cancelled')
    expect(await orders()).toBe(500)
  })

  test('of a driver with parameters waits where they are known, and what comes behind it in the pipeline waits too', async () => {
    const { client, session } = await open()
    const first = outcome(client.query('update orders set total = $1', [7]))
    const second = outcome(client.query('select count(*) from orders where total = 7'))
    const request = await waiting(session.id)
    expect(request.hold?.shown).toContainEqual({ label: 'Parameters', lines: ['$1 = 7'] })
    granted(await cast(request, dora))
    expect([await first, await second]).toEqual(['UPDATE 500', 'SELECT 1'])
    const asked = await world.db.select().from(holds).where(eq(holds.session_id, session.id))
    expect(asked).toHaveLength(1)
    await client.end()
    await refill()
  })

  test('whose values nobody could read whole waits for nobody, and what is read is all of it', async () => {
    const { client, session } = await open()
    const update = 'update orders set total = length($1::text)'
    expect(await outcome(client.query(update, ['x'.repeat(5000)]))).toContain('too long for anybody to read')
    const many = Array.from({ length: 70 }, (_, i) => `$${i + 1}::int`).join(' + ')
    expect(await outcome(client.query(`update orders set total = ${many}`, Array(70).fill(1)))).toContain('too long')
    const done = outcome(client.query(update, [`${'x'.repeat(900)}tail`]))
    const request = await waiting(session.id)
    expect(request.hold?.shown).toContainEqual({ label: 'Parameters', lines: [`$1 = ${'x'.repeat(900)}tail`] })
    granted(await cast(request, dora, 'deny'))
    await done
    await client.end()
  })

  test('that is long where nobody sees it (masking hides the values) takes no room for a day', async () => {
    const { client } = await open()
    expect(await outcome(client.query('update customers set name = $1', ['x'.repeat(4 << 20)]))).toContain(
      'it is too long to wait',
    )
    expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }])
    await client.end()
  })

  test('finds no more room when many of one person ask at once', async () => {
    const { client, session } = await open()
    const done = outcome(client.query(noWhere))
    const { id } = await waiting(session.id)
    const [row] = await world.db.select().from(holds).where(eq(holds.request_id, id))
    const [request] = await world.db.select().from(requests).where(eq(requests.id, id))
    const dave = await world.person('dave', ['dbas'])
    const held = { ...row!.held, subject: dave }
    const { ground } = a.worker
    const place = () =>
      world.db.transaction(tx =>
        placeHold(ground, tx, {
          ...row!,
          id: newId('req'),
          title: 'x',
          held,
          terms: request!.terms!,
          access_decision_id: request!.decision_id,
          client: request!.client,
        }),
      )
    const answers = await Promise.all(Array.from({ length: 40 }, place))
    expect(answers.filter(why => why === undefined)).toHaveLength(20)
    await approvals.cancel({ request_id: id, by: dan })
    await done
    await client.end()
  })

  test('is shown without the values of what masking covers, nor what looks like a secret', async () => {
    const { client, session } = await open()
    for (const statement of [
      "update customers set name = 'Ottoline'",
      "update orders set total = length('AKIAABCDEFGHIJKLMNOP')",
    ]) {
      const done = outcome(client.query(statement))
      const request = await waiting(session.id)
      expect(JSON.stringify(request)).not.toMatch(/Ottoline|AKIA/)
      granted(await cast(request, dora, 'deny'))
      await done
    }
    await client.end()
  })

  test('whose terms change is decided by those of now: what was approved under others does not run', async () => {
    const { client, session } = await open()
    const done = outcome(client.query(noWhere))
    const request = await waiting(session.id)
    await world.activate(everywhere, standing, ['action/production.rego', '"quorum": 1', '"quorum": 2'])
    await approvals.redecideAll()
    expect(granted(await cast(request, dora)).state).toBe('pending')
    await sleep(300)
    expect(await orders()).toBe(500)
    const dirk = await world.person('dirk', ['dbas'])
    await world.activate(everywhere, standing, ['action/action.rego', '"write", "session"}', '"session"}'])
    await approvals.redecideAll()
    expect(refused(await cast(request, dirk)).code).toBe('conflict')
    expect(await done).toContain('policy no longer allows this')
    await world.activate(everywhere, standing)
    await client.end()
  })

  test('AP10: of a vote and a withdrawal one counts, and nothing runs after it was withdrawn', async () => {
    for (let round = 0; round < 6; round++) {
      const { client, session } = await open()
      const done = outcome(client.query(noWhere))
      const request = await waiting(session.id)
      const voting = cast(request, dora)
      if (round % 2 === 1) await sleep(round)
      await client.end()
      await Promise.all([voting, done.catch(() => {})])
      await expect.poll(async () => (await stateOf(request.id)).state).not.toBe('pending')
      const after = await stateOf(request.id)
      if (after.hold?.released_at_ms === null) expect(await orders()).toBe(500)
      if (after.state === 'approved' && after.hold?.released_at_ms === null)
        await expect.poll(async () => (await stateOf(request.id)).hold?.unused).toEqual(expect.any(String))
      await refill()
    }
  })
})
