import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Resource } from '../../../src/gateway/protocol.ts'
import { client } from '../../../src/protocols/ssh/client.ts'
import { prepare } from '../../../src/protocols/ssh/person.ts'
import { Secret } from '../../../src/secret.ts'
import type { Person } from '../../support/person.ts'
import type { System } from '../live/system.ts'

/** One way to the same server: what OpenSSH's clients get of options, and the name that they dial. */
export interface Way {
  readonly name: string
  readonly options: readonly string[]
  readonly host: string
}

const quiet = ['-F', '/dev/null', '-o', 'BatchMode=yes', '-o', 'LogLevel=ERROR']

/** Straight to the demo server, with a key that it takes from now on. */
export function directWay(system: System, folder: string): Way {
  const { web } = system.dev
  if (web === undefined) throw new Error('this machine has no sshd')
  const { offer, secret } = prepare()
  const place = mkdtempSync(join(folder, 'direct-'))
  writeFileSync(join(place, 'key'), secret.reveal(), { mode: 0o600 })
  writeFileSync(join(place, 'known_hosts'), `[127.0.0.1]:${web.port} ${web.hostKey}\n`)
  web.authorize(offer['public_key']!)
  const options = [
    `Port=${web.port}`,
    `User=${web.login}`,
    `IdentityFile=${join(place, 'key')}`,
    'IdentitiesOnly=yes',
    'IdentityAgent=none',
    `UserKnownHostsFile=${join(place, 'known_hosts')}`,
  ]
  return { name: 'direct', options: [...quiet, ...options.flatMap(each => ['-o', each])], host: '127.0.0.1' }
}

export interface BenchTicket {
  readonly id: string
  readonly key: Secret
  readonly host: string
  readonly port: number
  readonly way: Way
}

/** A ticket as a client's start is told of it. @throws Error with what the API said, where it gives none. */
export async function takeTicket(who: Person, folder: string, resource: string, role: string) {
  const { offer, secret } = prepare()
  const { status, body } = await who.post('/api/tickets', { resource, role, offer })
  if (status !== 201) throw new Error(`no ticket: ${JSON.stringify(body)}`)
  const answer = body as unknown as {
    id: string
    secret: string
    host: string
    port: number
    resource: Resource
    role: string
    credential: Record<string, string>
    published: Record<string, string>
  }
  mkdirSync(folder, { recursive: true })
  const ticket = {
    ...answer,
    secret: new Secret(answer.secret),
    prepared: secret,
    ca_file: '',
    expires_at_ms: 0,
    folder: mkdtempSync(join(folder, 'ticket-')),
  }
  return { ticket, key: secret }
}

/** Through the gateway, as `sallyport connect` would go. */
export async function ticketWay(who: Person, folder: string, resource = 'web-1'): Promise<BenchTicket> {
  const { ticket, key } = await takeTicket(who, folder, resource, 'operator')
  const { argv } = client(ticket, [])
  const port = argv.indexOf('-p')
  const options = [...quiet, ...argv.slice(1, port), '-o', `Port=${ticket.port}`]
  const { id, host } = ticket
  return { id, key, host, port: ticket.port, way: { name: 'sallyport', options, host } }
}

/** As the person's own settings go there. */
export function peerWay(text: string): Way {
  const found = /^([^=]+)=(.+):(\d+)$/.exec(text)
  if (found === null) throw new Error(`--peer wants NAME=HOST:PORT, not '${text}'`)
  return { name: found[1]!, options: ['-o', 'BatchMode=yes', '-o', `Port=${found[3]}`], host: found[2]! }
}

/** Runs a client to its end. @returns how long it took, in seconds. */
export async function timed(program: string, args: readonly string[]): Promise<number> {
  const started = performance.now()
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'], env: cleanEnv() })
  let said = ''
  child.stderr.on('data', chunk => (said += chunk))
  const code = await new Promise<number | null>(resolve => child.once('close', resolve))
  if (code !== 0) throw new Error(`${program} ended with ${code}: ${said}`)
  return (performance.now() - started) / 1000
}

export function start(program: string, args: readonly string[]): ChildProcess {
  return spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'], env: cleanEnv() })
}

function cleanEnv(): NodeJS.ProcessEnv {
  return { PATH: process.env['PATH'], HOME: process.env['HOME'], TERM: 'xterm' }
}
