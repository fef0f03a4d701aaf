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

/** Recordings that policy is asked about for one page. */
const mostAsked = 500
/** So many rows are sorted; words that more hold are looked for from the newest on. */
const fewRows = 10_000
const batchRows = 200
const longest_ms = 5_000
const around = 120

/**
 * A page of what words find, newest first, among what `sees` lets through. It is asked once for each recording that holds
 * the words, and no text of a recording is read before it said yes.
 * @throws SallyportError `bad_request` for a text without a word, or a search that takes too long.
 */
export async function searchTexts(
  database: Database,
  query: TextQuery,
  sees: (row: RecordingRow) => Promise<boolean>,
): Promise<TextPage> {
  const words = wordQuery(query.text)
  if (words === null)
    throw new SallyportError('bad_request', 'there is no word to look for', { remedy: 'give letters or digits' })
  const allowed = new Map<string, RecordingRow | null>()
  const hits: TextHit[] = []
  let before = query.before ?? Number.MAX_SAFE_INTEGER
  for (let asked = 0; ; ) {
    const found = await candidates(database, query, words, before)
    const unknown = [...new Set(found.map(one => one.recording_id))].filter(id => !allowed.has(id))
    for (const row of await rowsOf(database, unknown)) {
      allowed.set(row.id, row.state !== 'deleted' && (await sees(row)) ? row : null)
      if (++asked % 64 === 0) await new Promise(setImmediate) // replays go on beside a search
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
    if (found.length < batchRows) return { hits, next: null }
    before = found.at(-1)!.id
    if (asked >= mostAsked) return { hits, next: before }
  }
}

interface Candidate {
  readonly id: number
  readonly recording_id: string
}

/** Where the next texts that hold the words are: ids alone. */
async function candidates(database: Database, query: TextQuery, words: string, before: number): Promise<Candidate[]> {
  try {
    return await database.db.transaction(
      async tx => {
        await tx.execute(sql.raw(`set local statement_timeout = ${longest_ms}`))
        const where = and(...conditions(query, words), sql`${recordingTexts.id} < ${before}`)
        return (await sorted(tx, where!)) ?? (await newest(tx, where!))
      },
      { accessMode: 'read only' },
    )
  } catch (error) {
    if (((error as { cause?: { code?: string } }).cause ?? (error as { code?: string })).code !== '57014') throw error
    throw new SallyportError('bad_request', `this search takes longer than ${longest_ms / 1000} s`, {
      remedy: 'narrow it down: by time, subject, resource or session',
      cause: error,
    })
  }
}

/** Of words that few rows hold all of them, through their index. @returns undefined where more hold them. */
async function sorted(tx: Tx, where: SQL): Promise<Candidate[] | undefined> {
  const scans = ['indexscan', 'indexonlyscan', 'seqscan']
  await tx.execute(sql.raw(scans.map(scan => `set local enable_${scan} = off`).join('; ')))
  const rows = await tx.execute<{ id: string; recording_id: string; n: string }>(sql`
    select id::text, recording_id, count(*) over ()::text as n from (
      select id, recording_id from ${recordingTexts} where ${where} limit ${fewRows + 1}) found
    order by found.id desc limit ${batchRows}`)
  await tx.execute(sql.raw(scans.map(scan => `set local enable_${scan} = on`).join('; ')))
  if (Number(rows[0]?.n ?? 0) > fewRows) return undefined
  return rows.map(row => ({ id: Number(row.id), recording_id: row.recording_id }))
}

/** Of words that many rows hold the newest, in the order of the table. */
async function newest(tx: Tx, where: SQL): Promise<Candidate[]> {
  await tx.execute(sql.raw('set local enable_bitmapscan = off; set local enable_seqscan = off'))
  const rows = await tx.execute<{ id: string; recording_id: string }>(sql`
    select id::text, recording_id from ${recordingTexts} where ${where} order by ${recordingTexts.id} desc limit ${batchRows}`)
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
