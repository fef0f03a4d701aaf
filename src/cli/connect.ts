import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { SallyportError } from '../errors.ts'
import type { ClientCommand, IssuedTicket, Protocol, Resource } from '../gateway/protocol.ts'
import { allProtocols } from '../protocols/all.ts'
import { Secret } from '../secret.ts'
import { ask } from './access.ts'
import type { Client } from './client.ts'
import { instant, say } from './output.ts'
import { configFolder } from './profile.ts'

export interface TicketAnswer {
  readonly id: string
  readonly secret: string
  readonly resource: Resource
  readonly role: string
  readonly host: string
  readonly port: number
  readonly ca: string
  readonly expires_at_ms: number
}

export interface ConnectOptions {
  readonly role?: string
  readonly for: number
  readonly reason?: string
  readonly ticket?: string
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
  const answer = await ticketFor(client, resource, options)
  const protocol = protocolNamed(answer.resource.protocol)
  const ticket: IssuedTicket = {
    ...answer,
    secret: new Secret(answer.secret),
    ca_file: keepCa(answer.host, answer.port, answer.ca),
  }
  const command = protocol.client(ticket, args)
  if (options.print) {
    for (const line of command.print) say(`${line.label.padEnd(10)} ${line.value}`)
    say(`${'expires'.padEnd(10)} ${instant(ticket.expires_at_ms)} if it is not used before`)
    return 0
  }
  return run(command)
}

async function ticketFor(client: Client, resource: string, options: ConnectOptions): Promise<TicketAnswer> {
  const body = { resource, ...(options.role === undefined ? {} : { role: options.role }) }
  try {
    return await client.post<TicketAnswer>('/api/tickets', body)
  } catch (error) {
    // No grant covers this now: with a reason given, ask for one. Everything else is told as it is.
    if (!(error instanceof SallyportError) || error.code !== 'policy_denied' || options.reason === undefined)
      throw error
  }
  if (options.role === undefined) {
    throw new SallyportError('bad_request', 'which role do you ask for?', {
      remedy: 'add --role; `sallyport resources` lists them',
    })
  }
  await ask(client, {
    resource,
    role: options.role,
    duration_s: options.for,
    reason: options.reason,
    ticket_ref: options.ticket,
    wait: true,
  })
  return client.post<TicketAnswer>('/api/tickets', body)
}

function protocolNamed(name: string): Protocol {
  const protocol = allProtocols.find(p => p.name === name)
  if (protocol === undefined) throw new SallyportError('unsupported', `this build has no client for ${name}`)
  return protocol
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
