import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, realpathSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { SallyportError } from '../errors.ts'
import type {
  ClientCommand,
  CommandLine,
  IssuedTicket,
  ListeningSide,
  PersonSide,
  RidingSide,
} from '../gateway/client.ts'
import type { PublicFacts, Resource } from '../gateway/protocol.ts'
import { personSides } from '../protocols/persons.ts'
import { Secret } from '../secret.ts'
import { ask } from './access.ts'
import type { Client } from './client.ts'
import { instant, say } from './output.ts'
import { configFolder, profileName } from './profile.ts'
import { makeTicketFolder, sweepTickets, type TicketHolder } from './ticket-folders.ts'

export interface TicketAnswer {
  readonly id: string
  readonly secret: string
  readonly resource: Resource
  readonly role: string
  readonly host: string
  readonly port: number
  readonly ca: string
  readonly credential: PublicFacts
  readonly published: PublicFacts
  readonly expires_at_ms: number
}

export interface TicketOptions {
  readonly role?: string | undefined
  readonly for?: number
  readonly reason?: string
  readonly ticket?: string
  /** The sign-in that was chosen. */
  readonly profile?: string | undefined
}

export interface ConnectOptions extends TicketOptions {
  readonly print?: boolean
}

/**
 * Gets a ticket and starts the right client with it, or prints what any other client needs. Without a grant and with a
 * reason given it asks first and waits for the answer.
 * @returns the client's exit code.
 */
export async function connect(
  client: Client,
  resource: string,
  args: readonly string[],
  options: ConnectOptions,
): Promise<number> {
  const ticket = await issueTicket(client, resource, options)
  const command = clientOf(ticket, args)
  if (options.print) {
    for (const line of command.print) say(`${line.label.padEnd(10)} ${line.value}`)
    say(`${'expires'.padEnd(10)} ${instant(ticket.expires_at_ms)} if it is not used before`)
    return 0
  }
  try {
    return await run(command)
  } finally {
    rmSync(ticket.folder, { recursive: true, force: true })
  }
}

/** A ticket with everything that its protocol's client needs, its folder among them: whoever calls removes that. */
export async function issueTicket(client: Client, resource: string, options: TicketOptions): Promise<IssuedTicket> {
  const prepared = (await preparationFor(client, resource))?.()
  const answer = await ticketFor(client, resource, options, prepared?.offer)
  const holder = holderOf(client, options.profile)
  await sweepTickets(holder, async id => (await client.get<{ open: boolean }>(`/api/tickets/${id}`)).open)
  return {
    ...answer,
    secret: new Secret(answer.secret),
    ca_file: keepCa(answer.host, answer.port, answer.ca),
    prepared: prepared?.secret ?? null,
    folder: makeTicketFolder(holder, answer.id),
  }
}

/** What a protocol's own commands get of the command line. */
export function commandLineOf(client: Client, chosen: string | undefined): CommandLine {
  return {
    origin: client.origin,
    folder: configFolder(),
    ...startedAgain(chosen),
    ticket: (resource, options) => issueTicket(client, resource, { ...options, profile: chosen }),
    client: clientOf,
    get: path => client.get(path),
    start: run,
    say,
  }
}

function holderOf({ origin }: Client, chosen: string | undefined): TicketHolder {
  const { SALLYPORT_TOKEN: token } = process.env
  if (token === undefined) return { origin, profile: profileName(chosen) }
  return { origin, profile: `token ${createHash('sha256').update(token).digest('hex').slice(0, 16)}` }
}

/** Other programs may start us without the variables that say where our files lie and who we are. */
function startedAgain(chosen: string | undefined): Pick<CommandLine, 'profile' | 'program'> {
  const { XDG_CONFIG_HOME: folder, SALLYPORT_TOKEN: token } = process.env
  const profile = token === undefined ? profileName(chosen) : 'token'
  const program = [process.execPath, realpathSync(process.argv[1]!)]
  return {
    profile,
    program: [
      ...(folder === undefined ? [] : ['env', `XDG_CONFIG_HOME=${folder}`]),
      ...program,
      ...(token === undefined && profile !== 'default' ? ['--profile', profile] : []),
    ],
  }
}

/** How the protocol of the resource's wire prepares a ticket, where it does. */
async function preparationFor(client: Client, resource: string): Promise<ListeningSide['prepare']> {
  const { items } = await client.get<{ items: { name: string; protocol: string }[] }>('/api/resources')
  const name = items.find(each => each.name === resource)?.protocol
  const side = personSides.find(each => each.name === name)
  return side === undefined ? undefined : wireOf(side).prepare
}

async function ticketFor(
  client: Client,
  resource: string,
  options: TicketOptions,
  offer: PublicFacts | undefined,
): Promise<TicketAnswer> {
  const body = { resource, role: options.role, offer }
  try {
    return await client.post<TicketAnswer>('/api/tickets', body)
  } catch (error) {
    // No grant covers this now: with a reason given, ask for one. Everything else is told as it is.
    if (!(error instanceof SallyportError)) throw error
    if (error.facts['ask'] === true && options.reason === undefined) {
      const role = options.role === undefined ? '--role ROLE' : `--role ${options.role}`
      throw new SallyportError(error.code, error.message, {
        remedy: `ask and connect in one step: sallyport connect ${resource} ${role} --reason "…"`,
        facts: { ...error.facts },
        cause: error,
      })
    }
    if (error.code !== 'policy_denied' || options.reason === undefined) throw error
  }
  if (options.role === undefined) {
    throw new SallyportError('bad_request', 'which role do you ask for?', {
      remedy: 'add --role; `sallyport resources` lists them',
    })
  }
  await ask(client, {
    resource,
    role: options.role,
    duration_s: options.for ?? 3600,
    reason: options.reason,
    ticket_ref: options.ticket,
    wait: true,
  })
  return client.post<TicketAnswer>('/api/tickets', body)
}

/** Whose listener it is reached by: its own, or that of what carries it. */
function wireOf(side: PersonSide): ListeningSide {
  if (!rides(side)) return side
  const { carried } = side.listener
  const carrier = personSides.find(each => !rides(each) && each.carries === carried)
  if (carrier === undefined || rides(carrier)) throw new TypeError(`nothing carries ${carried}`)
  return carrier
}

const rides = (side: PersonSide): side is RidingSide => side.listener.kind === 'rides-on'

function clientOf(ticket: IssuedTicket, args: readonly string[]): ClientCommand {
  const { name, protocol } = ticket.resource
  const side = personSides.find(each => each.name === protocol)
  if (side === undefined) throw new SallyportError('unsupported', `this build has no client for ${protocol}`)
  if (!rides(side)) return side.client(ticket, args)
  return side.client(ticket, args, wireOf(side).through?.(ticket, name) ?? [])
}

/** Clients want the CA as a file; it is public, one file a gateway, replaced in one step. */
function keepCa(host: string, port: number, pem: string): string {
  const folder = join(configFolder(), 'ca')
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const path = join(folder, `${host.replace(/[^\w.-]/g, '_')}_${port}.pem`)
  writeFileSync(`${path}.${process.pid}`, pem, { mode: 0o644 })
  renameSync(`${path}.${process.pid}`, path)
  return path
}

async function run(command: ClientCommand): Promise<number> {
  const [program, ...args] = command.argv
  if (!onPath(program!) && command.fallback !== undefined) return command.fallback(process.stdin, process.stdout)
  const child = spawn(program!, args, { stdio: 'inherit', env: environment(command.env) })
  const ignore = () => {} // Ctrl-C is the client's: it cancels a query there
  process.on('SIGINT', ignore)
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', cause =>
        reject(
          new SallyportError('not_found', `${program} could not be started`, {
            remedy: `install ${program}, or use --print with another client`,
            cause,
          }),
        ),
      )
      child.once('exit', (code, signal) => resolve(code ?? (signal === null ? 1 : 128)))
    })
  } finally {
    process.off('SIGINT', ignore)
  }
}

function environment(changes: ClientCommand['env']): NodeJS.ProcessEnv {
  const kept = Object.entries({ ...process.env, ...changes }).filter(([, value]) => value !== undefined)
  return Object.fromEntries(kept)
}

function onPath(program: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some(folder => folder !== '' && existsSync(join(folder, program)))
}
