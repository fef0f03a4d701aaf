import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { SallyportError } from '../../errors.ts'
import type { Secret } from '../../secret.ts'

/** Where a policy repository is, and how it is reached. */
export interface RemoteOptions {
  /** A local path, a file://, https:// or ssh:// URL, or user@host:path. */
  readonly source: string
  readonly token?: Secret | undefined
  /** File of the certificates (PEM) that may vouch for an https source; those of the system where it is not set. */
  readonly ca?: string | undefined
  /** The deploy key and the host keys that the server may show: lines of `ssh-keyscan` without the host. */
  readonly ssh?: DeployKey | undefined
}

export interface DeployKey {
  readonly key: Secret
  readonly host_keys: readonly string[]
}

export interface Remote {
  readonly transport: 'file' | 'https' | 'openssh'
  /** As git is given it; no secret stands in it. */
  readonly url: string
  /** Of ssh, as known_hosts names it. */
  readonly host?: string
}

/** What a run of git needs to reach the remote; disposed of when it ends. */
export interface Reach extends Disposable {
  readonly config: readonly (readonly [string, string])[]
  readonly env: Readonly<Record<string, string>>
}

/** Everything is forbidden to git (git-run.ts) but the one transport of the source. */
const allow = { file: 'protocol.file.allow', https: 'protocol.https.allow', openssh: 'protocol.ssh.allow' } as const
const user = '[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}'
const host = '[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|\\[[0-9a-fA-F:.]{2,45}\\]'
const path = '[A-Za-z0-9_.~/+@-]{0,500}'
const sshUrl = new RegExp(`^ssh://${user}@(${host})(?::([0-9]{1,5}))?/${path}$`)
const scpLike = new RegExp(`^${user}@(${host}):(?![/-]{2}|-)[A-Za-z0-9_.~/]${path}$`)
const hostKey = /^((?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]{1,60}) ([A-Za-z0-9+/]{40,1500}={0,3})(?: .*)?$/

/** @throws SallyportError `bad_config` for a source that is not one, or one without what its transport demands. */
export function parseRemote(options: RemoteOptions): Remote {
  const { source } = options
  if (source.startsWith('/')) return { transport: 'file', url: `file://${source}` }
  if (/^file:\/\/\/[^\s]+$/.test(source)) return { transport: 'file', url: source }
  if (/^https:\/\/[^\s@/]+\/[^\s]+$/.test(source)) return { transport: 'https', url: source }
  const [, name, port] = sshUrl.exec(source) ?? scpLike.exec(source) ?? []
  if (name !== undefined) return sshRemote(options, name, port)
  throw new SallyportError(
    'bad_config',
    'policy.source is no absolute path, file:// URL, https:// URL without credentials, ssh://USER@HOST/PATH or USER@HOST:PATH',
    { remedy: 'put a token into policy.token, or a deploy key into policy.ssh' },
  )
}

function sshRemote({ source, ssh }: RemoteOptions, name: string, port: string | undefined): Remote {
  if (ssh === undefined || ssh.host_keys.length === 0)
    throw new SallyportError('bad_config', 'policy.source is reached by ssh, and policy.ssh is missing', {
      remedy: 'set policy.ssh.key (file:/PATH of a deploy key) and policy.ssh.host_keys (what the server must show)',
    })
  const wrong = ssh.host_keys.findIndex(line => !hostKey.test(line))
  if (wrong >= 0)
    throw new SallyportError('bad_config', `policy.ssh.host_keys[${wrong}] is no public key`, {
      remedy: 'write it as TYPE BASE64, as the owner of the server published it',
    })
  const plain = name.replace(/^\[|\]$/g, '')
  return { transport: 'openssh', url: source, host: port === undefined || port === '22' ? plain : `[${plain}]:${port}` }
}

/** The credentials of a remote, for one run of git: none of them is in its arguments. `dir` is a folder of our own. */
export function reach(remote: Remote, options: RemoteOptions, dir: string): Reach {
  const allowed: [string, string] = [allow[remote.transport], 'always']
  const none = { env: {}, [Symbol.dispose]: () => {} }
  if (remote.transport === 'openssh') return { ...reachBySsh(remote, options.ssh!, dir), config: [allowed] }
  if (remote.transport === 'file') return { ...none, config: [allowed] }
  const config: [string, string][] = [allowed]
  if (options.token !== undefined) {
    const basic = Buffer.from(`x-access-token:${options.token.reveal()}`).toString('base64')
    // for this origin alone, whatever an answer of it may lead git to
    config.push([`http.${new URL(remote.url).origin}/.extraHeader`, `Authorization: Basic ${basic}`])
  }
  if (options.ca !== undefined) config.push(['http.sslCAInfo', options.ca])
  return { ...none, config }
}

/**
 * OpenSSH with a configuration that is whole: no agent, no configuration or known hosts of user or system, and a host key
 * that is not pinned ends the connection. The key's copy lives as long as the run: ssh wants a file of its own with mode 0600.
 */
function reachBySsh({ host }: Remote, ssh: DeployKey, dir: string) {
  if (/["$%\n]/.test(dir)) throw new SallyportError('bad_config', 'the data folder has a name that ssh cannot be given')
  const folder = mkdtempSync(join(dir, sshFolder))
  const [key, known, config] = ['key', 'known_hosts', 'config'].map(name => join(folder, name)) as [
    string,
    string,
    string,
  ]
  const write = (file: string, text: string) => writeFileSync(file, text, { mode: 0o600, flag: 'wx' })
  write(key, `${ssh.key.reveal().trimEnd()}\n`)
  write(known, ssh.host_keys.map(line => `${host} ${line.split(' ').slice(0, 2).join(' ')}\n`).join(''))
  write(
    config,
    [
      'Host *',
      `IdentityFile "${key}"`,
      `UserKnownHostsFile "${known}"`,
      'GlobalKnownHostsFile /dev/null',
      'StrictHostKeyChecking yes',
      'UpdateHostKeys no',
      'VerifyHostKeyDNS no',
      'CheckHostIP no',
      'CanonicalizeHostname no',
      'IdentitiesOnly yes',
      'IdentityAgent none',
      'PreferredAuthentications publickey',
      'PubkeyAuthentication yes',
      'BatchMode yes',
      'ClearAllForwardings yes',
      'ForwardAgent no',
      'PermitLocalCommand no',
      'ProxyCommand none',
      'ControlMaster no',
      'ControlPath none',
      'ConnectTimeout 15',
      'ServerAliveInterval 15',
      'ServerAliveCountMax 2',
      'LogLevel ERROR',
      '',
    ].join('\n'),
  )
  return {
    env: { GIT_SSH_COMMAND: `ssh -F '${config.replaceAll("'", `'\\''`)}'` },
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  }
}

/** Prefix of the folders that hold a deploy key during a run: what a killed process left is removed by the next. */
export const sshFolder = 'ssh-'

/** What ssh says at length about a host key that is not pinned, in one sentence; else undefined. */
export function hostKeyProblem(stderr: string): string | undefined {
  return /Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED|host key is known for/.test(stderr)
    ? 'the server shows a host key that is none of policy.ssh.host_keys'
    : undefined
}
