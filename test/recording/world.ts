import { mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { type BatchWriter, createAuditWriter } from '../../src/audit/writer.ts'
import { type Database, openDatabase } from '../../src/db/database.ts'
import { newId } from '../../src/ids.ts'
import { Catalog } from '../../src/recording/catalog.ts'
import { FileStore } from '../../src/recording/file-store.ts'
import { Journal, type JournalOptions } from '../../src/recording/journal.ts'
import type { SessionFacts } from '../../src/recording/recorder.ts'
import { Sealer } from '../../src/recording/sealer.ts'
import type { KeepingStore } from '../../src/recording/store.ts'
import { Secret } from '../../src/secret.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

/** A role's pool and audit writer, with the privileges that this role has in production. */
export interface Side {
  readonly process_id: string
  readonly database: Database
  readonly audit: BatchWriter
}

export interface RecordingWorld extends AsyncDisposable {
  readonly test: TestDatabase
  readonly folder: string
  readonly store: KeepingStore
  readonly identity: Secret
  readonly recipient: string
  /** The pair of the originals layer. */
  readonly originals: { readonly identity: Secret; readonly recipient: string }
  readonly gateway: Side
  readonly control: Side
  readonly replay: Side
  readonly ended: Map<string, number>
  readonly sealer: Sealer
  journal(options?: Partial<JournalOptions>): Promise<Journal>
  /** A gateway process of its own, alive in the processes table. */
  process(): Promise<Side>
  die(side: Side): Promise<void>
  events(session: string): Promise<{ type: string; body: Record<string, unknown> }[]>
}

export async function createWorld(): Promise<RecordingWorld> {
  const test = await createTestDatabase()
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-recording-'))
  const store = new FileStore(join(folder, 'store'))
  const identity = await generateX25519Identity()
  const recipient = await identityToRecipient(identity)
  const originals = await generateX25519Identity()
  const pools: Database[] = []
  const side = async (role: 'gateway' | 'control' | 'replay'): Promise<Side> => {
    const database = openDatabase({ url: test.roleUrls[role], max: 6, application: `test ${role}` })
    pools.push(database)
    const process_id = newId('prc')
    await test.database
      .sql`insert into processes (id, role, host, pid) values (${process_id}, ${role}, 'test', ${process.pid})`
    return { process_id, database, audit: createAuditWriter({ database, process_id }) }
  }
  const gateway = await side('gateway')
  const control = await side('control')
  const replay = await side('replay')
  const ended = new Map<string, number>()
  const journals: Journal[] = []
  return {
    test,
    folder,
    store,
    identity: new Secret(identity),
    recipient,
    originals: { identity: new Secret(originals), recipient: await identityToRecipient(originals) },
    gateway,
    control,
    replay,
    ended,
    sealer: new Sealer({
      ...control,
      sessionsEnded: async ids => new Map([...ended].filter(([id]) => ids.includes(id))),
    }),
    async journal(options = {}) {
      const journal = await Journal.start({
        catalog: new Catalog(gateway.database, gateway.audit),
        store,
        process_id: gateway.process_id,
        spool_root: join(folder, 'spool'),
        spool_bytes: 64 * 1024 * 1024,
        recipients: [recipient],
        originals_recipients: [await identityToRecipient(originals)],
        tuning: { cutMs: 50 },
        ...options,
      })
      journals.push(journal)
      return journal
    },
    process: () => side('gateway'),
    async die(dead) {
      await test.database
        .sql`update processes set heartbeat_at = now() - interval '5 minutes' where id = ${dead.process_id}`
    },
    async events(session) {
      const rows = await test.database.sql<{ type: string; body: string }[]>`
        select type, body from audit_inbox where session_id = ${session} order by at_ms, wseq`
      return rows.map(row => ({ type: row.type, body: JSON.parse(row.body) as Record<string, unknown> }))
    },
    async [Symbol.asyncDispose]() {
      for (const journal of journals) await journal.close(100)
      for (const pool of pools) await pool.close()
      await test.drop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

export function sessionFacts(more: Partial<SessionFacts> = {}): SessionFacts {
  return {
    session_id: newId('ses'),
    subject_id: newId('sub'),
    subject_name: 'Ada',
    resource: 'shop-db',
    labels: { env: 'prod' },
    role: 'reader',
    protocol: 'test',
    settings: { level: 'full', results: 'all', head_rows: 0, strict: false, originals: 'drop' },
    decision_id: newId('dec'),
    ...more,
  }
}

export async function until(what: () => boolean | Promise<boolean>, ms = 10_000): Promise<void> {
  const end = Date.now() + ms
  while (!(await what())) {
    if (Date.now() > end) throw new Error('it did not happen in time')
    await sleep(20)
  }
}

/** Makes a spool folder look like that of a process that is gone, or of one from before the machine went down. */
export function orphan(root: string, processId: string, boot: 'this boot' | 'another boot' = 'this boot'): void {
  const folder = join(root, processId)
  const owner = readdirSync(folder).find(name => name.startsWith('owner.'))!
  const gone = owner.replace(/\.\d+\.\d+$/, '.999999999.1')
  renameSync(
    join(folder, owner),
    join(folder, boot === 'this boot' ? gone : gone.replace(/-[^-]*-(\d*\.)/, '-0ther-$1')),
  )
}
