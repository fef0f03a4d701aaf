import { sql } from 'drizzle-orm'
import { check, date, index, jsonb, pgTable, primaryKey, text, timestamp } from 'drizzle-orm/pg-core'
import { bytes, integer53, lexemes } from '../db/columns.ts'

/** Compiled commits in the order of their activation; the active one is that of the highest generation. */
export const revisions = pgTable('revisions', {
  generation: integer53().primaryKey(),
  commit: text().notNull(),
  digest: text().notNull(),
  opa_version: text().notNull(),
  opts: integer53().notNull(),
  bundle: bytes().notNull(), // the compiled bundle, as policy/README.md describes
  rules: jsonb().$type<Record<string, { file: string; line: number }>>().notNull(), // rule id → place
  signature: bytes().notNull(), // Ed25519 over canonical {generation, commit, digest}
  author: text().notNull(),
  signer: text(), // whose signature was verified; null where none was demanded
  subject_line: text().notNull(),
  sources: bytes(), // gzipped tar of what was compiled (revision-sources.ts); null: activated before it was kept
  kind: text().$type<RevisionKind>().notNull().default('followed'),
  reused: integer53(), // generation whose bundle this is, where none was compiled
  ends_at: timestamp({ withTimezone: true }), // of a recovery: nothing is decided by it after that
  activated_at: timestamp({ withTimezone: true }).notNull().defaultNow(),
})

/** How a revision came into force: by the tracked ref, by somebody's hand, by `recover`, or back after a recovery. */
export type RevisionKind = 'followed' | 'pinned' | 'rolled_back' | 'recovery' | 'returned'

/** One row: what is followed and what holds it. Whoever changes it holds the activation lock (revision-store.ts). */
export const policyState = pgTable('policy_state', {
  id: integer53().primaryKey(), // always 1
  followed: text(), // newest commit that came into force because the tracked ref named it
  acknowledged: text(), // commit off that history which somebody pinned: its descendants may be followed
  pinned: text(), // commit that is held, whatever the ref names
  pinned_generation: integer53(),
  pinned_kind: text().$type<'pinned' | 'rolled_back'>(),
  pinned_by: text(), // subject
  pinned_at: timestamp({ withTimezone: true }),
  pin_reason: text(),
  recovery_generation: integer53(), // of `sallyport recover`, while it lasts
  recovery_by: text(), // user and host
  recovery_reason: text(),
  recovery_ends_at: timestamp({ withTimezone: true }),
  looked_at: timestamp({ withTimezone: true }), // the last look at the repository that was answered
  looked_by: text(), // prc_…
  head: text(), // what the ref named then
  problem: text(), // why the newest look failed; null: it did not
  current_at: timestamp({ withTimezone: true }), // when what was in force was last what the ref named, or was held by hand
})

/** What people are told besides the log: written with what it tells of, delivered with patience (notices.ts). */
export const policyNotices = pgTable(
  'policy_notices',
  {
    id: text().primaryKey(), // evt_…
    key: text().notNull().unique(), // the same news is told once
    message: text().notNull(),
    at: timestamp({ withTimezone: true }).notNull().defaultNow(),
    attempts: integer53().notNull().default(0),
    next_try_at: timestamp({ withTimezone: true }).notNull().defaultNow(),
    last_error: text(),
    delivered_at: timestamp({ withTimezone: true }),
  },
  t => [index('policy_notices_due').on(t.next_try_at).where(sql`delivered_at is null`)],
)

/** Commits that did not pass the gate, with the reasons. The newest row of a commit is its last try. */
export const revisionFailures = pgTable(
  'revision_failures',
  {
    id: text().primaryKey(), // evt_…
    commit: text().notNull(),
    problems: jsonb().$type<{ file?: string; line?: number; code: string; message: string }[]>().notNull(),
    at: timestamp({ withTimezone: true }).notNull().defaultNow(),
  },
  t => [index().on(t.at)],
)

const decisionColumns = () => ({
  id: text().notNull(), // dec_…
  at_ms: integer53().notNull(),
  point: text().notNull(),
  effect: text().$type<'allow' | 'deny' | 'ask' | 'data'>().notNull(),
  code: text().notNull(), // reason code: 'policy' or why the engine denied on its own
  generation: integer53().references(() => revisions.generation), // null: no revision was there
  commit: text(),
  digest: text(),
  input_digest: text().notNull(),
  input: text().notNull(), // canonical JSON
  result: text().notNull(), // canonical JSON
  reasons: jsonb().$type<{ rule: string; message: string; remedy?: string; at?: string }[]>().notNull(),
  subject_id: text(),
  resource: text(),
  session_id: text(),
  request_id: text(),
  count: integer53().notNull().default(1),
  batch: text(), // evt_… of the audit leaf that covers it; null: waits for one
  erased: jsonb().$type<string[]>().notNull().default([]), // JSON pointers that `decision_log` had left out
  masked: jsonb().$type<string[]>().notNull().default([]),
  words: lexemes().notNull().default(''), // what it is found by: decision-words.ts
  seq: integer53(), // its place in the exports; null: not placed yet (export/places.ts)
})

/** The decisions of all points but `action`. What grants, opens or votes refers to its row. */
export const decisions = pgTable('decisions', { ...decisionColumns(), id: text().primaryKey() }, t => [
  // A page of the newest, for each thing that is asked for alone; what is asked for together the planner puts together.
  index('decisions_newest').on(t.at_ms, t.id),
  index('decisions_of_subject').on(t.subject_id, t.at_ms, t.id),
  index('decisions_of_resource').on(t.resource, t.at_ms, t.id),
  index('decisions_of_session').on(t.session_id, t.at_ms, t.id),
  index('decisions_of_request').on(t.request_id).where(sql`request_id is not null`),
  index('decisions_of_revision').on(t.generation, t.at_ms, t.id),
  index('decisions_not_allowed').on(t.effect, t.at_ms, t.id).where(sql`effect in ('deny', 'ask')`),
  index('decisions_words').using('gin', t.words),
  index('decisions_of_batch').on(t.batch).where(sql`batch is not null`),
  index('decisions_unbatched').on(t.at_ms).where(sql`batch is null`),
  index('decisions_placed').on(t.seq).where(sql`seq is not null`),
  index('decisions_unplaced').on(t.at_ms).where(sql`seq is null`),
])

/**
 * The decisions of what sessions do, a partition for each day on which a session began (decision-days.ts). The id derives
 * from what was asked and answered (decision-id.ts) and the day from the session, so every worker gives a repeat the same
 * row, and the row counts it: one for each distinct (session, revision, input). Nothing refers to them by a foreign key.
 */
export const actionDecisions = pgTable(
  'action_decisions',
  { ...decisionColumns(), day: date({ mode: 'string' }).notNull() },
  t => [
    primaryKey({ columns: [t.id, t.day] }),
    check('action_decisions_point', sql`point = 'action'`),
    index('action_decisions_newest').on(t.at_ms, t.id),
    index('action_decisions_of_subject').on(t.subject_id, t.at_ms, t.id),
    index('action_decisions_of_resource').on(t.resource, t.at_ms, t.id),
    index('action_decisions_of_session').on(t.session_id, t.at_ms, t.id),
    index('action_decisions_of_revision').on(t.generation, t.at_ms, t.id),
    index('action_decisions_not_allowed').on(t.effect, t.at_ms, t.id).where(sql`effect in ('deny', 'ask')`),
    index('action_decisions_words').using('gin', t.words),
    index('action_decisions_of_batch').on(t.batch).where(sql`batch is not null`),
    index('action_decisions_unbatched').on(t.at_ms).where(sql`batch is null`),
    index('action_decisions_placed').on(t.seq).where(sql`seq is not null`),
    index('action_decisions_unplaced').on(t.at_ms).where(sql`seq is null`),
  ],
)

/**
 * What is left of a batch of decisions of which retention has deleted some: the leaf hashes of all of them, in their order,
 * so that those that stay still have their path to the root. Made when the first goes, gone with the last.
 */
export const decisionBatches = pgTable('decision_batches', {
  event: text().primaryKey(), // evt_… of the batch
  hashes: bytes().notNull(), // 32 bytes each
})

/** How far each export of the decision log is. What is not exported yet is not deleted (decision-retention.ts). */
export const decisionExports = pgTable('decision_exports', {
  name: text().primaryKey(),
  seq: integer53().notNull().default(0), // all places up to this one are where they belong
  exported_at: timestamp({ withTimezone: true }),
  leased_by: text(), // prc_…: one process sends at a time, so that the order is kept
  leased_until: timestamp({ withTimezone: true }),
  failing_since: timestamp({ withTimezone: true }),
  alarmed_at: timestamp({ withTimezone: true }), // somebody was told that it fails
  last_error: text(),
})

/** One row: the last place that was given. Whoever gives places holds its lock, so that they are visible in their order. */
export const decisionPlaces = pgTable('decision_places', {
  id: integer53().primaryKey(), // always 1
  last: integer53().notNull(),
})

export { shadowCounts, shadowDivergences, shadowRevisions } from './shadow/schema.ts'
