import { and, asc, eq, isNull, ne, sql } from 'drizzle-orm'
import type { AuditWriter } from '../audit/events.ts'
import type { Person, PersonalRows } from '../audit/personal.ts'
import type { Database, Tx } from '../db/database.ts'
import { SallyportError } from '../errors.ts'
import { pseudonymise } from '../identity/erase.ts'
import { subjects } from '../identity/schema.ts'
import { logger } from '../log.ts'
import type { Engine } from '../policy/engine.ts'
import type { DecisionLog } from '../policy/log/decision-log.ts'
import { Deletion, type DeletionOptions } from './deletion.ts'
import type { Proposal } from './proposals.ts'
import { proposals, recordings } from './schema.ts'

const log = logger('recording')
const batch = 1000
const previewed = 100_000
/** One that waits for a hold or a lock is looked at so often: each look reads much of the log. */
const again_ms = 900_000
/** The class under which the `retention` point is asked how long a name is kept after its person was disabled. */
const identityClass = 'identity'

export interface ErasureOptions extends DeletionOptions {
  readonly database: Database
  readonly audit: AuditWriter
  readonly engine: Pick<Engine, 'decide'>
  readonly decisions: Pick<DecisionLog, 'insert'>
  /** What other rooms keep of a person. */
  readonly rows: readonly PersonalRows[]
}

/** What an erasure erased, or would erase; and what it must leave. */
export interface Erased {
  readonly recordings: number
  /** Recordings that a legal hold keeps, with what belongs to their sessions. */
  readonly held: number
  /** Sessions that are still recorded or not sealed yet. */
  readonly open: number
  /** Keys destroyed; the store keeps the sealed bytes until its lock passes. */
  readonly locked: number
  /** By room: events, decisions, requests, connections. */
  readonly rows: Readonly<Record<string, number>>
  readonly name: 'erased' | 'kept by policy' | 'kept by a hold'
}

/**
 * Erases one person's content when two people said so: keys of their recordings, what events and decisions say of them,
 * what they wrote, from where they came, and their name where policy lets it go. Leaves, digests and receipts stay, so that
 * every proof still verifies. Each step is safe to repeat: one that was killed goes on at the next run.
 */
export class Erasure {
  readonly #options: ErasureOptions
  readonly #deletion: Deletion
  readonly #waiting = new Map<string, number>()

  constructor(options: ErasureOptions) {
    this.#options = options
    this.#deletion = new Deletion(options)
  }

  /** @throws SallyportError where the person is unknown, or may still act: then new content would come while old goes. */
  async check(db: Database['db'] | Tx, subjectId: string): Promise<void> {
    const [row] = await db.select().from(subjects).where(eq(subjects.id, subjectId))
    if (row === undefined) {
      throw new SallyportError('not_found', `there is no subject ${subjectId}`, {
        remedy: 'look at `sallyport subjects`',
      })
    }
    if (row.disabled_at === null) {
      throw new SallyportError('conflict', `${row.name} may still act, and would leave new content behind`, {
        remedy: `run \`sallyport subject disable ${subjectId}\` first`,
      })
    }
  }

  /** Counts what would go; nothing does. */
  async preview(subjectId: string): Promise<Erased> {
    const { database, rows } = this.#options
    const counts = await this.#recordings(subjectId)
    const who = await this.#person(database.db, subjectId)
    const found: Record<string, number> = {}
    await database.db.transaction(async tx => {
      for (const room of rows) found[room.name] = (await room.find(tx, who, previewed)).length
    })
    const { name } = await this.#nameGoes(subjectId, counts.held)
    return { ...counts, rows: found, name }
  }

  /** Goes on with every erasure that was confirmed and is not done. @returns how many are done now. */
  async run(): Promise<number> {
    const due = await this.#options.database.db
      .select()
      .from(proposals)
      .where(and(eq(proposals.kind, 'erasure'), eq(proposals.state, 'confirmed'), isNull(proposals.done_at)))
      .orderBy(asc(proposals.id))
    let done = 0
    for (const proposal of due) {
      if ((this.#waiting.get(proposal.id) ?? 0) > Date.now()) continue
      try {
        if (await this.#erase(proposal)) done++
        else this.#waiting.set(proposal.id, Date.now() + again_ms)
      } catch (error) {
        log.error({ err: error, proposal: proposal.id }, 'an erasure did not finish; the next run goes on with it')
      }
    }
    return done
  }

  async #erase(proposal: Proposal): Promise<boolean> {
    const { database, rows } = this.#options
    const subjectId = String(proposal.body['subject_id'])
    const mine = await database.db
      .select({ id: recordings.id })
      .from(recordings)
      .where(and(eq(recordings.subject_id, subjectId), ne(recordings.state, 'deleted')))
    for (const { id } of mine) await this.#eraseRecording(id, proposal)
    for (const id of await this.#deletion.started()) await this.#deletion.finish(id)
    const who = await this.#person(database.db, subjectId)
    const erased: Record<string, number> = {}
    for (const room of rows) erased[room.name] = await this.#eraseRows(proposal.id, room, who)
    return this.#conclude(proposal, subjectId)
  }

  /** Under the recording's lock: a hold keeps it, and one that is still recorded waits for its seal. */
  async #eraseRecording(id: string, proposal: Proposal): Promise<void> {
    const gone = await this.#options.database.db.transaction(async tx => {
      const locked = await this.#deletion.lock(tx, id)
      if (locked === undefined || locked.held) return false
      const cause = { generation: null, commit: null, digest: null, keep_s: 0, erasure: proposal.id, rules: [] }
      return (
        (await this.#deletion.destroyKeys(tx, locked, { ...cause, decision_id: proposal.decision_id! })) !== undefined
      )
    })
    if (gone) await this.#deletion.finish(id)
  }

  /** A batch a transaction; what was erased so far is counted with it. */
  async #eraseRows(proposal: string, room: PersonalRows, who: Person): Promise<number> {
    for (let all = 0; ; ) {
      const n = await this.#options.database.db.transaction(async tx => {
        const found = await room.find(tx, who, batch)
        if (found.length === 0) return 0
        await room.erase(tx, who, found)
        await tx.execute(sql`
          update proposals set progress = jsonb_set(progress, ${sql.param([room.name])}::text[],
            to_jsonb(coalesce((progress ->> ${room.name})::bigint, 0) + ${found.length}::bigint))
          where id = ${proposal}`)
        return found.length
      })
      all += n
      if (n === 0) return all
    }
  }

  /** Done when nothing is left that may go; else the log says once what it waits for. */
  async #conclude(proposal: Proposal, subjectId: string): Promise<boolean> {
    const { database, audit, decisions } = this.#options
    const counts = await this.#recordings(subjectId)
    const { name, decision } = await this.#nameGoes(subjectId, counts.held)
    const waits = counts.held + counts.open + counts.locked > 0
    return database.db.transaction(async tx => {
      const [row] = await tx.select().from(proposals).where(eq(proposals.id, proposal.id)).for('update')
      if (row === undefined || row.done_at !== null) return false
      if (decision !== undefined) await decisions.insert(tx, decision)
      if (name === 'erased') {
        await pseudonymise(tx, subjectId)
        await tx.update(recordings).set({ subject_name: 'erased person' }).where(eq(recordings.subject_id, subjectId))
      }
      const [gone] = await tx
        .select({ n: sql<number>`count(*)::int` })
        .from(recordings)
        .where(and(eq(recordings.subject_id, subjectId), sql`${recordings.receipt} ->> 'erasure' = ${proposal.id}`))
      const { waiting: before, ...progress } = row.progress
      const waiting = waits ? { held: counts.held, open: counts.open, locked: counts.locked } : undefined
      const said = JSON.stringify(before) === JSON.stringify(waiting)
      const receipt = { ...progress, recordings: gone?.n ?? 0, name }
      await tx
        .update(proposals)
        .set({
          progress: waiting === undefined ? receipt : { ...receipt, waiting },
          ...(waits ? {} : { done_at: sql`clock_timestamp()` }),
        })
        .where(eq(proposals.id, proposal.id))
      if (said && waits) return false
      await audit.record(tx, {
        type: waits ? 'subject.erasure_waits' : 'subject.erased',
        body: {
          proposal: proposal.id,
          subject: subjectId,
          proposed_by: proposal.proposed_by,
          confirmed_by: proposal.answered_by,
          decision: proposal.decision_id,
          ...(receipt as Record<string, string | number>),
          ...(waiting === undefined ? {} : { waiting }),
        },
      })
      return !waits
    })
  }

  async #recordings(subjectId: string): Promise<Pick<Erased, 'recordings' | 'held' | 'open' | 'locked'>> {
    const [row] = await this.#options.database.sql<
      { recordings: number; held: number; open: number; locked: number }[]
    >`
      select count(*) filter (where state in ('sealed', 'interrupted') and not held)::int as recordings,
        count(*) filter (where state <> 'deleted' and held)::int as held,
        count(*) filter (where state = 'open' and not held)::int as open,
        count(*) filter (where state = 'deleted' and receipt ->> 'step' <> 'done')::int as locked
      from (select r.state, r.receipt,
        exists (select from legal_holds h where h.recording_id = r.id and h.lifted_at is null) as held
        from recordings r where r.subject_id = ${subjectId}) mine`
    return row!
  }

  async #person(db: Database['db'] | Tx, subjectId: string): Promise<Person> {
    const [row] = await db.select({ email: subjects.email }).from(subjects).where(eq(subjects.id, subjectId))
    const held = await this.#options.database.sql<{ session_id: string }[]>`
      select r.session_id from recordings r join legal_holds h on h.recording_id = r.id
      where r.subject_id = ${subjectId} and h.lifted_at is null`
    return { subject_id: subjectId, email: row?.email ?? null, held_sessions: held.map(each => each.session_id) }
  }

  /** A name goes when policy's time since its person was disabled is over, and no hold stands on what they did. */
  async #nameGoes(subjectId: string, held: number) {
    const { decision } = this.#options.engine.decide(
      'retention',
      { class: identityClass, recording: null },
      { subject_id: subjectId },
    )
    const result = decision.effect === 'data' ? decision.result : null
    const [row] = await this.#options.database.sql<{ s: string | null }[]>`
      select extract(epoch from clock_timestamp() - disabled_at)::text as s from subjects where id = ${subjectId}`
    const over = result !== null && !result.legal_hold && Number(row?.s ?? -1) >= result.keep_s
    if (held > 0) return { name: 'kept by a hold' as const, decision: undefined }
    return over ? { name: 'erased' as const, decision } : { name: 'kept by policy' as const, decision: undefined }
  }
}
