import { sql } from 'drizzle-orm'
import { index, jsonb, pgTable, text, timestamp } from 'drizzle-orm/pg-core'
import { bytes, integer53 } from '../db/columns.ts'

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
  subject_line: text().notNull(),
  activated_at: timestamp({ withTimezone: true }).notNull().defaultNow(),
})

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

/**
 * The decision log. The id of an action decision of a session derives from what was asked and answered (engine.ts), so
 * every worker gives a repeat the same id and the row counts it: one row for each distinct (session, revision, input).
 */
export const decisions = pgTable(
  'decisions',
  {
    id: text().primaryKey(), // dec_…
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
    batch: text(), // evt_… of the audit leaf that covers an action decision
  },
  t => [
    index().on(t.at_ms),
    index().on(t.subject_id, t.at_ms),
    index().on(t.session_id),
    index('decisions_unbatched').on(t.at_ms).where(sql`batch is null and point = 'action'`),
  ],
)
