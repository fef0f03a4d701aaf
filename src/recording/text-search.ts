import { and, eq, inArray, type SQL, sql } from 'drizzle-orm'
import type { Database, Tx } from '../db/database.ts'
import { SallyportError } from '../errors.ts'
import { split, wordQuery } from '../policy/log/decision-words.ts'
import type { RecordingRow } from './reader.ts'
import { recordings, recordingTexts } from './schema.ts'

export interface TextQuery {
  readonly text: string
  readonly session?: string | undefined
  readonly subject_id?: string | undefined
  readonly resource?: string | undefined
  readonly from_ms?: number | undefined
  readonly to_ms?: number | undefined
  /** Older than this one: `next` of the page before. */
  readonly before?: number | undefined
  readonly limit: number
}

/** A moment of a session that holds the words. */
export interface TextHit {
  readonly id: number
  readonly recording: RecordingRow
  readonly part: number
  readonly seq: number
  readonly at_ms: number
  readonly conn: string
  readonly kind: string
  readonly excerpt: string
}

export interface TextPage {
  readonly hits: readonly TextHit[]
  readonly next: number | null
}

/** Recordings that policy is asked about for one page, and for how long the page is looked for. */
const mostAsked = 10_000
const patience_ms = 3_000
/** So many rows are sorted; words that more hold are looked for from the newest on. */
const fewRows = 10_000
const firstBatch = 200
const largestBatch = 6_400
const longest_ms = 5_000
const around = 120

/**
 * A page of what words find, newest first, among what `sees` lets through. It is asked once for each recording that holds
 * the words, and no text of a recording is read before it said yes.
 *
 * INVARIANT: `next` says that the caller may see more, and nothing of what they may not: recordings that are closed to
 * them neither end a page nor lead to another. Where too many are, the search is refused as too wide.
 * @throws SallyportError `bad_request` for a text without a word, or a search that is too wide.
 */
export async function searchTexts(
  database: Database,
  query: TextQuery,
  sees: (row: RecordingRow) => Promise<boolean>,
  bounds: { readonly asked: number; readonly ms: number } = { asked: mostAsked, ms: patience_ms },
): Promise<TextPage> {
  const words = wordQuery(query.text)
  if (words === null)
    throw new SallyportError('bad_request', 'there is no word to look for', { remedy: 'give letters or digits' })
  const began = performance.now()
  const allowed = new Map<string, RecordingRow | null>()
  const hits: TextHit[] = []
  const next = candidatesOf(database, query, words)
  for (let asked = 0; ; ) {
    const found = await next()
    if (found === null) return { hits, next: null }
    for (const row of await rowsOf(
      database,
      [...new Set(found.map(one => one.recording_id))].filter(unasked(allowed)),
    )) {
      if (asked++ === bounds.asked || performance.now() - began > bounds.ms) throw tooWide()
      allowed.set(row.id, row.state !== 'deleted' && (await sees(row)) ? row : null)
      if (asked % 64 === 0) await new Promise(setImmediate) // replays go on beside a search
    }
    const open = found.filter(one => allowed.get(one.recording_id) != null)
    const texts = await textsOf(
      database,
      open.slice(0, query.limit - hits.length).map(one => one.id),
    )
    for (const one of open) {
      if (hits.length === query.limit) return { hits, next: hits.at(-1)!.id }
      const text = texts.get(one.id)
      if (text !== undefined)
        hits.push({ ...text, recording: allowed.get(one.recording_id)!, excerpt: excerptOf(text.text, query.text) })
    }
    if (performance.now() - began > bounds.ms) throw tooWide()
  }
}

const unasked = (allowed: ReadonlyMap<string, unknown>) => (id: string) => !allowed.has(id)

function tooWide(cause?: unknown): SallyportError {
  return new SallyportError('bad_request', 'too many sessions hold these words to look through them all', {
    remedy: 'give more words, or narrow it down: by time, subject, resource or session',
    cause,
  })
}

interface Candidate {
  readonly id: number
  readonly recording_id: string
}

/** Where texts that hold the words are, newest first: ids alone, ever more at once, null at the end. */
function candidatesOf(database: Database, query: TextQuery, words: string): () => Promise<Candidate[] | null> {
  let [before, size, few, ended] = [query.before ?? Number.MAX_SAFE_INTEGER, firstBatch, true, false]
  return async () => {
    if (ended) return null
    const found = await bounded(database, async tx => {
      const where = and(...conditions(query, words), sql`${recordingTexts.id} < ${before}`)!
      const rows = few ? await sorted(tx, where, size) : undefined
      few = rows !== undefined
      return rows ?? (await newest(tx, where, size))
    })
    ended = found.length < size
    before = found.at(-1)?.id ?? before
    size = Math.min(size * 2, largestBatch)
    return found
  }
}

async function bounded<T>(database: Database, run: (tx: Tx) => Promise<T>): Promise<T> {
  try {
    return await database.db.transaction(
      async tx => {
        await tx.execute(sql.raw(`set local statement_timeout = ${longest_ms}`))
        return run(tx)
      },
      { accessMode: 'read only' },
    )
  } catch (error) {
    if (((error as { cause?: { code?: string } }).cause ?? (error as { code?: string })).code !== '57014') throw error
    throw tooWide(error)
  }
}

/** Of words that few rows hold all of them, through their index. @returns undefined where more hold them. */
async function sorted(tx: Tx, where: SQL, size: number): Promise<Candidate[] | undefined> {
  const scans = ['indexscan', 'indexonlyscan', 'seqscan']
  await tx.execute(sql.raw(scans.map(scan => `set local enable_${scan} = off`).join('; ')))
  const rows = await tx.execute<{ id: string; recording_id: string; n: string }>(sql`
    select id::text, recording_id, count(*) over ()::text as n from (
      select id, recording_id from ${recordingTexts} where ${where} limit ${fewRows + 1}) found
    order by found.id desc limit ${size}`)
  await tx.execute(sql.raw(scans.map(scan => `set local enable_${scan} = on`).join('; ')))
  if (Number(rows[0]?.n ?? 0) > fewRows) return undefined
  return rows.map(row => ({ id: Number(row.id), recording_id: row.recording_id }))
}

/** Of words that many rows hold the newest, in the order of the table. */
async function newest(tx: Tx, where: SQL, size: number): Promise<Candidate[]> {
  await tx.execute(sql.raw('set local enable_bitmapscan = off; set local enable_seqscan = off'))
  const rows = await tx.execute<{ id: string; recording_id: string }>(sql`
    select id::text, recording_id from ${recordingTexts} where ${where} order by ${recordingTexts.id} desc limit ${size}`)
  return rows.map(row => ({ id: Number(row.id), recording_id: row.recording_id }))
}

function conditions({ session, subject_id, resource, from_ms, to_ms }: TextQuery, words: string): SQL[] {
  const all: SQL[] = [sql`${recordingTexts.words} @@ ${words}::tsquery`]
  if (from_ms !== undefined) all.push(sql`${recordingTexts.at_ms} >= ${from_ms}`)
  if (to_ms !== undefined) all.push(sql`${recordingTexts.at_ms} < ${to_ms}`)
  const of = and(
    session === undefined ? undefined : eq(recordings.session_id, session),
    subject_id === undefined ? undefined : eq(recordings.subject_id, subject_id),
    resource === undefined ? undefined : eq(recordings.resource, resource),
  )
  if (of !== undefined)
    all.push(sql`${recordingTexts.recording_id} in (select ${recordings.id} from ${recordings} where ${of})`)
  return all
}

async function rowsOf({ db }: Database, ids: string[]): Promise<RecordingRow[]> {
  return ids.length === 0 ? [] : db.select().from(recordings).where(inArray(recordings.id, ids))
}

async function textsOf({ db }: Database, ids: number[]) {
  if (ids.length === 0) return new Map<number, never>()
  const { id, part, seq, at_ms, conn, kind, text } = recordingTexts
  const rows = await db.select({ id, part, seq, at_ms, conn, kind, text }).from(recordingTexts).where(inArray(id, ids))
  return new Map(rows.map(row => [row.id, row]))
}

/** What stands around the first of the words. */
export function excerptOf(text: string, asked: string): string {
  const lower = text.toLowerCase()
  const places = split(asked)
    .map(word => lower.indexOf(word))
    .filter(at => at >= 0)
  const at = places.length === 0 ? 0 : Math.min(...places)
  const from = Math.max(0, at - around)
  const to = Math.min(text.length, at + 2 * around)
  return `${from > 0 ? '…' : ''}${text.slice(from, to).toWellFormed()}${to < text.length ? '…' : ''}`
}
