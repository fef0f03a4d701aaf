import { sql } from 'drizzle-orm'
import { index, jsonb, pgTable, primaryKey, text, timestamp } from 'drizzle-orm/pg-core'
import { bytes, integer53 } from '../../db/columns.ts'
import type { Side } from '../impact/compare.ts'

/** Candidate policies that are weighed beside the active ones and enforce nothing; the newest that has not ended counts. */
export const shadowRevisions = pgTable('shadow_revisions', {
  number: integer53().primaryKey(),
  commit: text().notNull(),
  digest: text(), // null: it did not pass the gate
  bundle: bytes(),
  signature: bytes(), // Ed25519 over canonical {shadow, commit, digest}
  author: text().notNull(),
  subject_line: text().notNull(),
  problems: jsonb().$type<{ file?: string; line?: number; code: string; message: string }[]>().notNull().default([]),
  at: timestamp({ withTimezone: true }).notNull().defaultNow(),
  ended_at: timestamp({ withTimezone: true }), // the setting was taken away
})

/** What each process weighed of a shadow, and what it could not. */
export const shadowCounts = pgTable(
  'shadow_counts',
  {
    number: integer53()
      .notNull()
      .references(() => shadowRevisions.number, { onDelete: 'cascade' }),
    process_id: text().notNull(), // prc_…
    judged: integer53().notNull().default(0),
    diverged: integer53().notNull().default(0),
    skipped: integer53().notNull().default(0), // decisions that came faster than they were weighed
    left: integer53().notNull().default(0), // divergences whose group is not kept
    at: timestamp({ withTimezone: true }).notNull().defaultNow(),
  },
  t => [primaryKey({ columns: [t.number, t.process_id] })],
)

/** Divergences that are the same for a reader, under one active revision. */
export const shadowDivergences = pgTable(
  'shadow_divergences',
  {
    number: integer53()
      .notNull()
      .references(() => shadowRevisions.number, { onDelete: 'cascade' }),
    generation: integer53().notNull(), // that decided
    key: text().notNull(), // SHA-256 of what makes two the same (impact/groups.ts)
    point: text().notNull(),
    change: text().notNull(),
    subject: jsonb().$type<{ id: string; name: string } | null>(),
    resource: text(),
    role: text(),
    before: jsonb().$type<Side>().notNull(),
    after: jsonb().$type<Side>().notNull(),
    details: jsonb().$type<string[]>().notNull(),
    count: integer53().notNull(),
    first_at_ms: integer53().notNull(),
    last_at_ms: integer53().notNull(),
    examples: jsonb().$type<string[]>().notNull(), // dec_…
  },
  t => [
    primaryKey({ columns: [t.number, t.generation, t.key] }),
    index('shadow_divergences_most').on(t.number, t.generation, sql`${t.count} desc`),
  ],
)
