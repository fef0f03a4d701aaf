import { SallyportError } from '../errors.ts'
import type { RecordingRow } from '../recording/reader.ts'
import type { ReplayLine } from '../recording/render.ts'
import type { legalHolds } from '../recording/schema.ts'
import type { Put } from './bundle-files.ts'
import type { HoldFile, PartFile, RecordingFile } from './format.ts'
import type { Report } from './report.ts'

/** The sealed container of a session, as the replay process gives it to this caller: it decides `replay` for itself. */
export type Replays = (session: string, verb: 'export' | 'download') => AsyncIterable<ReplayLine>

/**
 * The files of one recording: with its events and keys where policy lets the caller export them, sealed where it lets them
 * download it, and its facts, seal and receipt in any case.
 */
export async function* recordingMembers(
  row: RecordingRow,
  holds: readonly (typeof legalHolds.$inferSelect)[],
  replays: Replays,
  put: Put,
  report: Report,
  unchanged: (row: RecordingRow) => Promise<boolean>,
): AsyncGenerator<Buffer> {
  const opened =
    row.state === 'deleted'
      ? { given: 'none' as const, why: 'it was deleted: its receipt is here' }
      : await open(row, replays)
  const file: RecordingFile = {
    id: row.id,
    session_id: row.session_id,
    subject_id: row.subject_id,
    subject_name: row.subject_name,
    resource: row.resource,
    role: row.role,
    protocol: row.protocol,
    decision_id: row.decision_id,
    state: row.state,
    started_at_ms: row.started_at.getTime(),
    seal: row.seal,
    seal_hash: row.seal_hash,
    receipt: row.receipt === null ? null : { ...row.receipt },
    holds: holds.map(holdFile),
    given: opened.given,
    why: opened.why,
  }
  report.recording(file)
  const folder = `recordings/${row.session_id}`
  yield put(`${folder}/recording.json`, `${JSON.stringify(file)}\n`)
  if (!('lines' in opened)) return
  let end: object = { ok: false, problem: 'the replay process stopped in the middle of it' }
  let text: { readonly name: string; parts: string[] } | undefined
  const closed = function* () {
    if (text !== undefined) yield put(text.name, text.parts.join(''))
    text = undefined
  }
  for await (const line of opened.lines) {
    if (line.kind === 'lines') {
      const name = `${segmentName(folder, line)}.jsonl`
      const parts = text === undefined ? [] : text.parts
      parts.push(line['text'] as string)
      text = { name, parts }
      report.events(row.session_id, line['text'] as string)
      continue
    }
    yield* closed()
    if (line.kind === 'part') yield put(`${folder}/part-${line.part}.json`, `${JSON.stringify(partFile(line))}\n`)
    if (line.kind === 'segment') {
      const { base64 } = line['stored'] as { base64: string }
      yield put(`${segmentName(folder, line)}.seg`, Buffer.from(base64, 'base64'))
    }
    if (line.kind === 'end') end = { ok: line['ok'], problem: line['problem'] }
  }
  yield* closed()
  // Sealed anew or deleted meanwhile, what was given above is not what its seal says: half a bundle is none.
  if (!(await unchanged(row)))
    throw new SallyportError('conflict', `the recording of ${row.session_id} changed while it was exported`, {
      remedy: 'export it again',
    })
  yield put(`${folder}/end.json`, `${JSON.stringify(end)}\n`)
}

type Opened =
  | { readonly given: 'text' | 'sealed'; readonly why: string | null; readonly lines: AsyncIterable<ReplayLine> }
  | { readonly given: 'none'; readonly why: string }

/** What policy allows most. The first line is waited for: a refusal comes before it. */
async function open(row: RecordingRow, replays: Replays): Promise<Opened> {
  let why: string | null =
    row.state === 'open' ? 'it is still being recorded, so its keys and events are not given' : null
  for (const verb of row.state === 'open' ? (['download'] as const) : (['export', 'download'] as const)) {
    try {
      const lines = replays(row.session_id, verb)[Symbol.asyncIterator]()
      const first = await lines.next()
      const whole = async function* () {
        if (!first.done) yield first.value
        for (let next = await lines.next(); !next.done; next = await lines.next()) yield next.value
      }
      return { given: verb === 'export' ? 'text' : 'sealed', why, lines: whole() }
    } catch (error) {
      if (!(error instanceof SallyportError) || error.status >= 500) throw error
      why = error.message
    }
  }
  return { given: 'none', why: why ?? 'policy refused it' }
}

const segmentName = (folder: string, line: ReplayLine): string =>
  `${folder}/part-${line.part}-${String(line['n']).padStart(6, '0')}`

function partFile(line: ReplayLine): PartFile {
  const { part, part_id, process_id, layer, started_at_ms, ending, gaps, tail_missing_from, last_seq, key } =
    line as unknown as PartFile
  return { part, part_id, process_id, layer, started_at_ms, ending, gaps, tail_missing_from, last_seq, key }
}

function holdFile(row: typeof legalHolds.$inferSelect): HoldFile {
  const { id, reason, set_by, lifted_by } = row
  return {
    id,
    reason,
    set_by,
    set_at_ms: row.set_at.getTime(),
    lifted_by,
    lifted_at_ms: row.lifted_at?.getTime() ?? null,
  }
}
