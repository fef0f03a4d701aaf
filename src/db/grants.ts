/**
 * Who may do what to which table: the second lock behind the code. Each role of the program has its own database user;
 * this table is applied by the owner at each migration, and whatever is not in it is revoked.
 * A new table must be given a row here (`test/db/grants.test.ts` fails otherwise). Privileges: `select`, `insert`,
 * `update`, `delete`, or with columns: `update(ended_at, end_code)`. Row locks (`for update`) need some `update`.
 */
export const databaseRoles = ['control', 'gateway', 'replay'] as const
export type DatabaseRole = (typeof databaseRoles)[number]

export type TableGrants = Readonly<Record<DatabaseRole, readonly string[]>>

const none: readonly string[] = []
const read = ['select']
const controlOnly = (...control: string[]): TableGrants => ({ control, gateway: none, replay: none })

const writesEvents = ['insert', 'select(id, writer, wseq)']
const ownsWriter = ['select', 'insert', 'update(wseq, prev)']
const lives = ['select', 'insert', 'update(heartbeat_at, generation, ready, facts)']
const endsSession = 'update(ended_at, end_code, end_reason, last_connection_at)'
const movesLease = 'update(state, facts, minted_at, reaped_at, attempts, next_try_at, last_error)'
const seals = 'update(ended_at, sealed_at, state, seal, seal_hash, bytes)'

export const tableGrants: Readonly<Record<string, TableGrants>> = {
  // db
  processes: { control: [...lives, 'delete'], gateway: lives, replay: lives },

  // audit: append only for everybody; `body` and `salt` are what an erasure empties
  audit_writers: { control: ownsWriter, gateway: ownsWriter, replay: ownsWriter },
  audit_inbox: {
    control: ['select', 'insert', 'update(idx, body, salt)'],
    gateway: writesEvents,
    replay: writesEvents,
  },
  audit_tiles: controlOnly('select', 'insert', 'update(width, hashes)'),
  audit_checkpoints: controlOnly('select', 'insert'),
  audit_state: controlOnly('select', 'insert', 'update'),

  // identity
  subjects: { control: ['select', 'insert', 'update'], gateway: read, replay: read },
  sign_ins: controlOnly('select', 'insert', 'update', 'delete'),
  web_sessions: controlOnly('select', 'insert', 'update', 'delete'),
  refresh_tokens: controlOnly('select', 'insert', 'update', 'delete'),
  api_tokens: controlOnly('select', 'insert', 'update(revoked_at, used_at)'),
  slack_bindings: controlOnly('select', 'insert', 'update', 'delete'),
  slack_link_codes: controlOnly('select', 'insert', 'update', 'delete'),

  // policy: a revision is never changed, a decision only counted and batched
  revisions: { control: ['select', 'insert'], gateway: read, replay: read },
  revision_failures: controlOnly('select', 'insert', 'delete'),
  decisions: {
    control: ['select', 'insert', 'update(count, batch)'],
    gateway: ['select', 'insert', 'update(count)'],
    replay: ['select', 'insert', 'update(count)'],
  },

  // approvals: the gateway reads them to decide again, and can never make one
  requests: {
    control: ['select', 'insert', 'update(state, terms, decision_id, expires_at, ended_at, ended_by, outcome)'],
    gateway: read,
    replay: read,
  },
  votes: { control: ['select', 'insert'], gateway: read, replay: read },
  grants: {
    control: ['select', 'insert', 'update(revoked_at, revoked_by, revoke_reason, ended_at)'],
    gateway: read,
    replay: read,
  },

  // sessions
  tickets: { control: ['select', 'insert', 'update(ended_at)'], gateway: ['select', 'update(ended_at)'], replay: none },
  sessions: {
    control: ['select', endsSession],
    gateway: ['select', 'insert', endsSession, 'update(grant_id, ends_at, idle_s, max_connections)'],
    replay: read,
  },
  connections: {
    control: ['select', 'update(closed_at, close_reason)'],
    gateway: ['select', 'insert', 'update(client, closed_at, close_reason)'],
    replay: read,
  },
  leases: { control: ['select', movesLease], gateway: ['select', 'insert', movesLease], replay: none },

  // recording: the gateway writes keys and cannot read them back; control destroys them unread; only replay reads them
  recordings: {
    control: ['select', 'update(ended_at, sealed_at, state, seal, seal_hash, bytes, receipt, deleted_at)'],
    gateway: ['select', 'insert', seals],
    replay: read,
  },
  recording_parts: {
    control: ['select', 'update(tail_missing_from)'],
    gateway: ['select', 'insert', 'update(ended_at, ending, end_reason, last_seq, gaps, tail_missing_from)'],
    replay: read,
  },
  recording_segments: { control: ['select', 'delete'], gateway: ['select', 'insert'], replay: read },
  recording_keys: {
    control: ['select(recording_id, part, destroyed_at)', 'update(wrapped, destroyed_at)'],
    gateway: ['insert', 'select(recording_id, part, destroyed_at)'],
    replay: read,
  },
  legal_holds: { control: ['select', 'insert', 'update(lifted_by, lifted_at)'], gateway: none, replay: read },

  // slack
  slack_seen: controlOnly('select', 'insert', 'delete'),
  slack_messages: controlOnly('select', 'insert', 'update', 'delete'),
}
