import { sql } from 'drizzle-orm'
import {
  bigint,
  boolean,
  check,
  index,
  integer,
  pgTable,
  primaryKey,
  text,
  timestamp,
  uniqueIndex,
} from 'drizzle-orm/pg-core'
import { bytes, integer53, ownerColumn } from '../db/columns.ts'

/**
 * A writer is one lane of one process start. `wseq` and `prev` are taken under this row's lock in the inserting
 * transaction; a transaction takes a lane that is free, so that no transaction ever waits for another's events.
 */
export const auditWriters = pgTable(
  'audit_writers',
  {
    writer: text().primaryKey(), // prc_….<lane>; a lane begins with the hash of its database user (db/grants.ts)
    process: text().notNull(), // prc_…
    wseq: integer53().notNull(),
    prev: text().notNull(), // hex hash of the writer's last leaf, '' before the first
    db_user: ownerColumn(), // only this user may append under its name (db/grants.ts)
  },
  t => [index().on(t.process)],
)

/** Events, inserted in the transaction that they describe. Body and salt may be erased later. */
export const auditInbox = pgTable(
  'audit_inbox',
  {
    id: text().primaryKey(), // evt_…
    writer: text().notNull(), // no foreign key: it costs a fifth of the writing, and `verifyLog` checks more
    wseq: integer53().notNull(),
    at_ms: integer53().notNull(),
    type: text().notNull(),
    seq: integer53().notNull(), // order of insertion: `seq` of its place and how many of its batch stand before it
    body: text(), // canonical JSON
    salt: bytes(),
    leaf: text().notNull(), // canonical JSON of {v, type, at_ms, writer, wseq, prev, body_hash}
    subject_id: text(), // for search only
    session_id: text(),
    resource: text(),
  },
  t => [
    uniqueIndex().on(t.seq),
    index().on(t.type, t.seq),
    index('audit_inbox_session').on(t.session_id).where(sql`session_id is not null`),
    index('audit_inbox_subject').on(t.subject_id).where(sql`subject_id is not null`),
  ],
)

/** Most events of one batch: so far apart lie the numbers of two places. */
export const placeWidth = 4096

/**
 * Where batches stand: the events that one statement inserted, `seq` to `seq + count - 1`, have the indices from `idx` on.
 * One narrow row for many events, so that sequencing writes nothing for each of them.
 */
export const auditPlaces = pgTable(
  'audit_places',
  {
    seq: bigint({ mode: 'number' }) // order of insertion; gaps mean nothing
      .primaryKey()
      .generatedAlwaysAsIdentity({ startWith: placeWidth, increment: placeWidth }),
    writer: text().notNull(),
    wseq: integer53().notNull(), // of the first event
    count: integer().notNull(),
    idx: integer53(), // of the first event; null until sequenced
  },
  t => [
    uniqueIndex().on(t.writer, t.wseq),
    uniqueIndex('audit_places_idx').on(t.idx).where(sql`idx is not null`),
    index('audit_places_waiting').on(t.seq).where(sql`idx is null`),
    check('audit_places_count', sql`${t.count} between 1 and 4096`),
  ],
)

/** tlog-tiles: hash tiles of height 8; `width` 256 is a full tile. Level -1 rows hold no hashes and are not stored here. */
export const auditTiles = pgTable(
  'audit_tiles',
  { level: integer().notNull(), n: integer53().notNull(), width: integer().notNull(), hashes: bytes().notNull() },
  t => [primaryKey({ columns: [t.level, t.n] })],
)

export const auditCheckpoints = pgTable('audit_checkpoints', {
  size: integer53().primaryKey(),
  root: bytes().notNull(),
  note: text().notNull(), // C2SP signed note
  at_ms: integer53().notNull(),
})

/** Signed breaks and handovers of the key, in their order. They go to the copy and to every outside place too. */
export const auditStatements = pgTable('audit_statements', {
  number: bigint({ mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
  kind: text().notNull(), // break, handover
  note: text().notNull(), // signed note
  copied: boolean().notNull().default(false), // stands in the copy
})

/** Cosignatures of witnesses on checkpoints: the line as it stands under the note. */
export const auditCosignatures = pgTable(
  'audit_cosignatures',
  { size: integer53().notNull(), witness: text().notNull(), line: text().notNull() },
  t => [primaryKey({ columns: [t.size, t.witness] })],
)

/** The outside places of the configuration: how far each is, who carries there, and what keeps it. */
export const auditOutside = pgTable('audit_outside', {
  name: text().primaryKey(),
  kind: text().notNull(),
  size: integer53().notNull().default(0), // of the last checkpoint that it took
  statements: integer53().notNull().default(0), // how many of them it took
  at: timestamp({ withTimezone: true }), // when it took it
  failing_since: timestamp({ withTimezone: true }),
  alarmed_at: timestamp({ withTimezone: true }),
  last_error: text(),
  refused: text(), // it knows, signed by us, of more or of something else: nothing more is signed
  leased_by: text(),
  leased_until: timestamp({ withTimezone: true }),
})

/** The sequencer's fence: one row. A sequencer whose epoch is not this one may not write. */
export const auditState = pgTable(
  'audit_state',
  {
    id: integer().primaryKey().default(1),
    epoch: integer53().notNull().default(0),
    size: integer53().notNull().default(0),
  },
  t => [check('audit_state_single', sql`${t.id} = 1`)],
)
