import { createHash } from 'node:crypto'
import { eq } from 'drizzle-orm'
import type { AuditWriter } from '../audit/events.ts'
import { keysOf } from '../audit/statements.ts'
import { canonical, digest, type Json } from '../canonical.ts'
import type { Database } from '../db/database.ts'
import { SallyportError } from '../errors.ts'
import { logger } from '../log.ts'
import type { RecordingRow } from '../recording/reader.ts'
import { recordings } from '../recording/schema.ts'
import { archiveEnd, member } from './archive.ts'
import { each, line, lineFiles, revisionFiles } from './bundle-files.ts'
import { decisionLines } from './decision-lines.ts'
import {
  type About,
  type BundleFacts,
  bundleFormat,
  type ManifestFile,
  type ManifestProof,
  type OutsideLine,
  type Withheld,
} from './format.ts'
import { gather } from './gather.ts'
import { type EventRow, LogProofs, placed } from './log-proofs.ts'
import type { Outside } from './outside.ts'
import { type Replays, recordingMembers } from './recordings.ts'
import { Report } from './report.ts'
import { readme } from './words.ts'

const log = logger('evidence')

export interface BundleOptions {
  readonly database: Database
  readonly audit: AuditWriter
  readonly deployment: string
  /** The log's verifier key. */
  readonly vkey: string
  /** The verifier that goes with the bundle; null where this build has none. */
  readonly script: Buffer | null
  /** Checkpoints that were kept outside, of `size` entries at most, newest first. */
  readonly outside: (size: number) => Promise<readonly Outside[]>
  readonly replays: Replays
  readonly now: () => number
}

export interface Asked {
  readonly about: About
  readonly by: { readonly id: string; readonly name: string }
  readonly decision_id: string
  /** What policy lets this caller see, by the call of the API that shows the same; a text says why not. */
  readonly may: (call: string) => Promise<true | string>
}

/**
 * The bytes of a bundle, piece by piece: no more than one file of it is in memory. Its last file proves that the log holds
 * an event which names the manifest, so that nothing of it can be changed afterwards, by whomever.
 * @throws SallyportError before the first byte for what cannot be bundled; after that a stream without an end is no bundle.
 */
export async function* evidenceBundle(options: BundleOptions, asked: Asked): AsyncGenerator<Buffer> {
  const { database, deployment, vkey, now } = options
  const files: ManifestFile[] = []
  const put = (name: string, content: Uint8Array | string): Buffer => {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content
    files.push({ name, size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') })
    return member(name, bytes)
  }
  const withheld: Withheld[] = []
  const shows = async (call: string, what: string): Promise<boolean> => {
    const answer = await asked.may(call)
    if (answer !== true) withheld.push({ what, why: answer })
    return answer === true
  }
  const given = {
    sessions: await shows('sessions.read', 'sessions'),
    requests: await shows('requests.read', 'requests, votes and grants'),
    decisions: await shows('decisions.read', 'decisions'),
    events: await shows('audit.prove', 'events of the audit log'),
    sources: await shows('policy.sources', 'sources of the policy revisions'),
    recordings: await shows('recordings.read', 'recordings'),
  }
  const { found, decisions: all, generations, events, proofs } = await gather(database, asked.about, given)
  const facts: BundleFacts = {
    format: bundleFormat,
    deployment,
    about: asked.about,
    by: asked.by,
    at_ms: now(),
    decision_id: asked.decision_id,
    withheld,
  }
  const report = new Report(facts, found.subject)

  yield put('README.txt', readme(facts))
  if (options.script !== null) yield put('verify.mjs', options.script)
  yield put('bundle.json', line(facts))
  const { current, notes } = await keysOf(database.sql, vkey)
  yield put('log/key.txt', `${current}\n`)
  if (notes.length > 0) yield put('log/handovers.json', `${JSON.stringify(notes)}\n`)
  yield put('log/checkpoint.txt', proofs.checkpoint.note)
  const outside = await outsideLines(options, proofs)
  if (outside !== '') yield put('log/outside.jsonl', outside)
  const covered = events.filter(row => proofs.covers(row))
  for (const row of covered) report.event(row)
  yield* lineFiles(
    'log/events-',
    put,
    each(covered, row => proofs.line(row)),
  )
  if (given.requests) {
    for (const row of found.requests) report.request(row)
    yield* lineFiles('requests-', put, found.requests)
  }
  if (given.sessions) {
    for (const row of found.sessions) report.session(row)
    yield* lineFiles('sessions-', put, found.sessions)
  }
  yield* revisionFiles(database, generations, given.sources, put)
  for (const row of all) report.decision(row)
  yield* lineFiles('decisions/', put, decisionLines(database.db, all))
  if (given.recordings)
    for (const row of found.recordings)
      yield* recordingMembers(row, found.holds.get(row.id) ?? [], options.replays, put, report, sealedAs(database))
  yield put('report.html', report.html())

  const manifest = canonical({ format: bundleFormat, files: files.map(file => ({ ...file })) })
  yield member('manifest.json', Buffer.from(manifest))
  const event = await exported(options, asked, {
    manifest: digest(manifest),
    files: files.length,
    bytes: files.reduce((sum, file) => sum + file.size, 0),
    sessions: given.sessions ? found.sessions.length : 0,
    requests: given.requests ? found.requests.length : 0,
    decisions: all.length,
    events: covered.length,
  })
  yield member('manifest.proof.json', Buffer.from(line(await proofOf(options, event, proofs))))
  yield archiveEnd
  log.info({ event, about: asked.about, by: asked.by.id, files: files.length }, 'evidence was bundled')
}

async function outsideLines({ outside }: BundleOptions, proofs: LogProofs): Promise<string> {
  const lines: OutsideLine[] = []
  for (const { from, note, size } of await outside(proofs.checkpoint.size)) {
    lines.push({ from, checkpoint: note, consistency: await proofs.since(size) })
  }
  return lines.map(line).join('')
}

/** Whether a recording is still what it was when its row was read. */
const sealedAs =
  ({ db }: Database) =>
  async ({ id, state, seal_hash }: RecordingRow): Promise<boolean> => {
    const [now] = await db
      .select({ state: recordings.state, seal_hash: recordings.seal_hash })
      .from(recordings)
      .where(eq(recordings.id, id))
    return now?.seal_hash === seal_hash && (now.state === state || state === 'open')
  }

/** The act itself: in the log before the bundle can be whole. */
function exported(
  { database, audit }: BundleOptions,
  asked: Asked,
  counts: Readonly<Record<string, Json>>,
): Promise<string> {
  const { about, by, decision_id } = asked
  return database.db.transaction(tx =>
    audit.record(tx, {
      type: 'evidence.exported',
      body: { about: { ...about }, ...counts, decision: decision_id },
      subject_id: by.id,
      ...('session' in about ? { session_id: about.session } : {}),
    }),
  )
}

async function proofOf({ database }: BundleOptions, event: string, first: LogProofs): Promise<ManifestProof> {
  const proofs = await LogProofs.covering(database.sql, [event], 15_000)
  const [row] = await database.sql<
    EventRow[]
  >`select id, idx::text, leaf, body, salt from ${placed(database.sql)} where id = ${event}`
  if (row === undefined || !proofs.covers(row))
    throw new SallyportError('not_ready', 'the audit log did not take the event of this bundle in time', {
      remedy: 'look at `sallyport status`, then try again',
    })
  return {
    event: await proofs.line(row),
    checkpoint: ownSignature(proofs.checkpoint.note),
    consistency: await proofs.since(first.checkpoint.size),
  }
}

/** The note with the log's own signature alone: of others' nobody here could say whether a byte of them was changed. */
function ownSignature(note: string): string {
  const end = note.lastIndexOf('\n\n') + 2
  const origin = note.slice(0, note.indexOf('\n'))
  const own = note
    .slice(end)
    .split('\n')
    .find(text => text.startsWith(`— ${origin} `))
  return `${note.slice(0, end)}${own ?? ''}\n`
}
