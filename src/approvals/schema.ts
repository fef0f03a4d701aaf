import { sql } from 'drizzle-orm'
import {
  check,
  foreignKey,
  index,
  integer,
  jsonb,
  pgTable,
  text,
  timestamp,
  unique,
  uniqueIndex,
} from 'drizzle-orm/pg-core'
import { integer53 } from '../db/columns.ts'
import { subjects } from '../identity/schema.ts'
import type { ActionFacts, ApprovalTerms, ResourceFacts, SubjectFacts } from '../policy/points.ts'
import { decisions } from '../policy/schema.ts'

const at = () => timestamp({ withTimezone: true })

/** What came of looking at a grant: nothing wrong, or something to follow up. */
export type ReviewAnswer = 'accept' | 'flag'

export type RequestState = 'pending' | 'approved' | 'denied' | 'expired' | 'cancelled'

/** What is asked for: a role for a while, or that one action goes on now. */
export type RequestKind = 'access' | 'hold'

export const requests = pgTable(
  'requests',
  {
    id: text().primaryKey(), // req_…
    kind: text().$type<RequestKind>().notNull().default('access'),
    subject_id: text()
      .notNull()
      .references(() => subjects.id),
    on_behalf_of: text(), // the person for whom a machine asked
    resource: text().notNull(),
    role: text().notNull(),
    duration_s: integer53().notNull(),
    reason: text().notNull(),
    ticket_ref: text(), // the number in the company's own ticket system
    hash: text().notNull(), // digest of what is asked; an approval binds it
    state: text().$type<RequestState>().notNull().default('pending'),
    terms: jsonb().$type<ApprovalTerms>(), // approval terms shown to approvers (informative; decided anew each time)
    decision_id: text()
      .notNull()
      .references(() => decisions.id),
    via: text().notNull(), // slack | web | api | cli
    client: jsonb().$type<{ address: string; application: string; via: string }>().notNull(),
    created_at: at().notNull().defaultNow(),
    expires_at: at().notNull(),
    ended_at: at(),
    ended_by: text(),
    outcome: text(),
  },
  t => [
    index().on(t.state, t.expires_at),
    index().on(t.subject_id, t.id),
    index().on(t.decision_id), // asked for when a decision is deleted
    index('requests_released').on(t.expires_at).where(sql`kind = 'hold' and state = 'approved'`),
    unique('requests_identity').on(t.id, t.subject_id, t.resource, t.role),
    unique('requests_requester').on(t.id, t.subject_id),
    check(
      'requests_bounds',
      sql`length(${t.reason}) between 1 and 2000 and (${t.duration_s} >= 60 or (${t.kind} = 'hold' and ${t.duration_s} = 0))`,
    ),
    check('requests_kind', sql`${t.kind} in ('access','hold')`),
    check('requests_state', sql`${t.state} in ('pending','approved','denied','expired','cancelled')`),
    check('requests_ended', sql`(${t.state} = 'pending') = (${t.ended_at} is null)`),
  ],
)

/** What approvers see of an action that waits. */
export interface ShownPart {
  readonly label: string
  readonly lines: readonly string[]
  readonly more?: number
}

/** What is decided again with each vote: the actions that ask, and the session facts fixed at connect. */
export interface HeldActions {
  readonly subject: SubjectFacts
  readonly resource: ResourceFacts
  readonly role: string
  readonly actions: readonly ActionFacts[]
}

/** An action of a connection that waits: a request of the kind `hold` is about it. The gateway that serves it writes its row. */
export const holds = pgTable(
  'holds',
  {
    request_id: text()
      .primaryKey()
      .references(() => requests.id),
    session_id: text().notNull(), // ses_… and con_… of a higher room, which the row rules check (db/grants.ts)
    connection_id: text().notNull(),
    process_id: text().notNull(), // prc_…: the one that waits for the answer
    text: text(), // as masking lets it be shown; null where policy records none
    shown: jsonb().$type<readonly ShownPart[]>().notNull(),
    held: jsonb().$type<HeldActions>().notNull(), // the hash of the request covers all that is above
    decision_id: text().notNull(), // dec_…, the `action` decision that asked, or asked last
    seen_at: at().notNull().defaultNow(), // when its process still waited
    released_at: at(), // INVARIANT: set once, by the process that lets it go on, while request, session and grant carry it (trigger holds_once)
    unused: text(), // why it did not go on although it was approved; set once
  },
  t => [index().on(t.session_id)],
)

export const votes = pgTable(
  'votes',
  {
    id: text().primaryKey(), // vot_…
    request_id: text()
      .notNull()
      .references(() => requests.id),
    request_hash: text().notNull(),
    requester_id: text().notNull(), // the request's subject (foreign key), so that a check can keep the approver from being it
    approver_id: text()
      .notNull()
      .references(() => subjects.id),
    groups: jsonb().$type<string[]>().notNull(), // the approver's at the click, which is when the right was decided
    stage: integer().notNull(),
    answer: text().$type<'approve' | 'deny'>().notNull(),
    via: text().notNull(),
    decision_id: text()
      .notNull()
      .references(() => decisions.id),
    at: at().notNull().defaultNow(),
  },
  t => [
    uniqueIndex('votes_one_a_person').on(t.request_id, t.approver_id),
    index().on(t.decision_id),
    foreignKey({
      name: 'votes_requester',
      columns: [t.request_id, t.requester_id],
      foreignColumns: [requests.id, requests.subject_id],
    }),
    check('votes_not_own', sql`${t.approver_id} <> ${t.requester_id}`),
    check('votes_answer', sql`${t.answer} in ('approve','deny')`),
  ],
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
    ended_at: at(), // set once its end was announced: at revocation, or by the sweeper after ends_at
  },
  t => [
    uniqueIndex().on(t.request_id),
    index().on(t.decision_id),
    unique('grants_identity').on(t.id, t.subject_id, t.resource, t.role),
    index('grants_open').on(t.ends_at).where(sql`ended_at is null`),
    foreignKey({
      name: 'grants_of_request', // a grant gives what was asked for, to whom asked
      columns: [t.request_id, t.subject_id, t.resource, t.role],
      foreignColumns: [requests.id, requests.subject_id, requests.resource, requests.role],
    }),
    check(
      'grants_revoked',
      sql`(${t.revoked_at} is null) = (${t.revoked_by} is null) and (${t.revoked_at} is null or ${t.ended_at} is not null)`,
    ),
    index().on(t.subject_id, t.resource, t.role, t.ends_at),
    check('grants_interval', sql`${t.ends_at} > ${t.starts_at}`),
  ],
)

/** What policy wanted looked at afterwards: opened with its grant, answered once, never by whom it is about. */
export const reviews = pgTable(
  'reviews',
  {
    id: text().primaryKey(), // rvw_…
    grant_id: text()
      .notNull()
      .references(() => grants.id),
    request_id: text().notNull(),
    subject_id: text().notNull(), // of the request (foreign key), so that a check can keep the answer from being theirs
    reviewers: jsonb().$type<string[]>().notNull(), // groups and subjects that policy named when it gave the grant
    channel: text().notNull(),
    decision_id: text()
      .notNull()
      .references(() => decisions.id), // the `access` decision that gave the grant
    opened_at: at().notNull().defaultNow(),
    due_at: at().notNull(),
    overdue_at: at(), // set once that was announced
    answer: text().$type<ReviewAnswer>(),
    answered_at: at(),
    answered_by: text().references(() => subjects.id),
    answer_reason: text(),
    answer_via: text(),
    answer_decision_id: text().references(() => decisions.id),
  },
  t => [
    uniqueIndex().on(t.grant_id),
    uniqueIndex().on(t.request_id),
    index('reviews_open').on(t.due_at).where(sql`answered_at is null`),
    index().on(t.decision_id), // asked for when a decision is deleted
    index().on(t.answer_decision_id),
    foreignKey({
      name: 'reviews_of_request',
      columns: [t.request_id, t.subject_id],
      foreignColumns: [requests.id, requests.subject_id],
    }),
    check('reviews_not_own', sql`${t.answered_by} <> ${t.subject_id}`),
    check('reviews_answer', sql`${t.answer} in ('accept','flag')`),
    check(
      'reviews_answered',
      sql`num_nulls(${t.answer}, ${t.answered_at}, ${t.answered_by}, ${t.answer_reason}, ${t.answer_via}, ${t.answer_decision_id}) in (0, 6)`,
    ),
  ],
)
