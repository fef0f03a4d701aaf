import { integer, pgTable, primaryKey, text, timestamp } from 'drizzle-orm/pg-core'
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
    purpose: text().notNull(), // approvers:<stage> | requester
    channel: text().notNull(),
    ts: text(), // null until posted
    wanted: text().notNull(),
    shown: text(),
    attempts: integer().notNull().default(0),
    next_try_at: timestamp({ withTimezone: true }).notNull().defaultNow(),
    last_error: text(),
  },
  t => [primaryKey({ columns: [t.request_id, t.purpose] })],
)
