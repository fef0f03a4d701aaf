import { writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { figure } from './live/figure.ts'
import { below, pssMiB, rssMiB } from './live/memory.ts'
import { type LiveClient, System } from './live/system.ts'

/**
 * `npm run bench -- memory [SESSIONS]`: what the roles of `npm start` cost at rest (PSS; without PostgreSQL, npm and dev/),
 * what an idle session adds to its gateway worker, TLS on, and by how much the worker grows while a million rows pass.
 */
const sessions = Number(process.argv[2] ?? 1000)
const perResource = 100 // a grant takes 100 open tickets
const resources = Array.from({ length: Math.ceil(sessions / perResource) + 1 }, (_, n) => `shop-${n}`) // the last has tickets left
const budgetRest_MiB = 350
const budgetSession_MiB = 0.5
const budgetResult_MiB = 64
const rows = 1_000_000

const system = await System.start({ shopConnections: sessions + 100 })
try {
  const erin = system.person('erin')
  await atRest()
  const clients = await idleSessions()
  await Promise.all(clients.map(live => live.client.end()))
  await result('no masked column', `select g, 'row number ' || g as text from generate_series(1, ${rows}) g`)
  await result(
    'two masked columns',
    `select g, c.email, c.national_id from customers c, generate_series(1, ${rows / 1000}) g`,
  )

  async function atRest(): Promise<void> {
    await erin.get('/api/me')
    await sleep(20_000) // what the start left behind has been collected, and every schedule has run once
    let all = 0
    for (const role of ['control', 'gateway', 'replay']) {
      const pss = below(process.pid, new RegExp(`serve --roles ${role}`)).map(pssMiB)
      const sum = pss.reduce((a, b) => a + b, 0)
      all += sum
      figure('memory', `${role} at rest, ${pss.length} processes`, sum, 'MiB PSS')
    }
    figure('memory', 'all processes of the system at rest', all, 'MiB PSS', { most: budgetRest_MiB })
  }

  /** Many resources that are one database, so that one person can hold many grants. */
  async function idleSessions(): Promise<LiveClient[]> {
    const starter = system.policy('resources/data.yaml')
    const entry = /^shop-db:\n(?: .*\n)+/m.exec(starter)?.[0] ?? ''
    const more = resources.map(name => entry.replace('shop-db:', `${name}:`)).join('')
    await system.activated(system.commit({ 'resources/data.yaml': starter + more }))
    await sleep(3000)
    for (const resource of resources) await system.grant(erin, resource)
    const clients = await system.connectAll(erin, 10, resources[0])
    const [worker] = await system.workers()
    await sleep(5000)
    const before = rssMiB(worker!.pid)
    for (const resource of resources) {
      const wanted = Math.min(perResource, sessions + 10 - clients.length) - (resource === resources[0] ? 10 : 0)
      clients.push(...(await system.connectAll(erin, wanted, resource)))
    }
    await sleep(10_000)
    const grown = rssMiB(worker!.pid) - before
    const [row] = await system.owner<{ n: number }[]>`
      select count(distinct session_id)::int as n from connections where closed_at is null`
    const added = clients.length - 10
    if (row!.n !== clients.length) throw new Error(`${row!.n} sessions live, not ${clients.length}`)
    figure('memory', `an idle session of ${clients.length}, TLS on`, grown / added, 'MiB RSS', {
      most: budgetSession_MiB,
    })
    figure('memory', `the gateway worker with ${clients.length} idle sessions`, rssMiB(worker!.pid), 'MiB RSS')
    return clients
  }

  async function result(what: string, sql: string): Promise<void> {
    const [live] = await system.connectAll(erin, 1, resources.at(-1))
    const [worker] = await system.workers()
    await drain(
      live!,
      sql.replace(/1000000|1000\)/, text => text.replace('000', '')),
    ) // compiled and cached before
    await sleep(2000)
    writeFileSync(`/proc/${worker!.pid}/clear_refs`, '5') // the peak counts from here
    const before = rssMiB(worker!.pid)
    await drain(live!, sql)
    const grown = rssMiB(worker!.pid, 'VmHWM') - before
    figure('memory', `growth of the gateway worker, ${rows} rows, ${what}`, grown, 'MiB RSS', {
      most: budgetResult_MiB,
    })
    await live!.client.end()
  }
} catch (error) {
  console.error(system.lastWords('gateway')) // why a connection was refused, a client cannot always say
  throw error
} finally {
  await system[Symbol.asyncDispose]()
}

/** Reads a result without keeping it. */
async function drain(live: LiveClient, sql: string): Promise<void> {
  const query = new pg.Query(sql)
  query.on('row', () => {})
  live.client.query(query)
  await new Promise<void>((resolve, reject) => query.on('end', () => resolve()).on('error', reject))
}
