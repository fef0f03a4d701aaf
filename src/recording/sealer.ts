import { and, asc, eq, inArray, sql } from 'drizzle-orm'
import type { AuditWriter } from '../audit/events.ts'
import type { Database, Tx } from '../db/database.ts'
import { logger } from '../log.ts'
import { isPart, nowMs } from './catalog.ts'
import { type Seal, type SealedPart, sealHash } from './format/seal.ts'
import { recordingParts, recordingSegments, recordings } from './schema.ts'

const log = logger('recording')
const batch = 200
/**
 * A process beats each second; one that was not heard of for this long is dead, and what it recorded is sealed at the next
 * look of any control: within 60 s of the crash.
 */
export const sealing = { dead_after_s: 20, every_ms: 5_000 } as const
const late_ms = 15 * 60_000

export interface SealerOptions {
  readonly database: Database
  readonly audit: AuditWriter
  /** Which of these sessions have ended, and when; one that does not exist ended at 0. */
  readonly sessionsEnded: (sessionIds: readonly string[]) => Promise<ReadonlyMap<string, number>>
  /** A process that was not heard of for so long is dead. */
  readonly dead_after_s?: number
}

interface Candidate {
  readonly id: string
  readonly session_id: string
  readonly crashed: boolean
}

/** Seals what is complete, and what will not be completed by its process. Any process with a database may run it. */
export class Sealer {
  readonly #options: SealerOptions
  #problem: string | null = null

  constructor(options: SealerOptions) {
    this.#options = options
  }

  /** Seals each open recording of which no part is recorded any more. @returns how many. */
  async sealDue(): Promise<number> {
    let sealed = 0
    // All of them each time: hundreds that wait between two connections, or cannot be sealed, must not keep others waiting.
    for (let after = ''; ; ) {
      const candidates = await this.#candidates(after)
      sealed += await this.#sealEach(candidates)
      if (candidates.length < batch) return sealed
      after = candidates.at(-1)!.id
    }
  }

  /** Why somebody must look: who is broken, or lies, may say for ever that it still records. */
  get problem(): string | null {
    return this.#problem
  }

  /** Looks for sessions that ended long ago and are, says their process, still recorded. */
  async look(): Promise<void> {
    const late: string[] = []
    for (let after = ''; ; ) {
      const open = await this.#options.database.sql<{ id: string; session_id: string; now_ms: string }[]>`
        select id, session_id, (extract(epoch from clock_timestamp()) * 1000)::bigint::text as now_ms
        from recordings where state = 'open' and id > ${after} order by id limit ${batch}`
      if (open.length === 0) break
      const ended = await this.#options.sessionsEnded(open.map(each => each.session_id))
      for (const { session_id, now_ms } of open)
        if (Number(now_ms) - (ended.get(session_id) ?? Number.POSITIVE_INFINITY) > late_ms) late.push(session_id)
      after = open.at(-1)!.id
    }
    const some = late.slice(0, 3).join(', ')
    this.#problem =
      late.length === 0
        ? null
        : `${late.length === 1 ? 'the recording of a session that ended' : `the recordings of ${late.length} sessions that ended`} more than 15 minutes ago cannot be sealed: ${some}${late.length > 3 ? ', …' : ''}`
  }

  async #sealEach(candidates: readonly Candidate[]): Promise<number> {
    if (candidates.length === 0) return 0
    const ended = await this.#options.sessionsEnded(candidates.map(c => c.session_id))
    let sealed = 0
    for (const candidate of candidates) {
      const endedAt = ended.get(candidate.session_id)
      if (endedAt === undefined && !candidate.crashed) continue // between two connections
      try {
        if (await this.#seal(candidate.id, endedAt)) sealed++
      } catch (error) {
        log.error({ err: error, recording: candidate.id }, 'a recording could not be sealed; it is tried again')
      }
    }
    return sealed
  }

  /** Open recordings with no live part. `crashed`: a process died in it, so it is sealed without waiting for the session. */
  async #candidates(after: string): Promise<Candidate[]> {
    return await this.#options.database.sql<Candidate[]>`
      select r.id, r.session_id, bool_or(p.ended_at is null or p.ending = 'recovered') as crashed
      from recordings r join recording_parts p on p.recording_id = r.id left join processes c on c.id = p.process_id
      where r.state = 'open' and r.id > ${after}
      group by r.id
      having not bool_or(p.ended_at is null and coalesce(c.heartbeat_at > clock_timestamp() - make_interval(secs => ${this.#deadAfter}), false))
      order by r.id limit ${batch}`
  }

  get #deadAfter(): number {
    return this.#options.dead_after_s ?? sealing.dead_after_s
  }

  #seal(id: string, endedAtMs: number | undefined): Promise<boolean> {
    return this.#options.database.db.transaction(async tx => {
      const [recording] = await tx
        .select({ recording: recordings, now: nowMs })
        .from(recordings)
        .where(and(eq(recordings.id, id), eq(recordings.state, 'open')))
        .for('update')
      if (recording === undefined) return false
      const { session_id, subject_id, resource, seal_hash: former } = recording.recording
      const parts = await this.#parts(tx, id)
      if (parts === undefined) return false
      const whole = parts.every(
        part => part.ending === 'clean' && part.gaps.length === 0 && part.tail_missing_from === null,
      )
      const seal: Seal = {
        v: 1,
        recording_id: id,
        session_id,
        state: whole ? 'sealed' : 'interrupted',
        sealed_at_ms: Number(recording.now),
        former,
        parts,
      }
      const hash = sealHash(seal)
      for (const part of parts) {
        if (part.tail_missing_from === null) continue
        await tx
          .update(recordingParts)
          .set({ tail_missing_from: part.tail_missing_from })
          .where(isPart({ recording_id: id, part: part.part }))
      }
      await tx
        .update(recordings)
        .set({
          state: seal.state,
          seal,
          seal_hash: hash,
          sealed_at: sql`to_timestamp(${seal.sealed_at_ms}::double precision / 1000)`,
          ended_at: sql`to_timestamp(${endedAtMs || seal.sealed_at_ms}::double precision / 1000)`,
        })
        .where(eq(recordings.id, id))
      await this.#options.audit.record(tx, {
        type: seal.state === 'interrupted' && former === null ? 'recording.interrupted' : 'recording.sealed',
        body: {
          recording: id,
          state: seal.state,
          seal_hash: hash,
          former,
          parts: parts.length,
          segments: parts.reduce((sum, part) => sum + part.segments, 0),
          bytes: parts.reduce((sum, part) => sum + part.bytes, 0),
          tail_missing: parts
            .filter(p => p.tail_missing_from !== null)
            .map(p => ({ part: p.part, from_seq: p.tail_missing_from })),
        },
        subject_id,
        session_id,
        resource,
      })
      return true
    })
  }

  /** The parts as they are now, under the recording's lock; undefined when one of them lives after all. */
  async #parts(tx: Tx, id: string): Promise<SealedPart[] | undefined> {
    const rows = await tx
      .select({
        part: recordingParts,
        alive: sql<boolean>`exists (select 1 from processes c where c.id = ${recordingParts.process_id}
          and c.heartbeat_at > clock_timestamp() - make_interval(secs => ${this.#deadAfter}))`,
      })
      .from(recordingParts)
      .where(eq(recordingParts.recording_id, id))
      .orderBy(asc(recordingParts.part))
    const chains = await this.#chains(
      tx,
      id,
      rows.map(row => row.part.part),
    )
    const parts: SealedPart[] = []
    for (const { part, alive } of rows) {
      const ended = part.ended_at !== null
      if (!ended && alive) return undefined
      const chain = chains.get(part.part) ?? { segments: 0, last_seq: 0, head: '', bytes: 0 }
      // INVARIANT: what is sealed is what is there. Where the end of the part says otherwise, the seal says that something is missing.
      const isShort = ended && chain.last_seq !== (part.last_seq ?? 0)
      if (isShort)
        log.error(
          { recording: id, part: part.part, ended_at: part.last_seq, shipped: chain.last_seq },
          'the segments of a part do not end where the part did',
        )
      parts.push({
        part: part.part,
        part_id: part.part_id,
        ...(part.layer === 'originals' ? { layer: part.layer } : {}),
        process_id: part.process_id,
        started_at_ms: part.started_at_ms,
        ending: ended ? part.ending! : 'missing',
        ...chain,
        gaps: part.gaps,
        tail_missing_from: ended && !isShort ? part.tail_missing_from : chain.last_seq + 1,
      })
    }
    return parts
  }

  async #chains(tx: Tx, id: string, parts: readonly number[]) {
    const chains = new Map<number, Pick<SealedPart, 'segments' | 'last_seq' | 'head' | 'bytes'>>()
    if (parts.length === 0) return chains
    const rows = await tx
      .select({
        part: recordingSegments.part,
        segments: sql<number>`count(*)::int`,
        last_seq: sql<string>`max(${recordingSegments.last_seq})`,
        bytes: sql<string>`sum(${recordingSegments.bytes})`,
        head: sql<string>`(array_agg(${recordingSegments.hash} order by ${recordingSegments.n} desc))[1]`,
      })
      .from(recordingSegments)
      .where(and(eq(recordingSegments.recording_id, id), inArray(recordingSegments.part, [...parts])))
      .groupBy(recordingSegments.part)
    for (const row of rows) {
      chains.set(row.part, {
        segments: row.segments,
        last_seq: Number(row.last_seq),
        head: row.head,
        bytes: Number(row.bytes),
      })
    }
    return chains
  }
}
