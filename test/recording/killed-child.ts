// Run by kill.test.ts: one gateway worker's recorder, fed until it is killed. Prints the last seq whose append returned.
import { writeSync } from 'node:fs'
import { createAuditWriter } from '../../src/audit/writer.ts'
import { openDatabase } from '../../src/db/database.ts'
import { Catalog } from '../../src/recording/catalog.ts'
import { FileStore } from '../../src/recording/file-store.ts'
import { Journal } from '../../src/recording/journal.ts'
import type { SessionFacts } from '../../src/recording/recorder.ts'
import { Secret } from '../../src/secret.ts'

const given = JSON.parse(process.argv[2]!) as {
  url: string
  process_id: string
  store: string
  spool: string
  recipient: string
  facts: SessionFacts
}
const database = openDatabase({ url: new Secret(given.url), max: 2, application: 'killed child' })
const audit = createAuditWriter({ database, process_id: given.process_id })
const journal = await Journal.start({
  catalog: new Catalog(database, audit),
  store: new FileStore(given.store),
  process_id: given.process_id,
  spool_root: given.spool,
  spool_bytes: 64 * 1024 * 1024,
  recipients: [given.recipient],
  tuning: { cutMs: 40, fileBytes: 256 * 1024 },
})
const recorder = await journal.open(given.facts)
let seq = 0
setInterval(() => {
  const events = Array.from({ length: 1 + (seq % 7) }, (_, i) => ({
    conn: 'con_1',
    kind: 'statement',
    body: { i: seq + i + 1, text: `select ${'x'.repeat(200)}` },
  }))
  recorder.append(events)
  seq += events.length
  writeSync(1, `${seq}\n`) // after the append returned: this much must never be lost
}, 1)
