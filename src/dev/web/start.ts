import { spawnSync } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { spawnOnLifeline } from '../../db/lifeline.ts'
import { freePort } from '../../db/loopback.ts'
import { SallyportError } from '../../errors.ts'

/** The host key that the starter policies hold until they are copied. */
export const starterHostKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHNhbGx5cG9ydCBzdGFydGVyIGhvc3Qga2V5IDAwMDAx'

const program = '/usr/sbin/sshd'
const startMs = 60_000 // a machine with much else to do takes its time; the tree is told at once when the server ends

/** Whether this machine has an sshd to show. */
export function hasSshd(): boolean {
  return existsSync(program)
}

export interface Web {
  readonly port: number
  /** Public half of its host key, one line. */
  readonly hostKey: string
  /** The login that this machine allows us to give: who runs this. */
  readonly login: string
  readonly logFile: string
  readonly exited: Promise<number | null>
  /** From now on it believes certificates of this CA. */
  trust(ca: string): void
  /** From now on this key opens the login too. */
  authorize(publicKey: string): void
  stop(): Promise<void>
}

/** Starts the demo target: OpenSSH's own server with its own keys, on loopback, for the login that runs this. */
export async function startWeb(options: {
  readonly dataDir: string
  readonly port: number
  /** More lines for sshd_config. */
  readonly settings?: readonly string[]
}): Promise<Web> {
  const { dataDir } = options
  mkdirSync(dataDir, { recursive: true, mode: 0o700 })
  const port = options.port === 0 ? await freePort() : options.port
  const path = (name: string) => join(dataDir, name)
  if (!existsSync(path('host_key'))) keygen(path('host_key'))
  for (const name of ['ca.pub', 'authorized_keys']) if (!existsSync(path(name))) writeFileSync(path(name), '')
  if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 })
  const config = [
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${path('host_key')}`,
    `PidFile ${path('pid')}`,
    `TrustedUserCAKeys ${path('ca.pub')}`,
    `AuthorizedKeysFile ${path('authorized_keys')}`,
    'UsePAM no',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'StrictModes no',
    'PermitRootLogin prohibit-password',
    'PermitUserEnvironment no',
    'AcceptEnv LANG LC_* GIT_PROTOCOL',
    'SetEnv SHLVL=1', // a command then does not begin with the developer's own ~/.bashrc, as bash would have it of sshd
    'Subsystem sftp internal-sftp',
    'MaxStartups 200:30:400',
    'MaxSessions 200',
    'LogLevel VERBOSE',
    ...(options.settings ?? []),
  ]
  writeFileSync(path('sshd_config'), `${config.join('\n')}\n`)
  const log = path('sshd.log')
  const out = openSync(log, 'a', 0o600)
  const { exited, cut } = spawnOnLifeline([program, '-D', '-e', '-f', path('sshd_config')], {
    ending: 'kill', // a background child of a shell ignores SIGINT, and sshd leaves it so
    cwd: dataDir,
    env: process.env,
    output: out,
  })
  closeSync(out)
  const stop = async () => {
    cut()
    await exited
  }
  try {
    await answers(port, exited, log)
  } catch (error) {
    await stop()
    throw error
  }
  return {
    port,
    hostKey: readFileSync(path('host_key.pub'), 'utf8').split(' ').slice(0, 2).join(' ').trim(),
    login: userInfo().username,
    logFile: log,
    exited,
    trust: ca => writeFileSync(path('ca.pub'), `${ca}\n`),
    authorize: key => writeFileSync(path('authorized_keys'), `${key}\n`),
    stop,
  }
}

function keygen(path: string): void {
  rmSync(path, { force: true })
  const made = spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'web-1', '-f', path], {
    encoding: 'utf8',
  })
  if (made.status !== 0)
    throw new SallyportError('internal', `no host key could be made: ${made.stderr || String(made.error)}`)
}

async function answers(port: number, exited: Promise<unknown>, log: string): Promise<void> {
  let gone = false
  void exited.then(() => (gone = true))
  for (const until = Date.now() + startMs; Date.now() < until && !gone; await sleep(50)) {
    const up = await new Promise<boolean>(resolve => {
      const socket = connect(port, '127.0.0.1')
      socket.once('data', () => resolve(true)).once('error', () => resolve(false))
      socket.once('close', () => resolve(false))
      setTimeout(() => socket.destroy(), 5000).unref()
    })
    if (up) return
  }
  throw new SallyportError('internal', `the demo server did not start: ${readFileSync(log, 'utf8').slice(-800)}`, {
    remedy: `its log is ${log}`,
  })
}
