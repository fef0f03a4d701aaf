import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { prove, proveConsistency } from '../../src/audit/prove.ts'
import { verifyLog } from '../../src/audit/verify.ts'
import { createAuditWriter } from '../../src/audit/writer.ts'
import { openDatabase } from '../../src/db/database.ts'
import { verifyProof } from '../../src/evidence/verify.ts'
import { verifyConsistencyFile } from '../../src/evidence/verify-consistency.ts'
import { processesBelow } from '../support/children.ts'
import { openSequencer } from './audit/log.ts'
import { buildTallLog } from './audit/tall.ts'
import { startBenchDatabase } from './live/database.ts'
import { figure, quantile } from './live/figure.ts'

/**
 * `npm run bench -- audit [SECONDS] [LEAVES]`: entries are appended in batches (this process, as the gateway's database
 * user) while another process gives them their places, hashes and signs (as control's), durable, on the embedded server.
 * An entry is a leaf of the log with a body and columns for search of its own; nothing that a batch leaf covers is counted.
 * Then proofs out of a log of 10 million entries, of which only those proved have an event.
 */
const seconds = Number(process.argv[2] ?? 30)
const leaves = Number(process.argv[3] ?? 10_000_000)
const entries = Math.min(100_000, seconds * 10_000)
const offered = 22_000 // entries a second of the sustained run: a tenth more than the budget asks for
const batch = 1000
const writers = 2 // transactions at once: one is in the database while the next is being made
const budgetRate = 20_000
const budgetBehind_ms = 1000
const budgetProof_ms = 10
const budgetMemory_MiB = 128

/** Seconds that living processes of the server have used. */
function databaseCpu(): number {
  let ticks = 0
  for (const pid of processesBelow(join(server.folder, 'pg'))) {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')
    ticks += Number(fields[11]) + Number(fields[12])
  }
  return ticks / 100
}

const server = await startBenchDatabase()
try {
  const { url } = server
  const { database, sequencer } = openSequencer(url, server.folder)
  const gateway = openDatabase({ url: server.urls.gateway, max: writers, application: 'bench' })
  const writer = createAuditWriter({ database: gateway, process_id: 'prc_bench' })

  const appendBatch = () => {
    const events = Array.from({ length: batch }, (_, n) => ({
      type: 'decisions.batch' as const,
      body: { root: 'ab'.repeat(32), count: n },
      resource: 'shop-db',
      session_id: 'ses_06c4xk8r3v0qy5t2m1n9h7d8ea',
    }))
    return gateway.db.transaction(tx => writer.recordAll(tx, events))
  }
  const append = (count: number) =>
    Promise.all(
      Array.from({ length: writers }, async () => {
        for (let done = 0; done < count / writers; done += batch) await appendBatch()
      }),
    )
  /** Appends what the clock says is due, and no faster. */
  const appendPaced = async (): Promise<number> => {
    const start = performance.now()
    let begun = 0
    await Promise.all(
      Array.from({ length: writers }, async () => {
        for (;;) {
          const at_ms = (begun++ * batch * 1000) / offered
          if (at_ms >= seconds * 1000) return
          await sleep(Math.max(0, at_ms - (performance.now() - start)))
          await appendBatch()
        }
      }),
    )
    return (performance.now() - start) / 1000
  }
  const rate = async (what: string, count: number, run: () => Promise<unknown>, budget?: number) => {
    const start = performance.now()
    const [own, database] = [process.cpuUsage(), databaseCpu()]
    await run()
    const { user, system } = process.cpuUsage(own)
    const [ours, theirs] = [(user + system) / count, ((databaseCpu() - database) * 1e6) / count]
    const value = (count / (performance.now() - start)) * 1000
    figure('audit', what, value, 'entries/s', budget === undefined ? null : { least: budget })
    figure('audit', `${what}: of this process`, ours, 'µs CPU an entry')
    figure('audit', `${what}: of PostgreSQL`, theirs, 'µs CPU an entry')
  }
  const sequence = async (count: number) => {
    for (let done = 0; done < count; ) {
      const step = await sequencer.step()
      if (step === 0) throw new Error(sequencer.problem?.message ?? 'the sequencer stands')
      done += step
    }
  }

  await append(4 * batch)
  await sequence(4 * batch) // warm
  await rate(`appended, ${batch} a transaction, nobody sequencing`, entries, () => append(entries), budgetRate)
  await rate('given a place, hashed, signed, copied, nobody appending', entries, () => sequence(entries), budgetRate)
  await sequencer.release()

  const control = spawn(
    process.execPath,
    [...process.execArgv, join(import.meta.dirname, 'audit/control.ts'), server.urls.control.reveal(), server.folder],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  )
  await once(control.stdout, 'data')
  const from = 4 * batch + entries
  const count = Math.ceil((seconds * offered) / batch) * batch
  const size = async () => Number((await database.sql<{ size: string }[]>`select size::text from audit_state`)[0]!.size)
  await rate(
    `appended for ${seconds} s while another process sequences, ${offered} a second offered`,
    count,
    appendPaced,
    budgetRate,
  )
  const left = from + count - (await size())
  const ended = performance.now()
  while ((await size()) < from + count) await sleep(10)
  figure('audit', 'of them without a place when the last was appended', left, 'entries')
  figure('audit', 'until those had theirs and were signed', performance.now() - ended, 'ms', { most: budgetBehind_ms })
  control.stdin.end()
  await once(control, 'exit')
  const behind = await database.sql<{ ms: string }[]>`
    select (c.at_ms - i.at_ms)::text as ms from audit_places p join audit_inbox i on i.seq = p.seq
    cross join lateral (select at_ms from audit_checkpoints where size > p.idx order by size limit 1) c where p.idx >= ${from}`
  const lags = behind.map(row => Number(row.ms))
  figure('audit', 'an entry waits for its signed checkpoint, median', quantile(lags, 0.5), 'ms')
  figure('audit', 'an entry waits for its signed checkpoint, p99', quantile(lags, 0.99), 'ms', {
    most: budgetBehind_ms,
  })

  const total = from + count
  const before = process.memoryUsage().rss
  let peak = before
  const watch = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss)), 50)
  await rate('verified', total, async () => {
    const report = await verifyLog(database, { vkey: sequencer.vkey, copy: join(server.folder, 'copy') })
    if (!report.ok || report.size !== total) throw new Error(`the log does not verify: ${JSON.stringify(report)}`)
  })
  clearInterval(watch)
  figure('audit', `memory that verifying ${total} entries takes`, (peak - before) / 2 ** 20, 'MiB', {
    most: budgetMemory_MiB,
  })

  const start = performance.now()
  const ids = await buildTallLog(database, leaves, 1000)
  figure('audit', `a log of ${leaves} entries built by bulk`, (performance.now() - start) / 1000, 's')
  const took: number[] = []
  for (const id of ids) {
    const from = performance.now()
    const proof = await prove(database, sequencer.vkey, id)
    took.push(performance.now() - from)
    if (took.length % 50 === 1) {
      const report = verifyProof(proof, { vkey: sequencer.vkey })
      if (!report.ok) throw new Error(`the proof of ${id} does not verify: ${JSON.stringify(report)}`)
    }
  }
  figure('audit', `a proof out of ${leaves} entries, median`, quantile(took, 0.5), 'ms')
  figure('audit', `a proof out of ${leaves} entries, p99`, quantile(took, 0.99), 'ms', { most: budgetProof_ms })
  const grown: number[] = []
  for (let i = 0; i < 500; i++) {
    const [a, b] = [Math.floor(Math.random() * leaves) + 1, Math.floor(Math.random() * leaves) + 1]
    const began = performance.now()
    const proof = await proveConsistency(database, sequencer.vkey, { from: Math.min(a, b), to: Math.max(a, b) })
    grown.push(performance.now() - began)
    if (i % 50 === 0 && !verifyConsistencyFile(proof).ok) throw new Error('a consistency proof does not verify')
  }
  figure('audit', `a consistency proof between any two sizes up to ${leaves}, median`, quantile(grown, 0.5), 'ms')
  figure('audit', `a consistency proof between any two sizes up to ${leaves}, p99`, quantile(grown, 0.99), 'ms', {
    most: budgetProof_ms,
  })
  await gateway.close()
  await database.close()
} finally {
  await server.stop()
}
