import { afterAll, beforeAll, expect, test } from 'vitest'
import { compileWith, createWorld, granted, refused, type World } from './world.ts'

let world: World

beforeAll(async () => {
  world = await createWorld()
  await world.activate(await compileWith())
})
afterAll(() => world.drop())

test('who is on call breaks the glass on their own word, keeps it while they may, and loses it with the group', async () => {
  const olga = await world.person('olga', ['on-call'])
  const wanted = { role: 'break-glass', duration_s: 900 }
  const short = refused(await world.ask(olga, { ...wanted, reason: 'incident' }))
  expect(short.message).toContain('access.break-glass-reason')
  const answer = granted(await world.ask(olga, { ...wanted, reason: 'checkout is down, restarting the queue' }))
  expect([answer.request.state, answer.grant === null]).toEqual(['approved', false])
  const lives = async () =>
    (
      await world.approvals.accessFacts({
        subject_id: olga.id,
        on_behalf_of: null,
        resource: 'shop-db',
        role: 'break-glass',
      })
    ).length
  await world.approvals.redecideAll()
  expect(await lives()).toBe(1)
  expect(refused(await world.ask(olga, { role: 'reader' })).message).toContain('access.default')
  await world.setGroups(olga.id, ['engineers'])
  await world.approvals.redecideAll()
  expect(await lives()).toBe(0)
})

test('production is asked for with the number of a ticket, and a machine does not administer anything', async () => {
  const labels = ['env: staging\n    class: customer-data', 'env: production\n    class: customer-data'] as const
  const rules = ['env: staging, class: customer-data', 'env: production, class: customer-data'] as const
  const readers = ['    - labels: { env: staging }', '    - labels: { env: production }'] as const
  await world.activate(
    await compileWith(
      ['resources/data.yaml', ...labels],
      ['roles/data.yaml', ...rules],
      ['roles/data.yaml', ...readers],
    ),
  )
  const ada = await world.person('ada', ['engineers'])
  const dan = await world.person('dan', ['dbas'])
  const robot = await world.person('robot', ['engineers'], 'machine')
  const without = refused(await world.ask(ada))
  expect(without.message).toContain('access.production-ticket')
  expect(without.remedy).toContain('--ticket')
  expect(granted(await world.ask(ada, { ticket_ref: 'OPS-4711' })).request.state).toBe('pending')
  expect(granted(await world.ask(dan, { ticket_ref: 'OPS-4711' })).request.state).toBe('pending') // nothing is standing there
  const machine = refused(await world.ask(robot, { role: 'admin', ticket_ref: 'OPS-4711' }))
  expect(machine.message).toContain('access.machine-admin')
})
