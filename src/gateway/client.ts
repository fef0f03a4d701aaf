import type { Secret } from '../secret.ts'
import type { ListeningProtocol, PublicFacts, Resource, RidingProtocol } from './protocol.ts'

/** A protocol on the machine of the person: what it makes for a ticket, how its client starts, which commands it brings. */

/** What a client makes before it asks for a ticket. `secret` never leaves its machine. */
export interface Preparation {
  readonly offer: PublicFacts
  readonly secret: Secret
}

/** A ticket as its holder gets it, once. */
export interface IssuedTicket {
  readonly id: string
  readonly secret: Secret
  readonly resource: Resource
  readonly role: string
  readonly host: string
  readonly port: number
  readonly ca_file: string
  readonly expires_at_ms: number
  readonly credential: PublicFacts
  /** What the gateways publish for this protocol. */
  readonly published: PublicFacts
  /** What `prepare` made. */
  readonly prepared: Secret | null
  /** A folder of this ticket alone, open to its holder only; it goes when the client ends. */
  readonly folder: string
}

/** How a client is started with a ticket: argv, environment, and the lines that `--print` shows for other clients. */
export interface ClientCommand {
  readonly argv: readonly string[]
  /** Variables to set; `undefined` takes one out, so that the person's own settings do not lead elsewhere. */
  readonly env: Readonly<Record<string, string | undefined>>
  readonly print: readonly { readonly label: string; readonly value: string }[]
  /** Takes the place of argv[0] where that is not installed: reads lines, runs them, prints what came back. */
  readonly fallback?: (input: NodeJS.ReadableStream, output: NodeJS.WritableStream) => Promise<number>
}

/** One command: `sallyport NAME ARGUMENTS`; a second word in the name makes it a command of the first. It loads what it needs when it runs. */
export interface ProtocolCommand {
  readonly name: string
  /** In commander's words: `<resource> [args...]`. */
  readonly arguments: string
  readonly summary: string
  readonly options: readonly { readonly flags: string; readonly what: string; readonly default?: string }[]
  /** @returns the exit code. */
  run(line: CommandLine, args: readonly string[], options: Readonly<Record<string, unknown>>): Promise<number>
}

/** What the command line does for a protocol's command. */
export interface CommandLine {
  /** Address of the control plane. */
  readonly origin: string
  /** Folder of the command line's settings (0700). */
  readonly folder: string
  /** The sign-in that is used. */
  readonly profile: string
  /** How another program starts this command line again, as the same sign-in. */
  readonly program: readonly string[]
  ticket(resource: string, options: { readonly role?: string | undefined }): Promise<IssuedTicket>
  /** How the client of a ticket's resource is started. */
  client(ticket: IssuedTicket, args: readonly string[]): ClientCommand
  get<Answer>(path: string): Promise<Answer>
  start(command: ClientCommand): Promise<number>
  say(line: string): void
}

/** What of a protocol runs on a person's machine. INVARIANT: it loads nothing that only a gateway needs: every ssh of theirs waits for it. */
export type PersonSide = ListeningSide | RidingSide

export type ListeningSide = Pick<
  ListeningProtocol,
  'name' | 'listener' | 'carries' | 'client' | 'through' | 'prepare' | 'commands'
>

export type RidingSide = Pick<RidingProtocol, 'name' | 'listener' | 'client' | 'commands'>
