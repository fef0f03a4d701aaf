import { index, jsonb, pgTable, primaryKey, text, timestamp, uniqueIndex } from 'drizzle-orm/pg-core'
import { bytes } from '../db/columns.ts'

const at = () => timestamp({ withTimezone: true })

/** People and machines. The key of a person is (issuer, subject); e-mail and name find nobody. */
export const subjects = pgTable(
  'subjects',
  {
    id: text().primaryKey(), // sub_…
    kind: text().$type<'person' | 'machine' | 'system'>().notNull(),
    issuer: text().notNull(),
    subject: text().notNull(),
    name: text().notNull(),
    email: text(),
    email_verified: text().$type<'yes' | 'no'>().notNull().default('no'),
    groups: jsonb().$type<string[]>().notNull().default([]),
    groups_at: at().notNull().defaultNow(),
    claims: jsonb().$type<Record<string, unknown>>().notNull().default({}),
    created_at: at().notNull().defaultNow(),
    disabled_at: at(),
    left_at: at(), // the identity provider ended the person's session there: until the next sign-in they act nowhere
    sign_in_again_at: at(), // the line to the identity provider broke: no new access until the next sign-in, what lives goes on for a while
  },
  t => [uniqueIndex().on(t.issuer, t.subject)],
)

/** Sign-ins that are under way: state → what the callback needs, sealed. */
export const signIns = pgTable('sign_ins', {
  state_hash: bytes().primaryKey(),
  sealed: bytes().notNull(), // {nonce, verifier, return_to, kind, …} under the cookie key
  expires_at: at().notNull(),
})

/** Web and CLI sessions: the cookie or bearer is stored as its hash only. */
export const webSessions = pgTable(
  'web_sessions',
  {
    token_hash: bytes().primaryKey(),
    subject_id: text()
      .notNull()
      .references(() => subjects.id),
    kind: text().$type<'web' | 'cli'>().notNull(),
    created_at: at().notNull().defaultNow(),
    seen_at: at().notNull().defaultNow(),
    expires_at: at().notNull(),
    user_agent: text(),
  },
  t => [index().on(t.subject_id), index().on(t.expires_at)],
)

/** One sealed refresh token for each person, used to refresh groups while a session lives. */
export const refreshTokens = pgTable('refresh_tokens', {
  subject_id: text()
    .primaryKey()
    .references(() => subjects.id),
  sealed: bytes().notNull(),
  refreshed_at: at().notNull().defaultNow(),
  next_at: at().notNull().defaultNow(),
  failures: text(), // last error, null when the last refresh worked
  unanswered_at: at(), // a refresh was asked for then and no answer came since: its token may have been exchanged there
})

/** API tokens of machines (and of people, acting as themselves). Scopes only subtract. */
export const apiTokens = pgTable(
  'api_tokens',
  {
    id: text().primaryKey(), // tok_…
    subject_id: text()
      .notNull()
      .references(() => subjects.id),
    name: text().notNull(),
    hash: bytes().notNull(),
    scopes: jsonb().$type<string[]>().notNull(),
    created_by: text().notNull(),
    issued_with: text(), // the token that issued this one: it ends with that one
    created_at: at().notNull().defaultNow(),
    expires_at: at().notNull(),
    revoked_at: at(),
    used_at: at(),
  },
  t => [index().on(t.subject_id), index().on(t.issued_with)],
)

/** A Slack account (team, user) bound to a subject from the signed-in web page. */
export const slackBindings = pgTable(
  'slack_bindings',
  {
    team_id: text().notNull(),
    user_id: text().notNull(),
    subject_id: text()
      .notNull()
      .references(() => subjects.id),
    bound_at: at().notNull().defaultNow(),
  },
  t => [primaryKey({ columns: [t.team_id, t.user_id] }), uniqueIndex().on(t.subject_id)],
)

export const slackLinkCodes = pgTable('slack_link_codes', {
  code_hash: bytes().primaryKey(),
  subject_id: text()
    .notNull()
    .references(() => subjects.id),
  expires_at: at().notNull(),
  used_at: at(),
})
