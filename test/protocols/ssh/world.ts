import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import type { SubjectFacts } from '../../../src/policy/points.ts'
import { client } from '../../../src/protocols/ssh/client.ts'
import type { Edit } from '../../approvals/world.ts'
import { createGatewayWorld, type GatewayWorld } from '../../gateway/world.ts'

/** People of the group `dbas` operate web-1 without asking: what is tested here begins behind that. */
export const standing: Edit = [
  'access/access.rego',
  '\tinput.role == "reader"\n\t"dbas" in',
  '\tinput.role in {"reader", "operator", "root"}\n\t"dbas" in',
]

export type Issued = Awaited<ReturnType<GatewayWorld['ticket']>>

export interface Said {
  readonly code: number | null
  readonly stdout: Buffer
  readonly stderr: string
}

/** OpenSSH's own client with a ticket. */
export function sshArguments(world: GatewayWorld, port: number, issued: Issued): string[] {
  const folder = mkdtempSync(join(world.folder, 'ticket-'))
  const command = client(
    { ...issued, secret: issued.secret as never, host: '127.0.0.1', port, ca_file: '', expires_at_ms: 0, folder },
    [],
  )
  return ['-F', '/dev/null', '-o', 'BatchMode=yes', ...command.argv.slice(1)]
}

export function startSsh(world: GatewayWorld, port: number, issued: Issued, ...rest: string[]): ChildProcess {
  const args = sshArguments(world, port, issued)
  const host = args.pop()!
  const [options, words] = split(rest)
  return spawn('ssh', [...args, ...options, host, ...words], { stdio: 'pipe', env: { PATH: process.env['PATH'] } })
}

/** Options for ssh stand before `--`, the command behind it. */
function split(rest: readonly string[]): [string[], string[]] {
  const at = rest.indexOf('--')
  return at < 0 ? [[], [...rest]] : [rest.slice(0, at), rest.slice(at + 1)]
}

export function said(child: ChildProcess): Promise<Said> {
  const out: Buffer[] = []
  let stderr = ''
  child.stdout?.on('data', chunk => out.push(chunk))
  child.stderr?.on('data', chunk => (stderr += chunk))
  return new Promise(resolve => {
    child.on('close', code => resolve({ code, stdout: Buffer.concat(out), stderr }))
  })
}

export function ssh(world: GatewayWorld, port: number, issued: Issued, ...rest: string[]): Promise<Said> {
  const child = startSsh(world, port, issued, ...rest)
  child.stdin?.end()
  return said(child)
}

/** A gateway, a real sshd behind it, and somebody who may operate it. */
export async function createSshWorld(settings: readonly string[] = []) {
  const world = await createGatewayWorld({ web: settings })
  const gateway = await world.gateway()
  await world.activate(standing)
  const person: SubjectFacts = await world.person('operator', ['dbas'])
  const port = gateway.portOf('ssh')
  const ticket = (role = 'operator', subject = person) => world.ticket(subject, role, 'web-1')
  return {
    world,
    gateway,
    port,
    person,
    ticket,
    run: async (...rest: string[]) => ssh(world, port, await ticket(), ...rest),
    close: () => world.close(),
  }
}

export type SshWorld = Awaited<ReturnType<typeof createSshWorld>>
