import { execFileSync, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parsePublicKeyLine } from '../../../src/protocols/ssh/wire/public-key.ts'

/** A folder for keys and known hosts, gone at the end of the test. */
export function keyFolder(): { readonly path: string; readonly gone: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'sallyport-ssh-'))
  chmodSync(path, 0o700)
  return { path, gone: () => rmSync(path, { recursive: true, force: true }) }
}

export function sshKeygen(...args: readonly string[]): string {
  return execFileSync('ssh-keygen', ['-q', '-N', '', ...args], { encoding: 'utf8' })
}

/** Whether a process is there, ours or not. */
export function lives(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

export interface Sshd {
  readonly port: number
  readonly host_key: Buffer
  readonly log: () => string
  readonly stop: () => Promise<void>
}

/** Debian's own sshd, with a host key of its own, for whom `config` admits. */
export async function startSshd(folder: string, config: readonly string[]): Promise<Sshd> {
  mkdirSync('/run/sshd', { recursive: true, mode: 0o755 })
  const host = join(folder, `host-${config.length}-${Date.now()}`)
  sshKeygen('-t', 'ed25519', '-f', host)
  const port = await freePort()
  const file = `${host}.conf`
  const lines = [
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${host}`,
    'PidFile none',
    'UsePAM no',
    'StrictModes no',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'Subsystem sftp internal-sftp',
    'LogLevel VERBOSE',
    ...config,
  ]
  writeFileSync(file, lines.join('\n'))
  const child = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', file], { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', text => {
    said += text
  })
  while (!said.includes('Server listening')) {
    if (child.exitCode !== null) throw new Error(`sshd did not start: ${said}`)
    await new Promise(done => setTimeout(done, 10))
  }
  return {
    port,
    host_key: parsePublicKeyLine(readFileSync(`${host}.pub`, 'utf8')).blob,
    log: () => said,
    stop: async () => {
      child.kill('SIGTERM')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'close')
    },
  }
}

export interface Ran {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** Runs a client to its end. */
export async function run(
  command: string,
  args: readonly string[],
  input = '',
  options: SpawnOptions = {},
): Promise<Ran> {
  const child = spawn(command, args, { ...options, stdio: ['pipe', 'pipe', 'pipe'] })
  const parts: Record<'out' | 'err', Buffer[]> = { out: [], err: [] }
  child.stdout!.on('data', (data: Buffer) => parts.out.push(data))
  child.stderr!.on('data', (data: Buffer) => parts.err.push(data))
  child.stdin!.on('error', () => {}).end(input)
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, out: Buffer.concat(parts.out).toString(), err: Buffer.concat(parts.err).toString() }
}

/** Options with which OpenSSH's clients look at nothing of the person who runs the tests. */
export function clientOptions(port: number): string[] {
  return [
    ['-F', 'none'],
    ['-o', `Port=${port}`],
    ['-o', 'StrictHostKeyChecking=no'],
    ['-o', 'UserKnownHostsFile=/dev/null'],
    ['-o', 'IdentitiesOnly=yes'],
    ['-o', 'IdentityAgent=none'],
    ['-o', 'BatchMode=yes'],
  ].flat()
}
