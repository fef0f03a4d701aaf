import type { KeyObject } from 'node:crypto'
import type { Socket } from 'node:net'
import type { SecureContext } from 'node:tls'
import type { TSchema } from 'typebox'
import type { Permit } from '../policy/permit.ts'
import type { ActionFacts, MaskRule, ResourceFacts, SubjectFacts } from '../policy/points.ts'
import type { PackedMember } from '../recording/events.ts'
import type { Readings } from '../recording/reading.ts'
import type { Secret } from '../secret.ts'
import type { ClientCommand, IssuedTicket, Preparation, ProtocolCommand } from './client.ts'
import type { CommandHandler, HandlerGround } from './commands.ts'
import type { Verdict, Waits } from './verdict.ts'

export type { Mark, Reading, ReadingPart, Readings, Tone } from '../recording/reading.ts'
export type * from './client.ts'
export type * from './commands.ts'
export type * from './verdict.ts'

/** A resource as the policy repository declares it, its options already checked by the protocol's schema. */
export interface Resource {
  readonly name: string
  readonly protocol: string
  readonly host: string
  readonly port: number
  readonly labels: Readonly<Record<string, string>>
  /** The name of the secret that opens the target; the operator declares what it is and where it may go. */
  readonly secret: string | null
  readonly options: unknown
}

/** What a protocol can carry out. What policy demands beyond this is refused at activation, never skipped on the wire. */
export interface Capabilities {
  readonly mask: boolean
  readonly hold: boolean
  readonly input: boolean
  readonly terminal: boolean
  readonly browser: boolean
}

/** An Ed25519 key pair of a protocol for one purpose, derived from the root key of the role: the same in all its processes. */
export interface KeyPair {
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
}

export type Keys = (purpose: string) => KeyPair

/** Public facts by name: what a client offers for its ticket, what its holder gets besides the secret, what gateways publish. */
export type PublicFacts = Readonly<Record<string, string>>

/** What `credential` is made for. */
export interface TicketTerms {
  readonly id: string
  readonly role: string
  /** Addresses and ranges that policy admits. */
  readonly from: readonly string[]
  readonly now_ms: number
  readonly ends_at_ms: number
}

/** The protocol contract (design §4). A new protocol is one folder that exports one of these, and one line in protocols/all.ts. */
export type Protocol = ListeningProtocol | RidingProtocol

interface AnyProtocol {
  readonly name: string
  readonly options: TSchema
  readonly actionSchema: TSchema
  readonly capabilities: Capabilities
  /**
   * Looked at once when a gateway starts: what an operator should know of this build, for the log and `sallyport status`.
   * @throws what keeps it from serving.
   */
  check?(): Readonly<Record<string, string>>
  /** How the events that it records read to a person; what is not here is shown as it was recorded. */
  readonly readings?: Readings
  /** Commands of the command line that this protocol brings. */
  readonly commands?: readonly ProtocolCommand[]
}

/** It has a port of its own. */
export interface ListeningProtocol extends AnyProtocol {
  readonly listener: { readonly kind: 'tcp'; readonly defaultPort: number }
  /** What others may ride on: it offers these to the handler of a resource that is not its own. */
  readonly carries?: Carried
  /** What a client may offer when it asks for a ticket; nothing where it is absent. */
  readonly offer?: TSchema
  /**
   * What we keep of a ticket's secret and of what was offered. Sealed by sessions/; never the secret itself.
   * @throws SallyportError `bad_request` for an offer that cannot be taken.
   */
  verifiers(secret: Secret, offer: PublicFacts, keys: Keys): Record<string, string>
  /** What the holder of a ticket gets besides its secret, signed with keys of control. */
  credential?(ticket: TicketTerms, offer: PublicFacts, keys: Keys): PublicFacts
  /** What every gateway says of itself to clients, such as its host key. */
  publish?(keys: Keys): PublicFacts
  /** Made by the command line before it asks for a ticket. */
  prepare?(): Preparation
  /** Serves one client socket to its end. It never throws; what goes wrong is told to the client in its own words. */
  accept(socket: Socket, door: Door): Promise<void>
  readonly lease: LeaseProvider
  client(ticket: IssuedTicket, args: readonly string[]): ClientCommand
  /** The words that start its client where another program adds `NAME COMMAND`: how a riding protocol's client gets through. */
  through?(ticket: IssuedTicket, name: string): readonly string[]
}

export type Carried = 'commands'

/**
 * It has no wire of its own: whatever carries such things (`Registry.wireOf`) brings the listener, the proofs of a ticket, the
 * lease and the way to the target. Its resources have the carrier's options under `options.carrier`, beside its own.
 */
export interface RidingProtocol extends AnyProtocol {
  readonly listener: { readonly kind: 'rides-on'; readonly carried: Carried }
  /** Made once a worker. */
  handler(ground: HandlerGround): CommandHandler
  /** `through`: the carrier's, for this ticket and the resource's name. */
  client(ticket: IssuedTicket, args: readonly string[], through: readonly string[]): ClientCommand
}

/** What a lease is for; `plan` turns it into the facts that are stored before anything is made. */
export interface LeaseRequest {
  readonly id: string
  readonly session_id: string
  readonly role: string
  readonly ends_at_ms: number
  readonly max_connections: number
}

/** The credential on the target's side. `mint` and `reap` take a Permit and may dial only what it names. */
export interface LeaseProvider {
  /** Pure: what will be made. `facts` are stored before `mint` acts, so that a crash leaves what `reap` needs. */
  plan(resource: Resource, lease: LeaseRequest): LeasePlan
  mint(permit: Permit, target: Target, lease: LeaseRequest, plan: LeasePlan): Promise<Minted>
  /** The session ends later than the credential was made for. Idempotent. Missing where credentials carry no end. */
  extend?(permit: Permit, target: Target, facts: Readonly<Record<string, unknown>>, ends_at_ms: number): Promise<void>
  /** Idempotent: what is already gone is success. @throws when something is left that still opens a door. */
  reap(permit: Permit, target: Target, facts: Readonly<Record<string, unknown>>): Promise<void>
}

export interface LeasePlan {
  readonly kind: string
  readonly facts: Readonly<Record<string, unknown>>
}

/** The credential itself: in memory of this process only. `secret` is a password or a private key, as the protocol has it. */
export interface Minted {
  readonly user: string
  readonly secret: Secret
}

/** Dials the resource's address after checking it against the secret's allowed hosts and the forbidden ranges. */
export interface Target {
  readonly resource: Resource
  /** @throws SallyportError `policy_denied` for a permit of something else, `target_unavailable` when it cannot be reached. */
  connect(permit: Permit): Promise<Socket>
  /** The secret that the resource names; refuses one whose hosts or labels the operator did not declare for it. */
  secret(permit: Permit): Secret
  /** A key of the gateway that targets were told to trust. */
  keys(permit: Permit, purpose: string): KeyPair
}

/** What a protocol gets for one client socket: the steps of a login that are the same for every protocol. */
export interface Door {
  readonly protocol: string
  readonly address: string
  /** Where people sign in. */
  readonly origin: string
  readonly limits: { readonly login_ms: number; readonly frame_bytes: number }
  /** Whether the operator lets clients in without TLS. */
  readonly plaintext: boolean
  /** The listener's certificate, always the newest one. */
  tls(): SecureContext
  /** Keys of the gateway, its host key among them. */
  readonly keys: Keys
  /** Finds a ticket by its public id. `undefined` for an unknown, ended or foreign one. */
  ticket(id: string): Promise<PresentedTicket | undefined>
  /** 32 bytes that stay the same for an unknown id on every worker: a mock verifier made of them looks like a real one. */
  pretence(id: string): Buffer
  /**
   * After the secret was proved: decides `access` again, opens or joins the session, starts its recording, mints or
   * reuses the lease. Refusals are values, to be told in the protocol's own words.
   */
  open(
    ticket: PresentedTicket,
    client: { readonly application: string; readonly facts?: Record<string, string> },
  ): Promise<Opened | Refusal>
  /** A client that failed to prove its secret, or was malformed before that: counted, limited and an Event. */
  failed(reason: string, facts: Record<string, string>): void
  /** Sends a protocol's out-of-band message (PostgreSQL's cancel) to the worker or replica that owns the connection. */
  relayOutOfBand(connectionNumber: number, payload: Uint8Array): void
  onOutOfBand(connectionNumber: number, run: (payload: Uint8Array) => void): Disposable
  /** A number for out-of-band keys that no other worker or replica uses now (31 bits: replica, worker, counter). */
  nextConnectionNumber(): number
}

export interface PresentedTicket {
  readonly id: string
  readonly resource: string
  readonly role: string
  readonly verifiers: Readonly<Record<string, string>>
}

export interface Refusal {
  readonly refused: true
  readonly code: string
  readonly message: string
  readonly remedy: string
  readonly decision_id: string | null
}

/** One open connection of a session, and the gate that everything on it passes. */
export interface Opened {
  readonly refused: false
  readonly connection_id: string
  readonly session_id: string
  readonly subject: SubjectFacts
  readonly resource: Resource
  readonly role: string
  readonly permit: Permit
  /** Its `resource` is as the protocol of the wire reads it. */
  readonly target: Target
  readonly credential: Minted
  readonly gate: Gate
  readonly moderation: Moderation
  /** Who understands the commands of this resource, where its protocol rides on the one that serves the connection. */
  readonly commands: CommandHandler | null
  /** Fires once when the session must end now: revoked, expired, policy changed, recorder lost. `reason` is a Refusal. */
  readonly ended: AbortSignal
  /** The peer is gone or the protocol is done. Idempotent. */
  close(reason: string): Promise<void>
}

/** Bytes that wait for the journal. */
export interface Forwarding {
  /** All that was recorded until now is being written: what belongs to it is set aside, what comes later waits for the next time. */
  take(): void
  /** It is in the journal: what was set aside goes on. */
  forward(): void
}

/**
 * Where policy demands that somebody watches, nothing passes while nobody does: a protocol that can wait holds what it has
 * read, both ways and bounded, and shows `message`; the gate refuses what is judged meanwhile.
 */
export interface Moderation {
  /** It may change while the session lives. */
  readonly required: boolean
  /** `watched` also where nobody is demanded. */
  state(): 'watched' | 'waiting'
  /** For the person who waits: for whom, and what those people do. */
  readonly message: string
  onChange(run: (state: 'watched' | 'waiting') => void): Disposable
}

/**
 * INVARIANT: decide → record → forward, and mask → record → reply. Everything on a connection goes through here: judge and
 * record as the messages are read, `whenRecorded` or `commit` once for what they came in, and only then forward.
 */
export interface Gate {
  readonly about: { readonly subject: SubjectFacts; readonly resource: ResourceFacts; readonly role: string }
  /**
   * Decides the actions of one client message in order (all or nothing) and journals them. Never throws. Where policy asks
   * for an approval it answers with a Hold if the protocol can let them wait (`waits`), else with a denial.
   */
  judge(
    actions: readonly ActionFacts[],
    record: { readonly text: string | null; readonly extra?: Record<string, unknown> },
    waits?: Waits,
  ): Verdict
  /** Journals that the protocol itself refused something that policy allowed (masking, unknown frame). */
  refuse(reason: { readonly rule: string; readonly message: string; readonly text: string | null }): void
  /** Journals what happened (already masked); `packed` is a member that is MessagePack already. Throws nothing: a lost journal fires `ended` and fails `commit`. */
  record(kind: string, body: Record<string, unknown>, packed?: PackedMember): void
  /** Journals into the layer of originals what must not stand in the other one: input, hidden literals. Nothing where policy drops them. */
  recordOriginal(kind: string, body: Record<string, unknown>): void
  /**
   * Lets bytes go on once all that the session judged and recorded until then is in the journal: at once or at the end of
   * this turn of the event loop, in one record with what its other connections do meanwhile. Never, if the session ends before.
   */
  whenRecorded(forwarding: Forwarding): void
  /**
   * The same at once, for what already waits too: puts what was judged and recorded into the journal. `false`: nothing may be forwarded, the session is ending.
   * A promise where the recording is strict: forward when it says so.
   */
  commit(): boolean | Promise<boolean>
  /** A promise where much more was recorded than could be shipped: a protocol that carries much reads on when it resolves. */
  behind(): Promise<void> | undefined
  /** The masking rules in force for this session. */
  rules(): readonly MaskRule[]
  /** Key of the transform `hash`. */
  readonly maskKey: Buffer
  /** Called when a new revision changed the rules; the protocol refits its plan, or returns why it cannot: then the session ends. */
  onRules(refit: (rules: readonly MaskRule[]) => string | undefined | Promise<string | undefined>): void
  readonly settings: {
    readonly level: 'full' | 'metadata'
    readonly results: 'all' | 'head' | 'none'
    readonly head_rows: number
    readonly originals: 'drop' | 'sealed'
  }
}
