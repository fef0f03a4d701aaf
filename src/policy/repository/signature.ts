import { hash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { SallyportError } from '../../errors.ts'
import { type ChildResult, runChild } from '../child.ts'
import { Refused } from '../problem.ts'
import { oneLine } from './git-run.ts'

/** Files of the deployment, never of the repository. One of the two is enough. */
export interface SignatureOptions {
  /** In the format of ssh-keygen(1), ALLOWED SIGNERS. */
  readonly allowed_signers?: string | undefined
  /** OpenPGP public keys, armored or not: each of them may sign. */
  readonly openpgp?: string | undefined
}

type Run = (
  args: readonly string[],
  extra: { readonly config: readonly (readonly [string, string])[]; readonly env: Readonly<Record<string, string>> },
) => Promise<ChildResult>

const maxKeysBytes = 4 << 20
const gpgConfig = [
  'no-autostart',
  'no-auto-key-retrieve',
  'no-auto-key-locate',
  'trust-model always',
  'weak-digest SHA1',
]

/** Keys that were made ready in a folder of ours. */
export interface Signers {
  /** The signer (principal or user id, and the key) of a good signature by one of the keys; `run` is what git said. */
  verify(id: string, object: 'commit' | 'tag', git: Run): Promise<{ signer: string | undefined; run: ChildResult }>
}

/** @throws SallyportError when the keys cannot be read. */
export async function signersIn(signatures: SignatureOptions, home: string): Promise<Signers> {
  for (const path of [signatures.allowed_signers, signatures.openpgp]) if (path !== undefined) expectKeys(path)
  writeFileSync(join(home, 'gpg.conf'), `${gpgConfig.join('\n')}\n`, { mode: 0o600 })
  if (signatures.openpgp !== undefined) await importKeys(home, signatures.openpgp)
  return {
    verify: async (id, object, git) => {
      const run = await git([`verify-${object}`, '--raw', id], {
        config: [['gpg.ssh.allowedSignersFile', signatures.allowed_signers ?? '/dev/null']],
        env: { GNUPGHOME: home },
      })
      return { signer: run.status === 0 && run.ended === undefined ? signerOf(run.stderr) : undefined, run }
    },
  }
}

/**
 * Who signed a commit, as `git verify-commit` finds with the deployment's own keys and nobody else's.
 * @returns the signer: principal or user id, and the key.
 * @throws Refused when nobody who may did; SallyportError when the deployment's keys cannot be read.
 */
export async function verifySignature(
  commit: string,
  signatures: SignatureOptions,
  dir: string,
  git: Run,
): Promise<string> {
  const home = mkdtempSync(join(dir, 'gnupg-'))
  try {
    const { signer, run } = await (await signersIn(signatures, home)).verify(commit, 'commit', git)
    if (signer !== undefined) return signer
    throw new Refused([{ code: 'signature', message: whyNot(commit, run) }])
  } finally {
    rmSync(home, { recursive: true, force: true })
  }
}

/**
 * Whether the key behind a signer of before (as `verifySignature` named them) is still one of the deployment's: who was
 * taken off the list since brings nothing back. It needs no git server.
 */
export async function isStillSigner(signer: string, signatures: SignatureOptions, dir: string): Promise<boolean> {
  const [, kind, key] = / (ssh|openpgp) (\S+)$/.exec(signer) ?? []
  if (key === undefined) return false
  if (kind !== 'openpgp') {
    if (signatures.allowed_signers === undefined) return false
    expectKeys(signatures.allowed_signers)
    return sshKeysIn(readFileSync(signatures.allowed_signers, 'utf8')).has(key)
  }
  if (signatures.openpgp === undefined) return false
  expectKeys(signatures.openpgp)
  const home = mkdtempSync(join(dir, 'gnupg-'))
  try {
    writeFileSync(join(home, 'gpg.conf'), `${gpgConfig.join('\n')}\n`, { mode: 0o600 })
    await importKeys(home, signatures.openpgp)
    return openpgpKeysIn(await gpg(home, ['--with-colons', '--fixed-list-mode', '--list-keys'])).has(key)
  } finally {
    rmSync(home, { recursive: true, force: true })
  }
}

/** Fingerprints of the keys that a file of allowed signers names; an authority signs nothing by itself. */
function sshKeysIn(text: string): Set<string> {
  const keys = new Set<string>()
  for (const line of text.split('\n')) {
    if (line.trimStart().startsWith('#') || /(?:^|[\s,])cert-authority(?:[\s,]|$)/i.test(line)) continue
    const blob = /\s(?:sk-)?(?:ssh|ecdsa)-[\w@.-]+\s+([A-Za-z0-9+/]+={0,2})(?:\s|$)/.exec(line)?.[1]
    if (blob === undefined) continue
    keys.add(`SHA256:${hash('sha256', Buffer.from(blob, 'base64'), 'base64').replace(/=+$/, '')}`)
  }
  return keys
}

/** Fingerprints of primary keys that are neither revoked, expired nor disabled. */
function openpgpKeysIn(listing: string): Set<string> {
  const keys = new Set<string>()
  let usable = false
  for (const line of listing.split('\n')) {
    const fields = line.split(':')
    if (fields[0] === 'pub') usable = !/^[redin]$/.test(fields[1] ?? '') && !(fields[11] ?? '').includes('D')
    else if (fields[0] === 'sub') usable = false
    else if (fields[0] === 'fpr' && usable && fields[9] !== undefined) keys.add(fields[9])
  }
  return keys
}

/** The signer of a good signature: exactly one, of a key that is neither expired nor revoked. */
function signerOf(status: string): string | undefined {
  const ssh = /^Good "git" signature for (.{1,200}) with \S+ key (SHA256:[A-Za-z0-9+/]{43})$/m.exec(status)
  const lines = status
    .split('\n')
    .flatMap(line => (line.startsWith('[GNUPG:] ') ? [line.slice('[GNUPG:] '.length)] : []))
  if (ssh !== null) return lines.length === 0 ? oneLine(`${ssh[1]} ssh ${ssh[2]}`) : undefined
  const [good, ...others] = lines.filter(line => /^(GOOD|BAD|ERR|EXP|EXPKEY|REVKEY)SIG /.test(line))
  const valid = lines.filter(line => line.startsWith('VALIDSIG '))
  const user = /^GOODSIG [0-9A-F]{16,40} (.*)$/.exec(good ?? '')?.[1]
  const [, key] = /^VALIDSIG (?:\S+ ){9}([0-9A-F]{40,64})$/.exec(valid[0] ?? '') ?? []
  return others.length > 0 || valid.length !== 1 || user === undefined || key === undefined
    ? undefined
    : oneLine(`${user} openpgp ${key}`)
}

function whyNot(commit: string, { stderr }: ChildResult): string {
  const told = oneLine(stderr.replaceAll('[GNUPG:] ', '')).slice(0, 200)
  const short = commit.slice(0, 12)
  return told === ''
    ? `commit ${short} is not signed, and only commits of allowed signers are followed here: sign it and push again`
    : `commit ${short} has no good signature of an allowed signer (setting policy.signatures): ${told}`
}

function expectKeys(path: string): void {
  const size = statSync(path, { throwIfNoEntry: false })?.size
  if (size !== undefined && size > 0 && size <= maxKeysBytes) return
  throw new SallyportError(
    'policy_unavailable',
    `policy.signatures names ${path}, which is ${size === undefined ? 'not there' : size === 0 ? 'empty' : 'too large'}: no commit can be verified`,
    { remedy: 'put the keys of your signers there; until then no new commit is followed' },
  )
}

async function importKeys(home: string, file: string): Promise<void> {
  await gpg(home, ['--import', file])
}

/** @returns what it printed. @throws SallyportError where it does not take the deployment's keys. */
async function gpg(home: string, args: readonly string[]): Promise<string> {
  // Its own name for the folder is short: gpg takes no folder that is too deep for the socket of an agent, which it never starts.
  const here = process.platform === 'linux' ? '/proc/self/cwd' : home
  const result = await runChild(['gpg', '--homedir', here, '--batch', '--no-tty', '--quiet', ...args], {
    cwd: home,
    env: { PATH: '/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin', HOME: '/nonexistent', LC_ALL: 'C' },
  })
  if (result.status === 0 && result.ended === undefined) return result.stdout.toString()
  throw new SallyportError(
    'policy_unavailable',
    `policy.signatures.openpgp cannot be read: ${oneLine(result.stderr)}`,
    {
      remedy: 'export the public keys with `gpg --export`, and check that gpg is installed',
    },
  )
}
