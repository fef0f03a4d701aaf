import { sql } from 'drizzle-orm'
import { check, index, integer, jsonb, pgTable, text, timestamp, uniqueIndex } from 'drizzle-orm/pg-core'
import { integer53 } from '../db/columns.ts'
import { subjects } from '../identity/schema.ts'
import { decisions } from '../policy/schema.ts'

const at = () => timestamp({ withTimezone: true })

export type RequestState = 'pending' | 'approved' | 'denied' | 'expired' | 'cancelled'

export const requests = pgTable(
  'requests',
  {
    id: text().primaryKey(), // req_…
    subject_id: text()
      .notNull()
      .references(() => subjects.id),
    resource: text().notNull(),
    role: text().notNull(),
    duration_s: integer53().notNull(),
    reason: text().notNull(),
    ticket_ref: text(), // the number in the company's own ticket system
    hash: text().notNull(), // digest of what is asked; an approval binds it
    state: text().$type<RequestState>().notNull().default('pending'),
    terms: jsonb().$type<Record<string, unknown>>(), // approval terms shown to approvers (informative; decided anew each time)
    decision_id: text()
      .notNull()
      .references(() => decisions.id),
    via: text().notNull(), // slack | web | api | cli
    created_at: at().notNull().defaultNow(),
    expires_at: at().notNull(),
    ended_at: at(),
    ended_by: text(),
    outcome: text(),
  },
  t => [
    index().on(t.state, t.expires_at),
    index().on(t.subject_id),
    check('requests_state', sql`${t.state} in ('pending','approved','denied','expired','cancelled')`),
    check('requests_ended', sql`(${t.state} = 'pending') = (${t.ended_at} is null)`),
  ],
)

export const votes = pgTable(
  'votes',
  {
    id: text().primaryKey(), // vot_…
    request_id: text()
      .notNull()
      .references(() => requests.id),
    request_hash: text().notNull(),
    approver_id: text()
      .notNull()
      .references(() => subjects.id),
    stage: integer().notNull(),
    answer: text().$type<'approve' | 'deny'>().notNull(),
    via: text().notNull(),
    decision_id: text()
      .notNull()
      .references(() => decisions.id),
    at: at().notNull().defaultNow(),
  },
  t => [uniqueIndex('votes_one_a_person').on(t.request_id, t.approver_id)],
)

export const grants = pgTable(
  'grants',
  {
    id: text().primaryKey(), // grt_…
    request_id: text()
      .notNull()
      .references(() => requests.id),
    subject_id: text()
      .notNull()
      .references(() => subjects.id),
    resource: text().notNull(),
    role: text().notNull(),
    starts_at: at().notNull().defaultNow(),
    ends_at: at().notNull(),
    decision_id: text()
      .notNull()
      .references(() => decisions.id),
    revoked_at: at(),
    revoked_by: text(),
    revoke_reason: text(),
  },
  t => [
    uniqueIndex().on(t.request_id),
    index().on(t.subject_id, t.resource, t.role, t.ends_at),
    check('grants_interval', sql`${t.ends_at} > ${t.starts_at}`),
  ],
)
