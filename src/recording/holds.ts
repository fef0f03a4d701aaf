import { and, asc, eq, isNull, sql } from 'drizzle-orm'
import type { AuditWriter } from '../audit/events.ts'
import type { Database, Queryable, Tx } from '../db/database.ts'
import { SallyportError } from '../errors.ts'
import { newId } from '../ids.ts'
import { legalHolds, recordings } from './schema.ts'

export interface HoldRow {
  readonly id: string
  readonly session_id: string
  readonly case: string | null
  readonly reason: string
  readonly set_by: string
  readonly set_at_ms: number
  readonly lifted_by: string | null
  readonly lifted_at_ms: number | null
}

interface Acting {
  readonly database: Database
  readonly audit: AuditWriter
  readonly session_id: string
  readonly by: string
  readonly decision_id: string
}

/** Sets a legal hold: from its commit on the recording cannot be deleted. @throws `not_found`, or `gone` when it is too late. */
export function setHold(
  options: Acting & { readonly reason: string; readonly case?: string | undefined },
): Promise<HoldRow> {
  return options.database.db.transaction(async tx => {
    const recording = await lockRecording(tx, options.session_id)
    if (recording.state === 'deleted')
      throw new SallyportError('gone', `the recording of session ${options.session_id} was deleted before`)
    const id = newId('hld')
    const [row] = await tx
      .insert(legalHolds)
      .values({ id, recording_id: recording.id, case_ref: options.case, reason: options.reason, set_by: options.by })
      .returning()
    await options.audit.record(tx, {
      type: 'hold.set',
      body: {
        hold: id,
        recording: recording.id,
        case: options.case,
        reason: options.reason,
        decision: options.decision_id,
      },
      subject_id: options.by,
      session_id: options.session_id,
      resource: recording.resource,
    })
    return shown(row!, options.session_id)
  })
}

/** Lifts a legal hold. @throws `not_found` when there is none of this id, `conflict` when it was lifted before. */
export function liftHold(
  options: Acting & { readonly hold_id: string; readonly reason?: string | undefined },
): Promise<HoldRow> {
  return options.database.db.transaction(async tx => {
    const recording = await lockRecording(tx, options.session_id)
    const isHold = and(eq(legalHolds.id, options.hold_id), eq(legalHolds.recording_id, recording.id))
    const [found] = await tx.select().from(legalHolds).where(isHold)
    if (found === undefined) throw new SallyportError('not_found', `this recording has no hold ${options.hold_id}`)
    const [row] = await tx
      .update(legalHolds)
      .set({ lifted_by: options.by, lifted_at: sql`clock_timestamp()` })
      .where(and(isHold, isNull(legalHolds.lifted_at)))
      .returning()
    if (row === undefined) throw new SallyportError('conflict', `the hold ${options.hold_id} was lifted before`)
    await options.audit.record(tx, {
      type: 'hold.lifted',
      body: {
        hold: row.id,
        recording: recording.id,
        case: row.case_ref ?? undefined,
        reason: options.reason,
        decision: options.decision_id,
      },
      subject_id: options.by,
      session_id: options.session_id,
      resource: recording.resource,
    })
    return shown(row, options.session_id)
  })
}

export async function listHolds(db: Queryable, sessionId: string): Promise<HoldRow[]> {
  const rows = await db
    .select({ hold: legalHolds })
    .from(legalHolds)
    .innerJoin(recordings, eq(recordings.id, legalHolds.recording_id))
    .where(eq(recordings.session_id, sessionId))
    .orderBy(asc(legalHolds.set_at))
  return rows.map(row => shown(row.hold, sessionId))
}

/** Holds that stand now, of one case or of all, oldest first. */
export async function standingHolds(db: Queryable, caseRef?: string): Promise<HoldRow[]> {
  const rows = await db
    .select({ hold: legalHolds, session_id: recordings.session_id })
    .from(legalHolds)
    .innerJoin(recordings, eq(recordings.id, legalHolds.recording_id))
    .where(and(isNull(legalHolds.lifted_at), caseRef === undefined ? undefined : eq(legalHolds.case_ref, caseRef)))
    .orderBy(asc(legalHolds.set_at))
    .limit(1000)
  return rows.map(row => shown(row.hold, row.session_id))
}

/** The same lock that shipping, sealing and deleting take: a hold is before a deletion or after it, never in between. */
async function lockRecording(tx: Tx, sessionId: string): Promise<{ id: string; state: string; resource: string }> {
  const [row] = await tx
    .select({ id: recordings.id, state: recordings.state, resource: recordings.resource })
    .from(recordings)
    .where(eq(recordings.session_id, sessionId))
    .for('update')
  if (row === undefined) throw new SallyportError('not_found', `there is no recording of session ${sessionId}`)
  return row
}

function shown(row: typeof legalHolds.$inferSelect, session_id: string): HoldRow {
  const { id, case_ref, reason, set_by, set_at, lifted_by, lifted_at } = row
  return {
    id,
    session_id,
    case: case_ref,
    reason,
    set_by,
    set_at_ms: set_at.getTime(),
    lifted_by,
    lifted_at_ms: lifted_at?.getTime() ?? null,
  }
}
