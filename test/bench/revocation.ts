import { setTimeout as sleep } from 'node:timers/promises'
import { figure, quantile } from './live/figure.ts'
import { cpuSeconds } from './live/memory.ts'
import { type LiveClient, System } from './live/system.ts'

/**
 * `npm run bench -- revocation [SESSIONS] [ROUNDS]`: live sessions of two people over two gateway workers, every second one
 * with a running query, the roles in processes of their own under their own database users. How long after the click (the
 * API call that revokes), after the activation of a merge, and after the moment when a grant runs out each client's
 * connection is closed. One JSON line a figure.
 */
const sessions = Number(process.argv[2] ?? 200)
const rounds = Number(process.argv[3] ?? 3)
const budget_ms = 1000
const readers = /^engineers:\n {2}reader:\n.*\n.*\n/m
const testOfReaders = /\ntest_the_shop_is_open_to_engineers_by_the_data_of_this_repository if \{[\s\S]*?\n\}\n/

const system = await System.start({ tuning: { gateway_workers: 2 }, shopConnections: sessions * 2 + 50 })

/** Opens everything, lets something end it, and takes the time from `act`'s moment to each close. */
async function measure(
  what: string,
  act: (grants: readonly string[]) => Promise<number>,
  why: RegExp,
  after: () => Promise<unknown> = async () => {},
): Promise<void> {
  const took: number[] = []
  const spent: Cpu[] = []
  for (let round = 0; round < rounds; round++) {
    const people = [system.person('erin'), system.person('eli')] // a grant takes 100 open tickets
    const grants = await Promise.all(people.map(who => system.grant(who)))
    const clients = (await Promise.all(people.map(who => system.connectAll(who, sessions / 2)))).flat()
    for (const [n, live] of clients.entries()) if (n % 2 === 0) live.run('select pg_sleep(600)')
    await settled(clients)
    const before = await cpu()
    const from = await act(grants)
    const closed = await Promise.all(clients.map(live => live.closed))
    spent.push(spentSince(before, await cpu()))
    const silent = clients.filter(live => !why.test(live.words.join('\n')))
    if (silent.length > 0) throw new Error(`${silent.length} clients did not read why: ${silent[0]!.words.join('; ')}`)
    took.push(...closed.map(at => at - from))
    await atRest()
    await after()
  }
  for (const [name, q] of [
    ['p50', 0.5],
    ['p99', 0.99],
    ['max', 1],
  ] as const)
    figure(
      'revocation',
      `${what}, ${sessions} sessions on 2 workers, ${name}`,
      quantile(took, q),
      'ms',
      q === 0.99 ? { most: budget_ms } : null,
    )
  // What does not depend on whatever else this machine does.
  for (const [who, s] of Object.entries(spent[spent.length - 1] ?? {}))
    figure('revocation', `${what}, ${sessions} sessions, CPU until all are closed, ${who}`, s * 1000, 'ms')
}

type Cpu = Readonly<Record<string, number>>

/** CPU seconds so far: of the workers, control, our database, and this process, which is all clients and the targets' people. */
async function cpu(): Promise<Cpu> {
  const workers = await system.workers()
  const all = Object.fromEntries(workers.map((worker, n) => [`worker ${n + 1}`, cpuSeconds(worker.pid)]))
  all['control'] = cpuSeconds(system.dev.children.control.pid)
  all['the database'] = cpuSeconds(system.dev.database.pid, 'with children')
  all['the target'] = cpuSeconds(system.dev.shop.server.pid, 'with children')
  all['the clients'] = cpuSeconds(process.pid)
  return all
}

const spentSince = (before: Cpu, after: Cpu): Cpu =>
  Object.fromEntries(Object.entries(after).map(([who, s]) => [who, s - (before[who] ?? 0)]))

async function settled(clients: readonly LiveClient[]): Promise<void> {
  const workers = await system.workers()
  if (workers.length !== 2 || workers.some(worker => worker.connections === 0))
    throw new Error(`the connections are not on two workers: ${JSON.stringify(workers)}`)
  const running = Math.ceil(clients.length / 2)
  for (let tries = 0; tries < 200; tries++) {
    const [row] = await system.shop<{ n: number }[]>`
      select count(*)::int as n from pg_stat_activity where query like '%pg_sleep(600)%' and state = 'active' and usename like 'sp\\_%'`
    if (row!.n === running) break
    if (tries === 199) throw new Error(`${row!.n} of ${running} queries run`)
    await sleep(50)
  }
  await sleep(2000) // what opening them set in motion comes to rest
}

/** Every backend and every lease of the round is gone. */
async function atRest(): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    const [row] = await system.shop<
      { n: number }[]
    >`select count(*)::int as n from pg_roles where rolname like 'sp\\_%'`
    if (row!.n === 0) return
    await sleep(100)
  }
  throw new Error('leases of the round before are still there')
}

const now = () => performance.timeOrigin + performance.now()

try {
  await measure(
    'from the click to the close',
    async grants => {
      const from = now()
      const revoke = (grant: string) =>
        system.person('sam').post(`/api/grants/${grant}/revoke`, { reason: 'the bench is over' })
      for (const { status, body } of await Promise.all(grants.map(revoke)))
        if (status !== 200) throw new Error(`the revocation answered ${status}: ${JSON.stringify(body)}`)
      return from
    },
    /the session has ended: .*the bench is over/,
  )

  await measure(
    'from the end of its time to the close',
    async grants => {
      const [row] = await system.owner<{ at: number }[]>`
      update grants set ends_at = clock_timestamp() + interval '2 s' where id = any(${grants as string[]})
      returning (extract(epoch from ends_at) * 1000)::float8 as at`
      await system.owner`select pg_notify('grants', ${JSON.stringify({ ids: grants })})`
      return row!.at
    },
    /the session has ended: (its time|the time of its grant) is over/,
  )

  const roles = system.policy('roles/data.yaml')
  const accessTest = system.policy('access/access_test.rego')
  const closed = {
    'roles/data.yaml': roles.replace(readers, 'engineers:\n'),
    'access/access_test.rego': accessTest.replace(testOfReaders, ''),
  }
  if (closed['roles/data.yaml'] === roles || closed['access/access_test.rego'] === accessTest)
    throw new Error('the starter policies have moved away from under the benchmark')
  const toActive: number[] = []
  await measure(
    'from the activation of a merge to the close',
    async () => {
      const from = now()
      const at = await system.activated(system.commit(closed))
      toActive.push(at - from)
      return at
    },
    /the session has ended: .*none of your groups/,
    () => system.activated(system.commit({ 'roles/data.yaml': roles, 'access/access_test.rego': accessTest })),
  )
  figure(
    'revocation',
    'from the commit to its activation (poll, check, tests, compile), max',
    Math.max(...toActive),
    'ms',
  )
} finally {
  await system[Symbol.asyncDispose]()
}
