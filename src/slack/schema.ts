import { sql } from 'drizzle-orm'
import { index, integer, pgTable, primaryKey, text, timestamp } from 'drizzle-orm/pg-core'
import { requests } from '../approvals/schema.ts'

/** Signed Slack requests seen in the last minutes: an exact replay has no second effect. */
export const slackSeen = pgTable('slack_seen', {
  signature: text().primaryKey(),
  at: timestamp({ withTimezone: true }).notNull().defaultNow(),
})

/** Messages we must change later: where a request was posted. `wanted` is what it should show, `shown` what it shows. */
export const slackMessages = pgTable(
  'slack_messages',
  {
    request_id: text()
      .notNull()
      .references(() => requests.id),
    purpose: text().notNull(), // approvers:<stage> | requester | review | review:overdue | review:flagged
    channel: text().notNull(),
    ts: text(), // null until posted
    state: text().notNull(), // the request's state and number of votes that `wanted` shows
    wanted: text().notNull(), // canonical JSON of the message
    shown: text(),
    attempts: integer().notNull().default(0), // failed ones in a row
    next_try_at: timestamp({ withTimezone: true }).notNull().defaultNow(),
    last_error: text(),
  },
  t => [
    primaryKey({ columns: [t.request_id, t.purpose] }),
    index('slack_messages_due').on(t.next_try_at).where(sql`shown is distinct from wanted`),
  ],
)
