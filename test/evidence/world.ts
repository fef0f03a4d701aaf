import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { CheckpointCopy } from '../../src/audit/copy.ts'
import { checkpointText, signNote, vkey } from '../../src/audit/note.ts'
import { Sequencer } from '../../src/audit/sequencer.ts'
import { SallyportError } from '../../src/errors.ts'
import { type Asked, type BundleOptions, evidenceBundle } from '../../src/evidence/bundle.ts'
import type { About } from '../../src/evidence/format.ts'
import { OutsideCheckpoints } from '../../src/evidence/outside.ts'
import { newId } from '../../src/ids.ts'
import { batchDecisions } from '../../src/policy/log/decision-batch.ts'
import { packSources } from '../../src/policy/revision-sources.ts'
import { Catalog } from '../../src/recording/catalog.ts'
import { containerLines } from '../../src/recording/container.ts'
import { FileStore } from '../../src/recording/file-store.ts'
import { Journal } from '../../src/recording/journal.ts'
import { Reader } from '../../src/recording/reader.ts'
import { jsonLine, parseLine } from '../../src/recording/render.ts'
import { Sealer } from '../../src/recording/sealer.ts'
import { Secret } from '../../src/secret.ts'
import { compileWith, granted } from '../approvals/world.ts'
import { fixedKey, origin, silent } from '../audit/support.ts'
import { starter } from '../policy/support.ts'
import { until } from '../recording/world.ts'
import { createSessionWorld } from '../sessions/world.ts'

/** What a hostile user puts wherever text goes. */
export const hostile = `<script>alert(1)</script>"'\u001b]52;c;ZXZpbA==\u0007\u001b[2J\u202e<img src=x onerror=alert(2)>`

/** A deployment in which ada asked, dan approved, and a session was recorded: from there bundles are made. */
export async function evidenceWorld() {
  const world = await createSessionWorld()
  const { database, audit } = world.ground
  const worker = await world.worker() // before the activation, which it follows too
  await world.activate(await compileWith())
  const [revision] = await database.sql<{ generation: string; commit: string; digest: string }[]>`
    update revisions set sources = ${packSources(starter())} returning generation, commit, digest`
  const facts = { ...revision!, generation: Number(revision!.generation) }
  await database.db.transaction(tx => audit.record(tx, { type: 'revision.activated', body: facts }))
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-evidence-'))
  const copy = new CheckpointCopy(join(folder, 'outside.jsonl'))
  const keyFor = (wanted: string) => (wanted === vkey(origin, fixedKey(8)) ? fixedKey(8) : undefined)
  const sequencer = new Sequencer({
    database,
    url: world.test.url,
    key: fixedKey(),
    keyFor,
    origin,
    copy,
    logger: silent,
  })
  const identity = await generateX25519Identity()
  const store = new FileStore(join(folder, 'store'))
  const gateway = worker.ground
  const journal = await Journal.start({
    catalog: new Catalog(gateway.database, gateway.audit),
    store,
    process_id: worker.process_id,
    spool_root: join(folder, 'spool'),
    spool_bytes: 16 * 1024 * 1024,
    recipients: [await identityToRecipient(identity)],
    tuning: { cutMs: 20 },
  })
  const reader = new Reader({ database, store, identities: [new Secret(identity)] })
  const ada = await world.person('ada', ['engineers'])
  const dan = await world.person('dan', ['dbas'])

  /** Everything that waits is in the log, under a checkpoint. */
  async function sequenced(): Promise<void> {
    while ((await batchDecisions(database, audit)) > 0);
    while ((await sequencer.step()) > 0);
  }

  /** A request with its vote, and one recorded session under it. */
  async function recorded(reason = `look into order 4711 ${hostile.replace(/[\u0000-\u001f\u202e]/g, '')}`) {
    const { request } = granted(await world.ask(ada, { reason }))
    granted(await world.approvals.vote({ request_id: request.id, approver: dan, answer: 'approve', via: 'web' }))
    const ticket = await world.ticketOf(ada)
    const presented = granted(await world.present(worker, ticket.id))
    const session = presented.session.id
    const recorder = await journal.open({
      session_id: session,
      subject_id: ada.id,
      subject_name: ada.name,
      resource: 'shop-db',
      labels: { env: 'demo' },
      role: 'reader',
      protocol: 'test',
      settings: { level: 'full', results: 'all', head_rows: 0, strict: false, originals: 'drop' },
      decision_id: (
        await database.sql<{ decision_id: string }[]>`select decision_id from sessions where id = ${session}`
      )[0]!.decision_id,
    })
    recorder.append([{ conn: 'con_1', kind: 'statement', body: { text: `select '${hostile}'` } }])
    recorder.append([
      { conn: 'con_1', kind: 'rows', body: { columns: ['a'], values: [[1], [null]], data: Buffer.from('\u001b[2Jx') } },
    ])
    await recorder.close('done')
    await until(() => journal.pending === 0)
    await world.controlSessions.revoke({ session_id: session, by: ada, reason: 'done', permit: null }).catch(() => {})
    await database.sql`update sessions set ended_at = coalesce(ended_at, now()), end_code = coalesce(end_code, 'closed'), end_reason = coalesce(end_reason, 'done') where id = ${session}`
    await new Sealer({
      database,
      audit,
      sessionsEnded: async ids => new Map(ids.map(id => [id, Date.now()])),
    }).sealDue()
    return { request: request.id, session, grant: ticket.grant_id }
  }

  /** A bundle as its bytes; the sequencer runs beside it, as it does in control. */
  async function bundle(
    about: About,
    more: {
      asked?: Partial<Asked>
      options?: Partial<BundleOptions>
      refuse?: readonly string[]
      before?: () => unknown
      replaying?: () => Promise<unknown>
    } = {},
  ): Promise<Buffer> {
    const { refuse = [] } = more
    await sequenced()
    const options: BundleOptions = {
      database,
      audit,
      deployment: 'test',
      vkey: sequencer.vkey,
      script: null,
      outside: size => new OutsideCheckpoints({ database, copy, places: [], vkey: sequencer.vkey }).upTo(size),
      now: Date.now,
      async *replays(session, verb) {
        if (refuse.includes(verb)) throw new SallyportError('policy_denied', `you may not ${verb} this`)
        await more.replaying?.()
        const row = (await reader.find(session))!
        yield { kind: 'recording' }
        for await (const line of containerLines(reader, row, verb === 'export')) yield parseLine(jsonLine(line))
        yield { kind: 'end', ok: true, problem: null }
      },
      ...more.options,
    }
    const asked: Asked = {
      about,
      by: { id: dan.id, name: dan.name },
      decision_id: newId('dec'),
      may: async () => true,
      ...more.asked,
    }
    await more.before?.()
    const beside = setInterval(() => void sequencer.step().catch(() => {}), 20)
    try {
      const chunks: Buffer[] = []
      for await (const chunk of evidenceBundle(options, asked)) chunks.push(chunk)
      return Buffer.concat(chunks)
    } finally {
      clearInterval(beside)
    }
  }

  /** A checkpoint of another beginning of this log, signed by its key. */
  async function otherLog(): Promise<string> {
    return signNote(checkpointText({ origin, size: 3, root: Buffer.alloc(32, 1) }), origin, fixedKey())
  }

  return {
    ...world,
    otherLog,
    database,
    audit,
    sequencer,
    copy,
    reader,
    store,
    ada,
    dan,
    folder,
    sequenced,
    recorded,
    bundle,
    close: async () => {
      await journal.close()
      await sequencer.release()
      await worker.row.close()
      await world.drop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

export type EvidenceWorld = Awaited<ReturnType<typeof evidenceWorld>>
