import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { createAuditWriter } from '../../src/audit/writer.ts'
import { openDatabase } from '../../src/db/database.ts'
import { Notices } from '../../src/db/notices.ts'
import { newId } from '../../src/ids.ts'
import { Catalog } from '../../src/recording/catalog.ts'
import { FileStore } from '../../src/recording/file-store.ts'
import { Journal } from '../../src/recording/journal.ts'
import { Reader } from '../../src/recording/reader.ts'
import { Watchers, watchChannel } from '../../src/recording/watchers.ts'
import { Watch } from '../../src/recording/watches.ts'
import { Secret } from '../../src/secret.ts'
import { startBenchDatabase } from './live/database.ts'

/** How long after it happened a follower sees what a live terminal put out: journal, segment, store, database, reader. */
const samples = Number(process.env['SAMPLES'] ?? 30)
const budgetMs = 2_000

const server = await startBenchDatabase()
try {
  const gateway = openDatabase({ url: server.urls.gateway, max: 6, application: 'bench gateway' })
  const replay = openDatabase({ url: server.urls.replay, max: 4, application: 'bench replay' })
  const notices = new Notices({ url: server.urls.gateway, application: 'bench notices' })
  await notices.start()
  const watchers = new Watchers()
  notices.listen(watchChannel, session => watchers.seen(session))
  const process_id = newId('prc')
  const identity = await generateX25519Identity()
  const store = new FileStore(join(server.folder, 'store'))
  const journal = await Journal.start({
    catalog: new Catalog(gateway, createAuditWriter({ database: gateway, process_id })),
    store,
    process_id,
    spool_root: join(server.folder, 'spool'),
    spool_bytes: 64 * 1024 * 1024,
    recipients: [await identityToRecipient(identity)],
    watched: watchers.watched,
  })
  const session_id = newId('ses')
  const recorder = await journal.open({
    session_id,
    subject_id: newId('sub'),
    subject_name: 'Ada',
    resource: 'web-1',
    labels: {},
    role: 'operator',
    protocol: 'bench',
    settings: { level: 'full', results: 'all', head_rows: 0, strict: false, originals: 'drop' },
    decision_id: newId('dec'),
  })
  const follower = { decision_id: newId('dec'), session_id, subject_id: 'sub', on_behalf_of: null, process_id: 'prc' }
  const watch = await Watch.begin(replay, follower, () => true)
  const stop = new AbortController()
  const reader = new Reader({ database: replay, store, identities: [new Secret(identity)] })
  const late: number[] = []
  const following = (async () => {
    for await (const event of reader.events(session_id, { follow: stop.signal }))
      late.push(performance.now() - Number(event['at']))
  })()
  await sleep(1_000)
  for (let i = 0; i < samples; i++) {
    recorder.append([
      { conn: 'con_1', kind: 'output', body: { channel: 0, data: Buffer.from('x'), at: performance.now() } },
    ])
    await sleep(300 + ((i * 137) % 900)) // never in step with a timer of ours
  }
  for (let waited = 0; late.length < samples && waited < 100; waited++) await sleep(100)
  stop.abort()
  await following
  await watch.end()
  late.sort((a, b) => a - b)
  if (late.length !== samples) throw new Error(`${samples - late.length} of ${samples} events never came`)
  for (const [figure, place] of [
    ['median', 0.5],
    ['p95', 0.95],
    ['most', 1],
  ] as const) {
    const value = Math.round(late[Math.min(samples - 1, Math.floor(samples * place))]!)
    console.log(JSON.stringify({ bench: 'tail', figure, value, unit: 'ms', budget: budgetMs, met: value <= budgetMs }))
  }
  await recorder.close('done')
  await journal.close()
  await notices.close()
  await gateway.close()
  await replay.close()
} finally {
  await server.stop()
}
