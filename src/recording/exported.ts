import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { and, asc, eq } from 'drizzle-orm'
import { Type as T } from 'typebox'
import { Value } from 'typebox/value'
import type { AuditWriter } from '../audit/events.ts'
import type { Database } from '../db/database.ts'
import { SallyportError } from '../errors.ts'
import { openRegular } from '../regular-file.ts'
import type { Secret } from '../secret.ts'
import { RecordingDamaged } from './errors.ts'
import { type Seal, sealHash } from './format/seal.ts'
import { maxSegmentBytes } from './format/segment.ts'
import { unwrapPartKey } from './part-key.ts'
import { PartReader, type Played } from './part-reader.ts'
import { recordingKeys, recordingParts, recordingSegments, recordings } from './schema.ts'
import type { Store } from './store.ts'

/**
 * A sealed recording as a folder that needs no server: `recording.json`, and each segment as it lies in the store. Only who
 * holds an identity of its recipients reads it. What is in it is checked when it is opened, not believed.
 */
const Segment = T.Object({
  n: T.Integer(),
  first_seq: T.Integer(),
  last_seq: T.Integer(),
  bytes: T.Integer(),
  hash: T.String(),
  prev: T.String(),
  file: T.String({ pattern: '^\\d{1,9}-\\d{6,9}-[0-9a-f]{32}\\.seg$' }),
})
const Part = T.Object({
  part: T.Integer(),
  part_id: T.String({ pattern: '^[0-9a-f]{32}$' }),
  layer: T.Union([T.Literal('masked'), T.Literal('originals')]),
  process_id: T.String(),
  started_at_ms: T.Integer(),
  gaps: T.Array(T.Object({ from_seq: T.Integer(), to_seq: T.Integer() })),
  /** Its key: an age file for the recipients of its layer, in base64. */
  key: T.String(),
  segments: T.Array(Segment),
})
/** So much of it as is read here; its hash says whether the rest is as it was. */
const SealForm = T.Object({
  recording_id: T.String(),
  parts: T.Array(
    T.Object({
      part: T.Integer(),
      gaps: T.Array(T.Object({ from_seq: T.Integer(), to_seq: T.Integer() })),
      tail_missing_from: T.Union([T.Integer(), T.Null()]),
    }),
  ),
})
const Exported = T.Object({
  v: T.Literal(1),
  recording: T.Object({
    recording_id: T.String(),
    session_id: T.String(),
    subject_id: T.String(),
    subject_name: T.String(),
    resource: T.String(),
    role: T.String(),
    protocol: T.String(),
    state: T.Union([T.Literal('sealed'), T.Literal('interrupted')]),
    started_at_ms: T.Integer(),
  }),
  seal: SealForm,
  seal_hash: T.String(),
  parts: T.Array(Part),
})
type Exported = T.Static<typeof Exported>
const file = 'recording.json'
const maxFileBytes = 64 * 1024 * 1024

/**
 * Copies a sealed recording out of database and store. The event comes first: what leaves is not got back, and a later
 * deletion does not reach it.
 */
export async function exportRecording(options: {
  readonly database: Database
  readonly store: Store
  readonly audit: AuditWriter
  readonly session_id: string
  readonly folder: string
  readonly reason: string
}): Promise<{ segments: number; bytes: number }> {
  const { database, store, audit, session_id, folder, reason } = options
  const exported = await describe(database, session_id)
  const { recording_id, subject_id, resource } = exported.recording
  const segments = exported.parts.flatMap(part => part.segments)
  const bytes = segments.reduce((sum, segment) => sum + segment.bytes, 0)
  await mkdir(folder, { mode: 0o700 })
  await database.db.transaction(tx =>
    audit.record(tx, {
      type: 'recording.exported',
      body: { recording: recording_id, seal_hash: exported.seal_hash, reason, segments: segments.length, bytes },
      subject_id,
      session_id,
      resource,
    }),
  )
  for (const segment of segments) {
    const stored = await store.get(`${recording_id}/${segment.file}`, maxSegmentBytes)
    await writeFile(join(folder, segment.file), stored, { mode: 0o600, flag: 'wx' })
  }
  await writeFile(join(folder, file), `${JSON.stringify(exported, null, 1)}\n`, { mode: 0o600, flag: 'wx' })
  return { segments: segments.length, bytes }
}

async function describe(database: Database, session_id: string): Promise<Exported> {
  const [row] = await database.db.select().from(recordings).where(eq(recordings.session_id, session_id))
  if (row === undefined) throw new SallyportError('not_found', `there is no recording of session ${session_id}`)
  if (row.state !== 'sealed' && row.state !== 'interrupted')
    throw new SallyportError('conflict', `the recording of session ${session_id} is ${row.state}`, {
      remedy: row.state === 'open' ? 'wait until it is sealed' : 'its receipt says under which rule it was deleted',
    })
  const parts = await database.db
    .select({ part: recordingParts, wrapped: recordingKeys.wrapped })
    .from(recordingParts)
    .innerJoin(
      recordingKeys,
      and(eq(recordingKeys.recording_id, recordingParts.recording_id), eq(recordingKeys.part, recordingParts.part)),
    )
    .where(eq(recordingParts.recording_id, row.id))
    .orderBy(asc(recordingParts.part))
  const segments = await database.db
    .select()
    .from(recordingSegments)
    .where(eq(recordingSegments.recording_id, row.id))
    .orderBy(asc(recordingSegments.part), asc(recordingSegments.n))
  const { subject_id, subject_name, resource, role, protocol, state } = row
  return {
    v: 1,
    recording: {
      recording_id: row.id,
      ...{ session_id, subject_id, subject_name, resource, role, protocol, state },
      started_at_ms: row.started_at.getTime(),
    },
    seal: row.seal as unknown as Exported['seal'], // of one that is sealed it is there
    seal_hash: row.seal_hash ?? '',
    parts: parts.map(({ part, wrapped }) => ({
      part: part.part,
      part_id: part.part_id,
      layer: part.layer,
      process_id: part.process_id,
      started_at_ms: part.started_at_ms,
      gaps: part.gaps,
      key: wrapped?.toString('base64') ?? '',
      segments: segments
        .filter(segment => segment.part === part.part)
        .map(({ n, first_seq, last_seq, bytes, hash, prev, key }) => ({
          ...{ n, first_seq, last_seq, bytes, hash, prev },
          file: key.slice(key.indexOf('/') + 1),
        })),
    })),
  }
}

/** One line of a replay: the recording, its events, how it ended. */
export type ExportedLine = { readonly kind: string; readonly [member: string]: unknown }

/**
 * Opens an exported recording with nothing but identities: seal, chains and every segment are checked, and the parts that
 * the identities open are merged by time. The last line is `end`, with what does not verify.
 * @throws SallyportError when the folder is none, or when the identities open no part of it.
 */
export async function* openExported(folder: string, identities: readonly Secret[]): AsyncGenerator<ExportedLine> {
  const exported = await read(folder)
  const { recording, seal_hash } = exported
  const seal = exported.seal as unknown as Seal
  const opened: PartReader[] = []
  const checked: PartReader[] = []
  let refused: unknown
  for (const part of exported.parts) {
    const key = await unwrapPartKey(identities, Buffer.from(part.key, 'base64')).catch(error => {
      refused ??= error
      return null
    })
    const reader = new PartReader(rowOf(recording.recording_id, part), key, storeOf(folder))
    ;(key === null ? checked : opened).push(reader)
  }
  if (opened.length === 0 && exported.parts.length > 0) throw refused
  yield { kind: 'recording', ...recording, layers: [...new Set(opened.map(reader => reader.row.layer))] }
  let problem: string | null = null
  try {
    const sealed = seal.parts.map(part => part.part).join()
    if (sealHash(seal) !== seal_hash)
      throw new RecordingDamaged(0, -1, 'the seal does not have the hash that was noted')
    if (seal.recording_id !== recording.recording_id || sealed !== exported.parts.map(part => part.part).join())
      throw new RecordingDamaged(0, -1, 'the seal speaks of other parts')
    const segments = new Map(exported.parts.map(part => [part.part, part.segments]))
    const events = (reader: PartReader) =>
      eventsOf(reader, segments.get(reader.row.part) ?? [], seal, recording.recording_id)
    for await (const event of merged(opened.map(events))) yield lineOf(event)
    for (const reader of checked) for await (const _ of events(reader));
  } catch (error) {
    if (!(error instanceof RecordingDamaged)) throw error
    problem = error.message
  }
  yield { kind: 'end', state: recording.state, seal_hash, ok: problem === null, problem }
}

async function read(folder: string): Promise<Exported> {
  const path = join(folder, file)
  try {
    const value: unknown = JSON.parse((await bytesOf(path, maxFileBytes)).toString('utf8'))
    if (!Value.Check(Exported, value)) {
      const [first] = Value.Errors(Exported, value)
      throw new Error(`${first?.instancePath ?? ''} ${first?.message ?? 'has another form'}`)
    }
    return value
  } catch (cause) {
    throw new SallyportError('bad_request', `${path} is no exported recording: ${(cause as Error).message}`, {
      remedy: 'give the folder that `sallyport recording export` made',
      cause,
    })
  }
}

async function* eventsOf(
  reader: PartReader,
  segments: readonly T.Static<typeof Segment>[],
  seal: Seal,
  recording_id: string,
): AsyncGenerator<Played> {
  const { part } = reader.row
  for (const { file: key, ...segment } of segments)
    yield* await reader.read({ ...segment, key, recording_id, part, shipped_at: new Date(0) })
  const sealed = seal.parts.find(one => one.part === part)!
  if (sealed.tail_missing_from !== null) yield reader.missingTail(sealed.tail_missing_from)
  reader.finish(sealed)
}

/** Always the earliest of what comes next. */
async function* merged(all: readonly AsyncGenerator<Played>[]): AsyncGenerator<Played> {
  const heads: { event: Played; rest: AsyncGenerator<Played> }[] = []
  const pull = async (rest: AsyncGenerator<Played>) => {
    const { value, done } = await rest.next()
    if (!done) heads.push({ event: value, rest })
  }
  for (const each of all) await pull(each)
  while (heads.length > 0) {
    const first = heads.reduce((least, head) => (head.event.at_us < least.event.at_us ? head : least))
    heads.splice(heads.indexOf(first), 1)
    yield first.event
    await pull(first.rest)
  }
}

function rowOf(recording_id: string, part: T.Static<typeof Part>) {
  const { part: number, part_id, layer, process_id, started_at_ms, gaps } = part
  const unknown = { ended_at: null, ending: null, end_reason: null, last_seq: null, tail_missing_from: null }
  return { recording_id, part: number, part_id, layer, process_id, spool: process_id, started_at_ms, gaps, ...unknown }
}

function storeOf(folder: string): Store {
  return {
    put: () => Promise.reject(new Error('an exported recording is not written to')),
    removeRecording: () => Promise.reject(new Error('an exported recording is not deleted')),
    get: (name, maxBytes) => bytesOf(join(folder, name), maxBytes),
  }
}

/** Of a file that somebody else made: no link leads elsewhere, and no pipe keeps us waiting. */
async function bytesOf(path: string, maxBytes: number): Promise<Buffer> {
  const handle = await openRegular(path)
  try {
    if ((await handle.stat()).size > maxBytes) throw new RangeError(`${path} is longer than ${maxBytes} bytes`)
    return await handle.readFile()
  } finally {
    await handle.close()
  }
}

/** The body of an event may hold members of any name; the envelope wins. */
function lineOf({ at_us, t: _t, at_ms: _at, part, conn, seq, kind, ...body }: Played): ExportedLine {
  return { ...body, at_ms: at_us / 1000, part, conn, seq, kind }
}
