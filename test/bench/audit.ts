import { createSecretKey } from 'node:crypto'
import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { CheckpointCopy } from '../../src/audit/copy.ts'
import { prove } from '../../src/audit/prove.ts'
import { Sequencer } from '../../src/audit/sequencer.ts'
import { verifyLog } from '../../src/audit/verify.ts'
import { createAuditWriter } from '../../src/audit/writer.ts'
import { openDatabase } from '../../src/db/database.ts'
import { startEmbedded } from '../../src/db/embedded.ts'
import { migrate } from '../../src/db/migrate.ts'
import { RootKey } from '../../src/keys.ts'
import { Secret } from '../../src/secret.ts'
import { signingKeys } from '../../src/signing-keys.ts'

/** The budget of the audit log: 20,000 entries/s appended in batches, a proof in 10 ms; durable, on the embedded server. */
const entries = Number(process.env['ENTRIES'] ?? 60_000)
const batch = 1000

const folder = mkdtempSync(join(tmpdir(), 'sallyport-bench-'))
const server = await startEmbedded({
  name: 'the bench database',
  dataDir: join(folder, 'pg'),
  port: 0,
  superuser: 'owner',
})
try {
  const user = (role: string) => server.url('postgres', { name: `sallyport_${role}`, password: new Secret('bench') })
  const url = server.url('postgres')
  await migrate(url, { control: user('control'), gateway: user('gateway'), replay: user('replay') })
  const database = openDatabase({ url, max: 4, application: 'bench' })
  const writer = createAuditWriter({ database, process_id: 'prc_bench' })
  const { privateKey } = signingKeys(new RootKey(createSecretKey(Buffer.alloc(32, 1))), 'checkpoints')
  const sequencer = new Sequencer({
    database,
    url,
    key: privateKey,
    origin: 'sallyport/bench',
    copy: new CheckpointCopy(join(folder, 'copy')),
    logger: pino({ level: 'silent' }),
  })

  const append = async (count: number) => {
    const ids: string[] = []
    for (let done = 0; done < count; done += batch) {
      const events = Array.from({ length: batch }, (_, n) => ({
        type: 'decisions.batch' as const,
        body: { root: 'ab'.repeat(32), count: n },
        resource: 'shop-db',
      }))
      ids.push(...(await database.db.transaction(tx => writer.recordAll(tx, events))))
    }
    return ids
  }
  const sequence = async (count: number) => {
    for (let done = 0; done < count; ) {
      const step = await sequencer.step()
      if (step === 0) throw new Error(sequencer.problem?.message ?? 'the sequencer stands')
      done += step
    }
  }
  const rate = async (what: string, count: number, run: () => Promise<unknown>) => {
    const start = performance.now()
    const result = await run()
    const seconds = (performance.now() - start) / 1000
    console.log(
      `${what.padEnd(58)} ${Math.round(count / seconds)
        .toLocaleString('en')
        .padStart(9)}/s`,
    )
    return result
  }

  await append(batch)
  await sequence(batch) // warm
  await rate(`appended to the inbox, ${batch} a transaction`, entries, () => append(entries))
  await rate('given an index, hashed into the tree, signed and copied', entries, () => sequence(entries))
  let last: string[] = []
  await rate('both at once, in this one process', entries, async () => {
    const appending = append(entries)
    let left = entries
    while (left > 0) left -= await sequencer.step()
    last = await appending
  })
  await rate('one event a transaction', 500, async () => {
    for (let n = 0; n < 500; n++) {
      await database.db.transaction(tx => writer.record(tx, { type: 'vote.cast', body: { n } }))
    }
  })
  await sequence(500)
  await rate('proofs', 200, async () => {
    for (let n = 0; n < 200; n++) await prove(database, sequencer.vkey, last[n * 7]!)
  })
  const total = batch + 2 * entries + 500
  const report = (await rate('verified', total, () => verifyLog(database, sequencer.vkey, join(folder, 'copy')))) as {
    ok: boolean
    size: number
  }
  if (!report.ok || report.size !== total) throw new Error(`the log does not verify: ${JSON.stringify(report)}`)
  await sequencer.release()
  await database.close()
} finally {
  await server.stop()
  await rm(folder, { recursive: true, force: true })
}
