import { and, eq, inArray, sql } from 'drizzle-orm'
import type { Database, Tx } from '../db/database.ts'
import { SallyportError } from '../errors.ts'
import { logger } from '../log.ts'
import { split } from '../policy/log/decision-words.ts'
import { type EventText, textOf } from './event-text.ts'
import type { Reader } from './reader.ts'
import { recordingIndexes, recordings, recordingTexts } from './schema.ts'

const log = logger('recording')
const rowsAtOnce = 500
const claim_s = 60
const again_s = 3_600
const mostTexts = 1_000_000
const wordSeparator = '\u001f'

/**
 * Keeps what sessions said findable: reads each sealed recording once, its masked layer alone, and writes its texts.
 * It lives in the replay process. INVARIANT: nothing is written of a recording that was deleted (`forgetTexts`).
 */
export class TextIndex {
  readonly #database: Database
  readonly #reader: Reader
  readonly #process: string
  #running: Promise<void> = Promise.resolve()
  #timer: NodeJS.Timeout | undefined
  #stopped = false

  constructor(options: { database: Database; reader: Reader; process_id: string }) {
    this.#database = options.database
    this.#reader = options.reader
    this.#process = options.process_id
  }

  /** Looks for new recordings again and again. */
  start(every_ms = 2_000): void {
    this.#timer = setInterval(() => {
      this.#running = this.#running
        .then(() => this.run())
        .then(
          () => {},
          error => log.warn({ err: error }, 'what sessions said could not be indexed; it is tried again'),
        )
    }, every_ms)
  }

  async close(): Promise<void> {
    this.#stopped = true
    clearInterval(this.#timer)
    await this.#running
  }

  /** Indexes everything that waits. @returns how many recordings. */
  async run(): Promise<number> {
    for (let done = 0; ; done++) {
      const next = this.#stopped ? undefined : await this.#claim()
      if (next === undefined) return done
      await this.#index(next)
    }
  }

  /** One that was sealed, or sealed anew with more of it, and that no other process reads now. */
  async #claim(): Promise<{ id: string; session_id: string; seal_hash: string } | undefined> {
    const [row] = await this.#database.sql<{ id: string; session_id: string; seal_hash: string }[]>`
      insert into recording_indexes as i (recording_id, claimed_by, claimed_until)
      select r.id, ${this.#process}, clock_timestamp() + make_interval(secs => ${claim_s}) from recordings r
        left join recording_indexes had on had.recording_id = r.id
      where r.state in ('sealed', 'interrupted') and r.seal_hash is not null
        and (had.recording_id is null or (had.seal_hash is distinct from r.seal_hash and had.claimed_until < clock_timestamp()))
      order by r.id limit 1
      on conflict (recording_id) do update set claimed_by = excluded.claimed_by, claimed_until = excluded.claimed_until
        where i.claimed_until < clock_timestamp()
      returning recording_id as id, (select session_id from recordings r where r.id = recording_id), (select seal_hash from recordings r where r.id = recording_id)`
    return row
  }

  async #index({ id, session_id, seal_hash }: { id: string; session_id: string; seal_hash: string }): Promise<void> {
    let problem: string | null = null
    let whole = true // else it is tried again: the store may come back, or a key be given
    let count = 0
    let batch: EventText[] = []
    const put = async () => {
      const more = batch
      batch = []
      return this.#insert(id, more)
    }
    try {
      for await (const event of this.#reader.events(session_id, { view: 'masked' })) {
        const text = textOf(event)
        if (text === undefined) continue
        if (++count > mostTexts) {
          problem = `only the first ${mostTexts} texts are found`
          break
        }
        batch.push(text)
        if (batch.length >= rowsAtOnce && !(await put())) return
        if (this.#stopped) return
      }
    } catch (error) {
      if (!(error instanceof SallyportError)) throw error
      if (error.code === 'gone') return
      problem = error.message
      whole = false
    }
    if (!(await put())) return
    await this.#database.db
      .update(recordingIndexes)
      .set({
        seal_hash: whole ? seal_hash : null,
        indexed_at: sql`clock_timestamp()`,
        claimed_until: sql`clock_timestamp() + make_interval(secs => ${whole ? 0 : again_s})`,
        problem,
      })
      .where(eq(recordingIndexes.recording_id, id))
    if (problem !== null) log.warn({ recording: id, problem }, 'not all of a recording can be searched')
  }

  /** @returns false where the recording was deleted meanwhile. */
  #insert(recordingId: string, texts: readonly EventText[]): Promise<boolean> {
    return this.#database.db.transaction(async tx => {
      await lockTexts(tx, recordingId)
      const [row] = await tx
        .select({ id: recordings.id })
        .from(recordings)
        .where(and(eq(recordings.id, recordingId), inArray(recordings.state, ['open', 'sealed', 'interrupted'])))
      if (row === undefined) return false
      await tx.execute(sql`
        update recording_indexes set claimed_until = clock_timestamp() + make_interval(secs => ${claim_s}) where recording_id = ${recordingId}`)
      if (texts.length === 0) return true
      const column = (of: (text: EventText) => unknown, type: string) =>
        sql`${sql.param(texts.map(of))}::${sql.raw(type)}[]`
      await tx.execute(sql`
        insert into recording_texts (recording_id, part, seq, at_ms, conn, kind, text, words)
        select ${recordingId}, part, seq, at_ms, conn, kind, text, array_to_tsvector(array_remove(string_to_array(words, ${wordSeparator}), ''))
        from unnest(${column(t => t.part, 'int')}, ${column(t => t.seq, 'bigint')}, ${column(t => t.at_ms, 'bigint')}, ${column(t => t.conn, 'text')},
          ${column(t => t.kind, 'text')}, ${column(t => t.text, 'text')}, ${column(t => [...new Set(split(t.text))].join(wordSeparator), 'text')})
          as t (part, seq, at_ms, conn, kind, text, words)
        on conflict (recording_id, part, seq) do nothing`)
      return true
    })
  }
}

/** Texts of one recording are written and forgotten one after the other. */
function lockTexts(tx: Tx, recordingId: string): Promise<unknown> {
  return tx.execute(sql`select pg_advisory_xact_lock(hashtextextended(${`texts ${recordingId}`}, 0))`)
}

/** Part of a deletion, in its transaction: what the recording said is found no more, and is not written again. */
export async function forgetTexts(tx: Tx, recordingId: string): Promise<void> {
  await lockTexts(tx, recordingId)
  await tx.delete(recordingTexts).where(eq(recordingTexts.recording_id, recordingId))
  await tx.delete(recordingIndexes).where(eq(recordingIndexes.recording_id, recordingId))
}
