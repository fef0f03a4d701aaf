import { index, jsonb, pgTable, text, timestamp } from 'drizzle-orm/pg-core'
import { integer53, ownerColumn } from './columns.ts'

/** One row for each running process of ours: who it is, that it lives, which revision it runs. */
export const processes = pgTable(
  'processes',
  {
    id: text().primaryKey(), // prc_…
    role: text().notNull(), // control | gateway | replay
    host: text().notNull(),
    pid: integer53().notNull(),
    started_at: timestamp({ withTimezone: true }).notNull().defaultNow(),
    heartbeat_at: timestamp({ withTimezone: true }).notNull().defaultNow(),
    generation: integer53(), // revision it enforces
    ready: text().notNull().default('starting'), // 'ready' or the reason why not
    facts: jsonb().$type<Record<string, unknown>>().notNull().default({}),
    db_user: ownerColumn(), // whose row it is: nobody else beats its heart (grants.ts)
  },
  t => [index().on(t.heartbeat_at)],
)
