import { sql } from 'drizzle-orm'
import {
  bigint,
  boolean,
  check,
  index,
  integer,
  jsonb,
  pgTable,
  primaryKey,
  text,
  timestamp,
  uniqueIndex,
} from 'drizzle-orm/pg-core'
import { bytes, integer53, lexemes } from '../db/columns.ts'
import type { Seal } from './format/seal.ts'
import type { Layer } from './format/segment.ts'
import type { Receipt } from './receipt.ts'

const at = () => timestamp({ withTimezone: true })

/** One recording for each session. Session facts are kept by value: this room imports nothing from sessions/. */
export const recordings = pgTable(
  'recordings',
  {
    id: text().primaryKey(), // rec_…
    session_id: text().notNull(),
    subject_id: text().notNull(),
    subject_name: text().notNull(),
    resource: text().notNull(),
    labels: jsonb().$type<Record<string, string>>().notNull().default({}),
    role: text().notNull(),
    protocol: text().notNull(),
    settings: jsonb().$type<Record<string, unknown>>().notNull(), // result of the `recording` point
    decision_id: text().notNull(),
    started_at: at().notNull().defaultNow(),
    ended_at: at(), // session end, null while it lives
    sealed_at: at(), // database time of the seal; retention counts from here
    state: text().$type<'open' | 'sealed' | 'interrupted' | 'deleted'>().notNull().default('open'),
    seal: jsonb().$type<Seal>(), // the last seal; a renewed one refers to the former
    seal_hash: text(),
    bytes: integer53().notNull().default(0),
    receipt: jsonb().$type<Receipt>(), // after deletion: what, under which revision, hold checked, key destroyed
    deleted_at: at(),
    kept_seal: text(), // seal for which the store was told how long to keep it
    kept_until_ms: integer53(), // until when the store itself refuses to remove it
    kept_hold: boolean().notNull().default(false), // whether the store was told of a legal hold
  },
  t => [
    uniqueIndex().on(t.session_id),
    index().on(t.state, t.sealed_at),
    index().on(t.subject_id),
    index('recordings_not_kept')
      .on(t.id)
      .where(sql`state in ('sealed', 'interrupted') and kept_seal is distinct from seal_hash`),
    index('recordings_held_in_store').on(t.id).where(sql`kept_hold`),
  ],
)

/**
 * One part for each process that served the session, and one more for the originals it kept; `spool` names the journal's
 * owner.
 */
export const recordingParts = pgTable(
  'recording_parts',
  {
    recording_id: text()
      .notNull()
      .references(() => recordings.id),
    part: integer().notNull(),
    process_id: text().notNull(),
    spool: text().notNull(), // id of the spool folder, stable over restarts of its owner
    started_at_ms: integer53().notNull(),
    layer: text().$type<Layer>().notNull().default('masked'), // who may open it: `originals` has other recipients
    part_id: text().notNull(), // 32 hex digits, in the header of each record and segment
    ended_at: at(), // when everything that will ever come of it was shipped
    ending: text().$type<'clean' | 'lost' | 'recovered'>(), // lost: cut by its own recorder; recovered: its process died
    end_reason: text(),
    last_seq: integer53(), // known at the end
    gaps: jsonb().$type<{ from_seq: number; to_seq: number }[]>().notNull().default([]),
    tail_missing_from: integer53(), // set by a seal that had no tail
  },
  t => [
    primaryKey({ columns: [t.recording_id, t.part] }),
    uniqueIndex().on(t.part_id),
    index('recording_parts_open').on(t.process_id).where(sql`ended_at is null`),
  ],
)

export const recordingSegments = pgTable(
  'recording_segments',
  {
    recording_id: text().notNull(),
    part: integer().notNull(),
    n: integer().notNull(),
    first_seq: integer53().notNull(),
    last_seq: integer53().notNull(),
    bytes: integer53().notNull(),
    hash: text().notNull(), // SHA-256 of the stored segment
    prev: text().notNull(), // hash of the one before, '' for the first
    key: text().notNull(), // name in the store
    shipped_at: at().notNull().defaultNow(),
  },
  t => [primaryKey({ columns: [t.recording_id, t.part, t.n] })],
)

/** Wrapped keys lie here and not in the container: destroying the row destroys every copy of the recording. */
export const recordingKeys = pgTable(
  'recording_keys',
  {
    recording_id: text().notNull(),
    part: integer().notNull(),
    wrapped: bytes(), // an age file for the recipients of the part's layer; null once destroyed
    destroyed_at: at(),
  },
  t => [primaryKey({ columns: [t.recording_id, t.part] })],
)

/** Who follows a live recording now. Written by the replay process alone, and beaten each second while it is true. */
export const recordingWatches = pgTable(
  'recording_watches',
  {
    decision_id: text().primaryKey(), // that let them: one for each opening
    session_id: text().notNull(),
    subject_id: text().notNull(),
    on_behalf_of: text(),
    process_id: text().notNull(),
    seen_at: at().notNull().defaultNow(),
  },
  t => [index().on(t.session_id)],
)

/** What sessions said, masked: written by the replay process, which alone reads it; it goes with its recording. */
export const recordingTexts = pgTable(
  'recording_texts',
  {
    id: bigint({ mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(), // the newest text has the highest
    recording_id: text()
      .notNull()
      .references(() => recordings.id),
    part: integer().notNull(),
    seq: integer53().notNull(),
    at_ms: integer53().notNull(),
    conn: text().notNull(),
    kind: text().notNull(),
    text: text().notNull(),
    words: lexemes().notNull(),
  },
  t => [
    uniqueIndex('recording_texts_event').on(t.recording_id, t.part, t.seq),
    index('recording_texts_words').using('gin', t.words),
  ],
)

/** Which recordings have been read for their texts, up to which seal. */
export const recordingIndexes = pgTable('recording_indexes', {
  recording_id: text()
    .primaryKey()
    .references(() => recordings.id),
  seal_hash: text(), // of the seal whose events are all in; null while none is
  claimed_by: text().notNull(), // prc_…
  claimed_until: at().notNull(),
  indexed_at: at(),
  problem: text(), // why not all of it is found
})

export const legalHolds = pgTable(
  'legal_holds',
  {
    id: text().primaryKey(), // hld_…
    recording_id: text()
      .notNull()
      .references(() => recordings.id),
    case_ref: text(), // the case for which it is held, in the company's own words
    reason: text().notNull(),
    set_by: text().notNull(),
    set_at: at().notNull().defaultNow(),
    lifted_by: text(),
    lifted_at: at(),
  },
  t => [
    index().on(t.recording_id),
    index('legal_holds_standing').on(t.recording_id).where(sql`lifted_at is null`),
    index('legal_holds_of_case').on(t.case_ref).where(sql`case_ref is not null`),
  ],
)

/** The shortest time that a class is kept, whatever policy says. It is raised by one person and lowered by two. */
export const retentionFloors = pgTable('retention_floors', {
  class: text().primaryKey(),
  keep_s: integer53().notNull(),
  set_by: text().notNull(),
  set_at: at().notNull().defaultNow(),
})

/** What one person proposes and another confirms. INVARIANT: nobody confirms their own proposal; the database says so too. */
export const proposals = pgTable(
  'proposals',
  {
    id: text().primaryKey(), // prp_…
    kind: text().$type<'floor' | 'erasure'>().notNull(),
    body: jsonb().$type<Record<string, string | number>>().notNull(),
    reason: text().notNull(),
    state: text().$type<'pending' | 'confirmed' | 'refused' | 'expired'>().notNull().default('pending'),
    proposed_by: text().notNull(),
    proposed_at: at().notNull().defaultNow(),
    expires_at: at().notNull(),
    answered_by: text(),
    answered_at: at(),
    decision_id: text(), // the `admin` decision that let the second person answer
    progress: jsonb().$type<Record<string, unknown>>().notNull().default({}),
    done_at: at(),
  },
  t => [
    index('proposals_under_way').on(t.id).where(sql`done_at is null and state in ('pending', 'confirmed')`),
    check(
      'proposals_two_people',
      sql`${t.answered_by} is null or ${t.state} <> 'confirmed' or ${t.answered_by} <> ${t.proposed_by}`,
    ),
  ],
)
