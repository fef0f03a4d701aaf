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
/** INVARIANT: nobody chooses the number of a place, nor when it gets its index: both columns are the database's. */
const placeInsert = 'insert(writer, wseq, count)'
const writesPlaces = [placeInsert, 'select(seq)']
const ownsWriter = ['select', 'insert', 'update(wseq, prev)']
const lives = ['select', 'insert', 'update(heartbeat_at, generation, ready, facts)']
const endsSession = 'update(ended_at, end_code, end_reason, last_connection_at)'
const weighs = ['select', 'insert', 'update']
/** An erasure empties what was judged; its digest, which the audit log covers, stays. */
const erasesInput = 'update(input, erased, words)'
const movesLease = 'update(state, facts, minted_at, reaped_at, attempts, next_try_at, last_error)'

export const tableGrants: Readonly<Record<string, TableGrants>> = {
  // db
  processes: { control: [...lives, 'delete'], gateway: lives, replay: lives },

  // audit: append only for everybody; `body` and `salt` are what an erasure empties
  audit_writers: { control: ownsWriter, gateway: ownsWriter, replay: ownsWriter },
  audit_inbox: {
    control: ['select', 'insert', 'update(body, salt)'],
    gateway: writesEvents,
    replay: writesEvents,
  },
  audit_places: { control: ['select', placeInsert, 'update(idx)'], gateway: writesPlaces, replay: writesPlaces },
  audit_tiles: controlOnly('select', 'insert', 'update(width, hashes)'),
  audit_checkpoints: controlOnly('select', 'insert'),
  audit_state: controlOnly('select', 'insert', 'update'),
  audit_statements: controlOnly('select', 'insert', 'update(copied)'),
  audit_cosignatures: controlOnly('select', 'insert'),
  audit_outside: controlOnly('select', 'insert', 'update', 'delete'),

  // identity
  subjects: { control: ['select', 'insert', 'update'], gateway: read, replay: read },
  sign_ins: controlOnly('select', 'insert', 'update', 'delete'),
  web_sessions: controlOnly('select', 'insert', 'update', 'delete'),
  refresh_tokens: controlOnly('select', 'insert', 'update', 'delete'),
  // the replay process asks whether the token of a call that it still serves is good; it never sees the hash
  api_tokens: {
    control: ['select', 'insert', 'update(revoked_at, used_at)', 'update(name)'],
    gateway: none,
    replay: ['select(id, scopes, expires_at, revoked_at)'],
  },
  slack_bindings: controlOnly('select', 'insert', 'update', 'delete'),
  slack_link_codes: controlOnly('select', 'insert', 'update', 'delete'),

  // policy: a revision is never changed, a decision only counted, batched, and deleted by retention
  revisions: { control: ['select', 'insert'], gateway: read, replay: read },
  revision_failures: controlOnly('select', 'insert', 'delete'),
  policy_state: {
    control: ['select', 'insert', 'update'],
    gateway: ['select(id, current_at)'],
    replay: ['select(id, current_at)'],
  },
  // a shadow enforces nothing; every process that decides says what would come out differently
  shadow_revisions: { control: ['select', 'insert', 'update(ended_at)', 'delete'], gateway: read, replay: read },
  shadow_counts: { control: ['select', 'insert', 'update', 'delete'], gateway: weighs, replay: weighs },
  shadow_divergences: { control: ['select', 'insert', 'update', 'delete'], gateway: weighs, replay: weighs },
  policy_notices: controlOnly('select', 'insert', 'update', 'delete'),
  decisions: {
    control: ['select', 'insert', 'update(count, batch, seq)', erasesInput, 'delete'],
    gateway: ['select', 'insert', 'update(count)'],
    replay: ['select', 'insert', 'update(count)'],
  },
  action_decisions: {
    control: ['select', 'insert', 'update(count, batch, seq)', erasesInput, 'delete'],
    gateway: ['select', 'insert', 'update(count)'],
    replay: read,
  },
  decision_batches: controlOnly('select', 'insert', 'delete'),
  decision_exports: controlOnly('select', 'insert', 'update', 'delete'),
  decision_places: controlOnly('select', 'insert', 'update'),

  // approvals: the gateway reads them to decide again, and can never make a vote or a grant; it asks for its own holds
  requests: {
    control: [
      'select',
      'insert',
      'update(state, terms, decision_id, expires_at, ended_at, ended_by, outcome)',
      'update(reason, ticket_ref, client)', // what an erasure empties
      'delete',
    ],
    gateway: ['select', 'insert', 'update(state, ended_at, ended_by, outcome)'],
    replay: read,
  },
  holds: {
    control: ['select', 'update(decision_id, unused)', 'update(text, shown, held)', 'delete'],
    gateway: ['select', 'insert', 'update(seen_at, released_at, unused)'], // each once: the trigger holds_once
    replay: read,
  },
  votes: { control: ['select', 'insert', 'delete'], gateway: read, replay: read },
  grants: {
    control: ['select', 'insert', 'update(revoked_at, revoked_by, revoke_reason, ended_at)', 'delete'],
    gateway: read,
    replay: read,
  },
  reviews: {
    control: [
      'select',
      'insert',
      'update(overdue_at, answer, answered_at, answered_by, answer_reason, answer_via, answer_decision_id)',
      'delete',
    ],
    gateway: none,
    replay: none,
  },

  // sessions: control deletes what retention ends
  tickets: {
    control: ['select', 'insert', 'update(ended_at)', 'delete'],
    gateway: ['select', 'update(ended_at)'],
    replay: none,
  },
  sessions: {
    control: ['select', endsSession, 'delete'],
    gateway: ['select', 'insert', endsSession, 'update(grant_id, ends_at, idle_s, max_connections)'],
    replay: read,
  },
  connections: {
    control: ['select', 'update(closed_at, close_reason)', 'update(client, client_address)', 'delete'],
    gateway: ['select', 'insert', 'update(client, closed_at, close_reason)'],
    replay: read,
  },
  leases: { control: ['select', movesLease, 'delete'], gateway: ['select', 'insert', movesLease], replay: none },

  // recording: the gateway writes keys and cannot read them back; control destroys them unread; only replay reads them
  recordings: {
    control: [
      'select',
      'update(ended_at, sealed_at, state, seal, seal_hash, bytes, receipt, deleted_at)',
      'update(kept_seal, kept_until_ms, kept_hold, subject_name)',
    ],
    gateway: ['select', 'insert', 'update(sealed_at, state, bytes)'],
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
  // Who watches opens a moderated session: nobody but the replay process, which let them, may say so.
  recording_watches: { control: read, gateway: read, replay: ['select', 'insert', 'update(seen_at)', 'delete'] },
  // What sessions said is read where `replay` is decided, and deleted where recordings are.
  recording_texts: { control: ['select(recording_id)', 'delete'], gateway: none, replay: ['select', 'insert'] },
  recording_indexes: {
    control: ['select(recording_id)', 'delete'],
    gateway: none,
    replay: ['select', 'insert', 'update(seal_hash, claimed_by, claimed_until, indexed_at, problem)'],
  },
  legal_holds: { control: ['select', 'insert', 'update(lifted_by, lifted_at)'], gateway: none, replay: read },
  retention_floors: controlOnly('select', 'insert', 'update(keep_s, set_by, set_at)'),
  proposals: controlOnly('select', 'insert', 'update(state, answered_by, answered_at, decision_id, progress, done_at)'),

  // slack
  slack_seen: controlOnly('select', 'insert', 'delete'),
  slack_messages: controlOnly('select', 'insert', 'update', 'delete'),
}

/** Which rows a user may write, where the table's privileges say that it may write some: conditions over the new row. */
export interface RowRules {
  readonly insert: string | TableConditions
  readonly update: string | TableConditions
}
type TableConditions = Readonly<Record<DatabaseRole, string>>

const own = 'db_user = current_user'
/**
 * INVARIANT: events stand under the place that this connection was given last: nobody takes numbers that another's events
 * will get, which would be refused then, nor such as belong to no place of theirs.
 */
const ownPlace = "seq >= currval('audit_places_seq_seq') and seq < currval('audit_places_seq_seq') + 4096"
/** A writer's name says whose it is (audit/writer.ts), so that no look-up is needed for each event. */
const ownLane = "starts_with(split_part(writer, '.', 2), left(md5(current_user), 8))"
const partIsOpen = `exists (select 1 from recording_parts p
  where p.recording_id = recording_segments.recording_id and p.part = recording_segments.part and p.ended_at is null)`
const ownAs = (role: DatabaseRole) => `${own} and role = '${role}'`
const ownProcess = { control: ownAs('control'), gateway: ownAs('gateway'), replay: ownAs('replay') }

/**
 * Row security: within what `tableGrants` gives, nobody writes under another's name. So a gateway that was taken over
 * can lie about itself, and not as control or replay. Reading and deleting are as the grants say; the owner is not bound.
 */
export const rowRules: Readonly<Record<string, RowRules>> = {
  // What a process says of itself (its address, its CA) is believed by others.
  processes: { insert: ownProcess, update: ownProcess },
  audit_writers: { insert: `${own} and ${ownLane}`, update: own },
  audit_inbox: { insert: `${ownLane} and ${ownPlace}`, update: { control: 'true', gateway: 'false', replay: 'false' } },
  audit_places: {
    insert: ownLane,
    update: { control: 'true', gateway: 'false', replay: 'false' },
  },
  // A decision enters the log with its event or waits for its batch: none may be inserted as one that has been covered.
  decisions: {
    insert: {
      control: 'batch is null and seq is null',
      gateway: "batch is null and seq is null and point in ('access', 'masking', 'recording', 'admin')",
      replay: "batch is null and seq is null and point = 'replay'",
    },
    update: { control: 'true', gateway: 'false', replay: "point = 'replay'" },
  },
  action_decisions: {
    insert: { control: 'batch is null and seq is null', gateway: 'batch is null and seq is null', replay: 'false' },
    update: { control: 'true', gateway: 'true', replay: 'false' },
  },
  // A gateway asks that an action of a session may go on, and takes that back; it answers nothing.
  requests: {
    insert: { control: "kind = 'access'", gateway: askedForHold(), replay: 'false' },
    update: {
      control: 'true',
      gateway: "kind = 'hold' and state = 'cancelled' and ended_by = subject_id",
      replay: 'false',
    },
  },
  holds: {
    insert: { control: 'false', gateway: ofLiveConnection(), replay: 'false' },
    update: { control: 'true', gateway: 'true', replay: 'false' },
  },
  // Control seals and deletes; a gateway only opens again what it has more of.
  recordings: {
    insert: { control: 'false', gateway: "state = 'open' and seal is null and receipt is null", replay: 'false' },
    update: { control: 'true', gateway: "state = 'open'", replay: 'false' },
  },
  // What a part ended with, its gaps and what is missing of it, nobody says otherwise later, nor puts more behind its end.
  recording_parts: {
    insert: { control: 'false', gateway: 'ended_at is null and tail_missing_from is null', replay: 'false' },
    update: { control: 'true', gateway: 'true', replay: 'false' },
  },
  recording_segments: {
    insert: { control: 'false', gateway: `starts_with(key, recording_id || '/') and ${partIsOpen}`, replay: 'false' },
    update: { control: 'false', gateway: 'false', replay: 'false' },
  },
  recording_keys: {
    insert: { control: 'false', gateway: 'wrapped is not null and destroyed_at is null', replay: 'false' },
    update: { control: 'wrapped is null', gateway: 'false', replay: 'false' }, // destroyed, never exchanged
  },
}

/** The shortest time that a row of a log class is kept, whatever policy says: a slip of a unit must not cost the evidence. */
export const logFloor_s = 86_400

/** Rows that may be deleted, where a role may delete from the table; the default is any. */
export const deletable: Readonly<Record<string, string>> = {
  decisions: olderThanFloor(),
  action_decisions: `${olderThanFloor()} and batch is not null`,
}

/** What waits is of an open connection of a session that lives, as whom, as what and where that is; and it can be shown and decided. */
function ofLiveConnection(): string {
  return `released_at is null and unused is null and jsonb_typeof(held -> 'actions') = 'array'
    and jsonb_typeof(shown) = 'array' and not jsonb_path_exists(shown, '$[*] ? (!(@.type() == "object") ||
      !(@.label.type() == "string") || !(@.lines.type() == "array") || exists(@.lines[*] ? (!(@.type() == "string"))) ||
      exists(@.more ? (!(@.type() == "number"))))')
    and exists (select from sessions s join tickets t on t.id = s.ticket_id join connections c on c.session_id = s.id
      where s.id = holds.session_id and s.ended_at is null
        and c.id = holds.connection_id and c.process_id = holds.process_id and c.closed_at is null
        and held #>> '{subject,id}' = s.subject_id and held #>> '{subject,on_behalf_of}' is not distinct from t.on_behalf_of
        and held #>> '{resource,name}' = s.resource and held ->> 'role' = s.role)`
}

/** Now, for a day at most, by who waits: their own vote, and that of the person behind them, must stay refused. */
function askedForHold(): string {
  return `kind = 'hold' and state = 'pending' and duration_s = 0 and ticket_ref is null
    and created_at between clock_timestamp() - interval '1 minute' and clock_timestamp() + interval '2 s'
    and expires_at <= clock_timestamp() + interval '1 day 2 s'
    and exists (select from holds h join sessions s on s.id = h.session_id join tickets t on t.id = s.ticket_id
      where h.request_id = requests.id and s.subject_id = requests.subject_id and s.resource = requests.resource
        and s.role = requests.role and t.on_behalf_of is not distinct from requests.on_behalf_of)`
}

function olderThanFloor(): string {
  return `at_ms < (extract(epoch from clock_timestamp()) * 1000)::bigint - ${logFloor_s * 1000}`
}

/** Sequences whose last number on its own connection a role may ask for; nobody may draw from one or set it. */
export const askable: readonly string[] = ['audit_places_seq_seq']

/** Functions of the owner that a role may call, and the schemas they lie in; what is not here may be called by nobody. */
export const callable: Readonly<Record<DatabaseRole, readonly string[]>> = {
  control: [
    'decision_days.make(integer)',
    'decision_days.drop_empty()',
    'decision_days.hold_still(date)',
    'decision_days.drop_day(date)',
  ],
  gateway: none,
  replay: none,
}

/** Rows that an update may start from; the default is any. */
export const updatable: Readonly<Record<string, string | TableConditions>> = {
  processes: own,
  audit_writers: own,
  decisions: { control: 'true', gateway: 'false', replay: "point = 'replay'" },
  recordings: { control: 'true', gateway: "state <> 'deleted'", replay: 'false' },
  recording_parts: { control: 'true', gateway: 'ended_at is null', replay: 'false' },
  requests: { control: 'true', gateway: "kind = 'hold' and state = 'pending'", replay: 'false' },
}
