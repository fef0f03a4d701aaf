import { type Static, Type as T, type TSchema } from 'typebox'

/**
 * The policy contract: for each point the shape of its input and of its result (design §5). The JSON Schemas that
 * `opa check` uses are these values; the checks on what a policy answered are these values too.
 */
const closed = { additionalProperties: false }
const Nullable = <S extends TSchema>(schema: S) => T.Union([schema, T.Null()])
const Words = <const W extends readonly string[]>(words: W) =>
  T.Unsafe<W[number]>(T.Union(words.map(word => T.Literal(word))))
const Text = T.String()
const Ms = T.Integer()
const Seconds = T.Integer({ minimum: 1, maximum: 315_360_000 })

const weekdays = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'] as const

export const Time = T.Object(
  { now_at_ms: Ms, date: Text, weekday: Words(weekdays), minute_of_day: T.Integer(), zone: Text },
  closed,
)

export const SubjectFacts = T.Object(
  {
    id: Text,
    kind: T.Union([T.Literal('person'), T.Literal('machine'), T.Literal('system')]),
    issuer: Text,
    subject: Text,
    name: Text,
    email: Nullable(Text),
    groups: T.Array(Text),
    groups_at_ms: Ms,
    claims: T.Record(Text, T.Unknown()),
    on_behalf_of: Nullable(Text),
    token: Nullable(T.Object({ id: Text, scopes: T.Array(Text) }, closed)),
  },
  closed,
)

export const ResourceFacts = T.Object(
  { name: Text, protocol: Text, address: Text, labels: T.Record(Text, Text) },
  closed,
)

export const VoteFacts = T.Object(
  { approver: Text, groups: T.Array(Text), stage: T.Integer(), answer: Text, at_ms: Ms },
  closed,
)

export const RequestFacts = T.Object(
  { id: Text, reason: Text, ticket_ref: Nullable(Text), duration_s: T.Integer(), created_at_ms: Ms },
  closed,
)

const Client = T.Object({ address: Text, application: Text, via: Text }, closed)

/** `stage`: request (asked), ticket (handed out), connect (presented), live (again, while a session lives). */
export const AccessInput = T.Object(
  {
    stage: T.Union([T.Literal('request'), T.Literal('ticket'), T.Literal('connect'), T.Literal('live')]),
    subject: SubjectFacts,
    resource: ResourceFacts,
    role: Text,
    roles: T.Array(Text), // what data.roles gives this subject's groups; policies may read the data themselves
    request: Nullable(RequestFacts),
    votes: T.Array(VoteFacts),
    grant: Nullable(T.Object({ id: Text, starts_at_ms: Ms, ends_at_ms: Ms }, closed)),
    client: Client,
    time: Time,
  },
  closed,
)

const Relation = T.Object({ schema: Text, name: Text }, closed)

/** A protocol adds its own facts under its own name; `facts` is that place in the input. */
export const ActionFacts = T.Object(
  {
    kind: Text, // in the protocol's words: select, insert, copy_from, set, …
    verb: Words(['read', 'write', 'ddl', 'admin', 'session', 'dynamic', 'unknown']),
    reads: T.Array(Relation),
    writes: T.Array(Relation),
    functions: T.Array(Relation),
    protocol: Text,
    facts: T.Record(Text, T.Unknown()),
  },
  closed,
)

export const ApproveInput = T.Object(
  {
    subject: SubjectFacts, // who presses the button
    // a vote on a request: approve, deny; a review of what was done under its grant: accept, flag
    answer: T.Union([T.Literal('approve'), T.Literal('deny'), T.Literal('accept'), T.Literal('flag')]),
    via: Text,
    stage: T.Integer(),
    request: RequestFacts,
    requester: SubjectFacts,
    resource: ResourceFacts,
    role: Text,
    approvers: T.Array(Text), // groups and subjects of this stage's terms, now; of a review: its reviewers
    votes: T.Array(VoteFacts),
    actions: T.Optional(T.Array(ActionFacts)), // what waits, where it is no access that is asked for
    time: Time,
  },
  closed,
)

/** The votes on an action that waited: there when it is decided again, so that the answer can be computed again too. */
const HoldFacts = T.Object({ request: Text, votes: T.Array(VoteFacts) }, closed)

/**
 * Session facts are those fixed at connect; no literal, parameter or clock (design §5, cost of a decision). `time` is
 * there only when the package declares `needs: [time]`, and then decide() itself fills it in.
 */
export const ActionInput = T.Object(
  {
    subject: SubjectFacts,
    resource: ResourceFacts,
    role: Text,
    action: ActionFacts,
    time: T.Optional(Time),
    hold: T.Optional(HoldFacts),
  },
  closed,
)

const OnSession = T.Object({ subject: SubjectFacts, resource: ResourceFacts, role: Text }, closed)
export const MaskingInput = OnSession
export const RecordingInput = OnSession

const RecordingFacts = T.Object(
  {
    id: Text,
    session: Text,
    subject: Text,
    resource: Text,
    labels: T.Record(Text, Text),
    role: Text,
    protocol: Text,
    started_at_ms: Ms,
    live: T.Boolean(),
  },
  closed,
)

export const ReplayInput = T.Object(
  {
    subject: SubjectFacts,
    recording: RecordingFacts,
    own: T.Boolean(),
    verb: T.Union([T.Literal('open'), T.Literal('download'), T.Literal('export')]),
    view: T.Union([T.Literal('masked'), T.Literal('clear')]),
    reason: Nullable(Text),
    time: Time,
  },
  closed,
)

/** `class` is `recording` or a log class (`decisions`, `requests`, `sessions`); `recording` is null for these. */
export const RetentionInput = T.Object({ class: Text, recording: Nullable(RecordingFacts) }, closed)

/** Every call of the API that no other point answers. `target` holds ids and names that the call is about. */
export const AdminInput = T.Object(
  { subject: SubjectFacts, call: Text, target: T.Record(Text, Text), own: T.Boolean(), time: Time },
  closed,
)

export const AlertsInput = T.Object(
  {
    window_s: T.Integer(),
    counts: T.Array(T.Object({ name: Text, labels: T.Record(Text, Text), count: T.Integer() }, closed)),
  },
  closed,
)

export const DecisionLogInput = T.Object({ point: Text, effect: Text, resource: Nullable(Text) }, closed)

export const ReasonResult = T.Object({ rule: Text, message: Text, remedy: T.Optional(Text) }, closed)
const Reasons = T.Array(ReasonResult)
const AllowDeny = T.Union([T.Literal('allow'), T.Literal('deny')])
const Effect = T.Union([T.Literal('allow'), T.Literal('deny'), T.Literal('ask')])

export const ApprovalTerms = T.Object(
  {
    stages: T.Array(
      T.Object({ approvers: T.Array(Text), quorum: T.Integer({ minimum: 1, maximum: 20 }), channel: Text }, closed),
      { minItems: 1, maxItems: 5 },
    ),
    expires_s: Seconds,
    step_up: T.Optional(T.Boolean()),
  },
  closed,
)

/** Somebody looks afterwards at what was done under the grant; `due_s` counts from its end. */
export const ReviewTerms = T.Object(
  { reviewers: T.Array(Text, { minItems: 1 }), due_s: T.Integer({ minimum: 60, maximum: 2_592_000 }), channel: Text },
  closed,
)

export const AccessResult = T.Object(
  {
    effect: Effect,
    reasons: Reasons,
    approval: T.Optional(ApprovalTerms),
    grant: T.Optional(T.Object({ max_s: Seconds, review: T.Optional(ReviewTerms) }, closed)),
    session: T.Optional(
      T.Object(
        {
          max_s: Seconds,
          idle_s: Seconds,
          max_connections: T.Integer({ minimum: 1, maximum: 1000 }),
          from: T.Array(Text), // addresses and ranges of clients; an empty list admits nobody
          moderators: T.Optional(T.Array(Text, { minItems: 1 })), // groups and subjects: the session waits until one of them watches
        },
        closed,
      ),
    ),
  },
  closed,
)
export const ApproveResult = T.Object({ effect: AllowDeny, reasons: Reasons }, closed)
export const ActionResult = T.Object({ effect: Effect, reasons: Reasons, approval: T.Optional(ApprovalTerms) }, closed)

export const MaskRule = T.Object(
  {
    rule: Text,
    match: T.Object({ schema: Text, table: Text, column: Text }, closed), // names or globs (`*`)
    transform: T.Object(
      {
        kind: Words(['redact', 'partial', 'hash', 'null', 'fixed']),
        keep_last: T.Optional(T.Integer({ minimum: 0, maximum: 64 })), // partial
        value: T.Optional(Text), // fixed
      },
      closed,
    ),
    on_derived: T.Optional(T.Union([T.Literal('mask'), T.Literal('deny')])), // default deny; mask is unsupported here
    predicates: T.Optional(T.Union([T.Literal('deny'), T.Literal('allow')])), // default deny; allow is unsupported here
  },
  closed,
)
export const MaskingResult = T.Object({ rules: T.Array(MaskRule) }, closed)
export const RecordingResult = T.Object(
  {
    level: T.Union([T.Literal('full'), T.Literal('metadata')]),
    results: T.Union([T.Literal('all'), T.Literal('head'), T.Literal('none')]),
    head_rows: T.Integer({ minimum: 0, maximum: 1_000_000 }),
    strict: T.Boolean(),
    originals: T.Union([T.Literal('drop'), T.Literal('sealed')]),
  },
  closed,
)
export const ReplayResult = T.Object(
  { effect: AllowDeny, reasons: Reasons, view: T.Union([T.Literal('masked'), T.Literal('clear')]) },
  closed,
)
export const RetentionResult = T.Object({ keep_s: Seconds, legal_hold: T.Boolean() }, closed)
export const AdminResult = T.Object({ effect: AllowDeny, reasons: Reasons }, closed)
export const AlertsResult = T.Object(
  { alerts: T.Array(T.Object({ rule: Text, severity: Text, summary: Text }, closed)) },
  closed,
)
export const DecisionLogResult = T.Object({ erase: T.Array(Text), mask: T.Array(Text) }, closed)

/** `effects`: what the point may answer; a data point has none, and undefined is a fault of its own. */
export const points = {
  access: { input: AccessInput, result: AccessResult, effects: ['allow', 'deny', 'ask'] },
  approve: { input: ApproveInput, result: ApproveResult, effects: ['allow', 'deny'] },
  action: { input: ActionInput, result: ActionResult, effects: ['allow', 'deny', 'ask'] },
  masking: { input: MaskingInput, result: MaskingResult, effects: [] },
  recording: { input: RecordingInput, result: RecordingResult, effects: [] },
  replay: { input: ReplayInput, result: ReplayResult, effects: ['allow', 'deny'] },
  retention: { input: RetentionInput, result: RetentionResult, effects: [] },
  admin: { input: AdminInput, result: AdminResult, effects: ['allow', 'deny'] },
  alerts: { input: AlertsInput, result: AlertsResult, effects: [] },
  decision_log: { input: DecisionLogInput, result: DecisionLogResult, effects: [] },
} as const

export type Point = keyof typeof points
export type Input<P extends Point> = Static<(typeof points)[P]['input']>
export type Result<P extends Point> = Static<(typeof points)[P]['result']>
export type SubjectFacts = Static<typeof SubjectFacts>
export type ResourceFacts = Static<typeof ResourceFacts>
export type ActionFacts = Static<typeof ActionFacts>
export type MaskRule = Static<typeof MaskRule>
export type RecordingSettings = Static<typeof RecordingResult>
export type ApprovalTerms = Static<typeof ApprovalTerms>
export type ReviewTerms = Static<typeof ReviewTerms>
export type Reason = Static<typeof ReasonResult> & { readonly at?: string }

/** Why a decision came out as it did when policy did not say so itself. `policy`: policy said so. */
export type DecisionCode =
  | 'policy'
  | 'policy_missing'
  | 'policy_undefined'
  | 'policy_shape'
  | 'policy_error'
  | 'policy_fuel'
  | 'policy_memory'
  | 'policy_stale'
  | 'policy_aged'
  | 'input_invalid'
  | 'input_too_large'
  | 'token_scope'
  | 'groups_stale'
  | 'votes_unsatisfied'
  | 'unsupported'
