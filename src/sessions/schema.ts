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
import { grants } from '../approvals/schema.ts'
import { bytes } from '../db/columns.ts'
import { subjects } from '../identity/schema.ts'
import { decisions } from '../policy/schema.ts'

const at = () => timestamp({ withTimezone: true })

/** What the user's client presents. The secret is stored as the protocol's verifiers, sealed under the `tickets` key. */
export const tickets = pgTable(
  'tickets',
  {
    id: text().primaryKey(), // tkt_…, public
    grant_id: text()
      .notNull()
      .references(() => grants.id),
    subject_id: text()
      .notNull()
      .references(() => subjects.id),
    resource: text().notNull(),
    role: text().notNull(),
    protocol: text().notNull(),
    token: jsonb().$type<{ id: string; scopes: string[] } | null>(), // the API token it was issued to: its scopes go on subtracting
    on_behalf_of: text(),
    sealed: bytes().notNull(),
    decision_id: text()
      .notNull()
      .references(() => decisions.id),
    created_at: at().notNull().defaultNow(),
    unused_until: at().notNull(), // unused, it ends after session.idle_s
    ended_at: at(),
  },
  t => [
    index().on(t.grant_id),
    index().on(t.decision_id),
    index('tickets_open').on(t.unused_until).where(sql`ended_at is null`),
    unique('tickets_identity').on(t.id, t.subject_id, t.resource, t.role),
    foreignKey({
      name: 'tickets_of_grant',
      columns: [t.grant_id, t.subject_id, t.resource, t.role],
      foreignColumns: [grants.id, grants.subject_id, grants.resource, grants.role],
    }),
  ],
)

export const sessions = pgTable(
  'sessions',
  {
    id: text().primaryKey(), // ses_…
    ticket_id: text()
      .notNull()
      .references(() => tickets.id),
    grant_id: text()
      .notNull()
      .references(() => grants.id),
    subject_id: text()
      .notNull()
      .references(() => subjects.id),
    resource: text().notNull(),
    role: text().notNull(),
    protocol: text().notNull(),
    decision_id: text()
      .notNull()
      .references(() => decisions.id), // INVARIANT: no session without a decision
    opened_at: at().notNull().defaultNow(),
    ends_at: at().notNull(), // min(grant end, session.max_s)
    idle_s: integer().notNull(),
    max_connections: integer().notNull(),
    last_connection_at: at().notNull().defaultNow(),
    ended_at: at(),
    end_code: text(),
    end_reason: text(),
  },
  t => [
    uniqueIndex().on(t.ticket_id),
    index().on(t.decision_id),
    index().on(t.opened_at, t.id),
    index().on(t.ended_at),
    foreignKey({
      name: 'sessions_of_ticket', // a session is for whom, what and as what its ticket says
      columns: [t.ticket_id, t.subject_id, t.resource, t.role],
      foreignColumns: [tickets.id, tickets.subject_id, tickets.resource, tickets.role],
    }),
    foreignKey({
      name: 'sessions_of_grant',
      columns: [t.grant_id, t.subject_id, t.resource, t.role],
      foreignColumns: [grants.id, grants.subject_id, grants.resource, grants.role],
    }),
    index('sessions_live').on(t.ends_at).where(sql`ended_at is null`),
    index().on(t.subject_id),
    index().on(t.grant_id),
    check('sessions_ended', sql`(${t.ended_at} is null) = (${t.end_code} is null)`),
  ],
)

export const connections = pgTable(
  'connections',
  {
    id: text().primaryKey(), // con_…
    session_id: text()
      .notNull()
      .references(() => sessions.id),
    process_id: text().notNull(), // prc_…
    client_address: text().notNull(),
    client: jsonb().$type<Record<string, unknown>>().notNull().default({}),
    opened_at: at().notNull().defaultNow(),
    closed_at: at(),
    close_reason: text(),
  },
  t => [index().on(t.session_id), index('connections_open').on(t.process_id).where(sql`closed_at is null`)],
)

/** A credential on the target's side. It is written before it is made, so that a crash leaves a row to reap. */
export const leases = pgTable(
  'leases',
  {
    id: text().primaryKey(), // lea_…
    session_id: text()
      .notNull()
      .references(() => sessions.id),
    process_id: text().notNull(), // prc_…: only the worker that minted it knows its password
    resource: text().notNull(),
    protocol: text().notNull(),
    kind: text().notNull(), // in the protocol's words: 'role' | 'stored'
    state: text().$type<'minting' | 'minted' | 'reaping' | 'reaped' | 'stuck'>().notNull(),
    facts: jsonb().$type<Record<string, unknown>>().notNull().default({}), // e.g. the role's name; never a secret
    minted_at: at(),
    reaped_at: at(),
    attempts: integer().notNull().default(0),
    next_try_at: at().notNull().defaultNow(),
    last_error: text(),
  },
  t => [
    index().on(t.session_id),
    // One that works; what could not be made, or is being removed, does not stand in the way of the next.
    uniqueIndex('leases_one_a_process').on(t.session_id, t.process_id).where(sql`state in ('minting', 'minted')`),
    index('leases_open').on(t.state, t.next_try_at).where(sql`state <> 'reaped'`),
  ],
)
