
import type { Socket } from 'node:net'
import type { TSchema } from 'typebox'
import type { Secret } from '../secret.ts'
import type { ActionFacts, MaskRule } from '../policy/points.ts'
import type { Decision } from '../policy/decision.ts'
import type { Permit } from '../policy/permit.ts'

/** A resource as the policy repository declares it, its options already checked by the protocol's schema. */
export interface Resource {
  readonly name: string
  readonly protocol: string
  readonly host: string
  readonly port: number
  readonly labels: Readonly<Record<string, string>>
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

/** A ticket as its holder gets it, once. */
export interface IssuedTicket {
  readonly id: string
  readonly secret: Secret
  readonly resource: string
  readonly role: string
  readonly host: string
  readonly port: number
  readonly ca_file: string
  readonly expires_at_ms: number
}

/** How a client is started with a ticket: argv, environment, and the lines that `--print` shows for other clients. */
export interface ClientCommand {
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly print: readonly { readonly label: string; readonly value: string }[]
}

/** The protocol contract (design §4). A new protocol is one folder that exports one of these, and one line in protocols/all.ts. */
export interface Protocol {
  readonly name: string
  readonly options: TSchema
  readonly actionSchema: TSchema
  readonly capabilities: Capabilities
  readonly listener: { readonly kind: 'tcp'; readonly defaultPort: number }
  /** What we keep of a ticket's secret. Sealed by sessions/; never the secret itself. */
  verifiers(secret: Secret): Record<string, string>
  /** Serves one client socket to its end. It never throws; what goes wrong is told to the client in its own words. */
  accept(socket: Socket, door: Door): Promise<void>
  readonly lease: LeaseProvider
  client(ticket: IssuedTicket, args: readonly string[]): ClientCommand
}

/** The credential on the target's side. Both calls take a Permit and may dial only what it names. */
export interface LeaseProvider {
  mint(permit: Permit, target: Target, lease: { readonly id: string; readonly session_id: string; readonly ends_at_ms: number }): Promise<Minted>
  reap(permit: Permit, target: Target, lease: { readonly id: string; readonly facts: Readonly<Record<string, unknown>> }): Promise<void>
}

/** `facts` go into the leases table before `mint` acts (`plan`), the credential stays in memory. */
export interface Minted {
  readonly kind: string
  readonly facts: Record<string, unknown>
  readonly user: string
  readonly password: Secret
}

/** Dials the resource's address after checking it against the secret's allowed hosts and the forbidden ranges. */
export interface Target {
  readonly resource: Resource
  connect(permit: Permit): Promise<Socket>
  /** Resolves a secret by the name that the resource gives; refuses a name, host or label the operator did not declare. */
  secret(permit: Permit, name: string): Promise<Secret>
}

/** What a protocol gets for one client socket: the steps of a login that are the same for every protocol. */
export interface Door {
  readonly tls: { readonly key: string; readonly cert: string; readonly ca: string }
  readonly limits: { readonly login_ms: number; readonly frame_bytes: number }
  /** Finds a ticket by its public id. `undefined` for an unknown or ended one; take the same time for both. */
  ticket(id: string): Promise<PresentedTicket | undefined>
  /**
   * After the secret was proved: decides `access` again, opens or joins the session, starts its recording, mints or
   * reuses the lease. Refusals are values, to be told in the protocol's own words.
   */
  open(ticket: PresentedTicket, client: { readonly address: string; readonly application: string }): Promise<Opened | Refusal>
  /** A client that failed to prove its secret, or was malformed before that: counted, limited and an Event. */
  failed(reason: string, facts: Record<string, string>): void
  /** Asks every worker and replica to run a protocol's out-of-band message for a connection (PostgreSQL's cancel). */
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
  readonly resource: Resource
  readonly role: string
  readonly permit: Permit
  readonly target: Target
  readonly user: string
  readonly password: Secret
  readonly gate: Gate
  /** Fires once when the session must end now: revoked, expired, policy changed, recorder lost. */
  readonly ended: AbortSignal // reason is a Refusal
  /** The peer is gone or the protocol is done. Idempotent. */
  close(reason: string): Promise<void>
}

/** INVARIANT: decide → record → forward, and mask → record → reply. Everything on a connection goes through here. */
export interface Gate {
  /** Decides the actions of one client message in order and journals them before it returns. Never throws. */
  judge(actions: readonly ActionFacts[], record: { readonly text: string | null; readonly extra?: Record<string, unknown> }): Verdict
  /** Journals what happened (already masked). Throws nothing: a lost journal fires `ended`. `false`: do not forward. */
  record(kind: string, body: Record<string, unknown>): boolean
  /** The masking rules in force for this session. Fires `ended` when a new revision's rules cannot be carried out. */
  rules(): readonly MaskRule[]
  /** Called when a new revision changed the rules; the protocol refits its plan, or returns why it cannot. */
  onRules(refit: (rules: readonly MaskRule[]) => string | undefined): void
  readonly settings: { readonly level: 'full' | 'metadata'; readonly results: 'all' | 'head' | 'none'; readonly head_rows: number }
}

export interface Verdict {
  readonly allowed: boolean
  /** The decision that denied, or the last one that allowed. */
  readonly decision: Decision
  /** Text of the denial: rule, file:line@commit, decision id, remedy. Empty when allowed. */
  readonly message: string
}

