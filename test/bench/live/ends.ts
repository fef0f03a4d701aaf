import { setTimeout as sleep } from 'node:timers/promises'
import { figure, quantile } from './figure.ts'
import { cpuSeconds } from './memory.ts'
import type { LiveClient, System } from './system.ts'

const budget_ms = 1000
const readers = /^engineers:\n {2}reader:\n.*\n.*\n/m
const testOfReaders = /\ntest_the_shop_is_open_to_engineers_by_the_data_of_this_repository if \{[\s\S]*?\n\}\n/

/** The wall clock, finer than `Date.now`. */
export const now = () => performance.timeOrigin + performance.now()

export interface Ending {
  readonly bench: string
  readonly sessions: number
  readonly rounds: number
  /** Ends them. @returns the moment from which the time counts. */
  readonly act: (grants: readonly string[]) => Promise<number>
  /** What each client must read. */
  readonly why: RegExp
  readonly after?: () => Promise<unknown>
}

/** Live sessions of two people over two workers, every second one with a running query: opens them, lets something end them, and prints how long each close took. */
export async function measureEnds(system: System, what: string, ending: Ending): Promise<void> {
  const { bench, sessions, rounds, act, why, after } = ending
  const took: number[] = []
  let spent: Cpu = {}
  for (let round = 0; round < rounds; round++) {
    const people = [system.person('erin'), system.person('eli')] // a grant takes 100 open tickets
    const grants = await Promise.all(people.map(who => system.grant(who)))
    const clients = (await Promise.all(people.map(who => system.connectAll(who, sessions / 2)))).flat()
    for (const [n, live] of clients.entries()) if (n % 2 === 0) live.run('select pg_sleep(600)')
    await settled(system, clients)
    const before = await cpu(system)
    const from = await act(grants)
    const closed = await Promise.all(clients.map(live => live.closed))
    spent = spentSince(before, await cpu(system))
    const silent = clients.filter(live => !why.test(live.words.join('\n')))
    if (silent.length > 0) throw new Error(`${silent.length} clients did not read why: ${silent[0]!.words.join('; ')}`)
    took.push(...closed.map(at => at - from))
    await atRest(system)
    await after?.()
  }
  for (const [name, q] of [
    ['p50', 0.5],
    ['p99', 0.99],
    ['max', 1],
  ] as const)
    figure(
      bench,
      `${what}, ${sessions} sessions on 2 workers, ${name}`,
      quantile(took, q),
      'ms',
      q === 0.99 ? { most: budget_ms } : null,
    )
  // What does not depend on whatever else this machine does.
  for (const [who, s] of Object.entries(spent))
    figure(bench, `${what}, ${sessions} sessions, CPU until all are closed, ${who}`, s * 1000, 'ms')
}

/** The files of the starter policies after which engineers may not read the shop any more, and before. */
export function closedToReaders(system: System): {
  readonly closed: Readonly<Record<string, string>>
  readonly open: Readonly<Record<string, string>>
} {
  const open = {
    'roles/data.yaml': system.policy('roles/data.yaml'),
    'access/access_test.rego': system.policy('access/access_test.rego'),
  }
  const closed = {
    'roles/data.yaml': open['roles/data.yaml'].replace(readers, 'engineers:\n'),
    'access/access_test.rego': open['access/access_test.rego'].replace(testOfReaders, ''),
  }
  for (const path of ['roles/data.yaml', 'access/access_test.rego'] as const)
    if (closed[path] === open[path]) throw new Error(`${path} has moved away from under the benchmark`)
  return { closed, open }
}

export const closedWhy = /the session has ended: .*none of your groups/

type Cpu = Readonly<Record<string, number>>

/** CPU seconds so far: of the workers, control, our database, and this process, which is all clients and the targets' people. */
async function cpu(system: System): Promise<Cpu> {
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

async function settled(system: System, clients: readonly LiveClient[]): Promise<void> {
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
async function atRest(system: System): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    const [row] = await system.shop<
      { n: number }[]
    >`select count(*)::int as n from pg_roles where rolname like 'sp\\_%'`
    if (row!.n === 0) return
    await sleep(100)
  }
  throw new Error('leases of the round before are still there')
}
