import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { hostname, tmpdir, userInfo } from 'node:os'
import { join, resolve } from 'node:path'
import type { Config } from '../config.ts'
import { SallyportError } from '../errors.ts'
import { faultMessage, logger } from '../log.ts'
import type { Commit } from '../policy/repository/git.ts'
import type { Sources } from '../policy/repository/sources.ts'
import { instant, plain, say } from './output.ts'

const log = logger('recover')

/** What a local repository shares with the deployment's own: the ref, the folder of the policy root, who may sign. */
interface Local {
  readonly policy: Pick<Config['policy'], 'ref' | 'folder' | 'signatures'>
}

interface Found {
  readonly of: Commit
  readonly sources: Sources
  /** Why nobody's signature was verified, where the deployment asks for one: it is said, and stops nobody on such a day. */
  readonly unsigned: string | undefined
}

/**
 * `sallyport recover`: for the day on which the policy in force lets nobody mend it. Whoever holds control's root key may
 * put a local policy into force, for an hour at most, without a sign-in; everybody is told.
 */
export async function recoverPolicy(
  source: string,
  options: { config?: string; for_s: number; reason: string },
): Promise<void> {
  const { configPath } = await import('./serve.ts')
  const { loadConfig } = await import('../load-config.ts')
  const { openDatabase } = await import('../db/database.ts')
  const { createAuditWriter } = await import('../audit/writer.ts')
  const { newId } = await import('../ids.ts')
  const { rootKeyOf, secretRef } = await import('../keys.ts')
  const { parsePublicKey, signingKeys } = await import('../signing-keys.ts')
  const { compiledCandidate } = await import('../policy/revision-store.ts')
  const { recover } = await import('../policy/repository/recovery.ts')
  if (options.for_s > 3600 || options.for_s < 60)
    throw new SallyportError('bad_request', 'a recovery lasts from one minute to one hour', {
      remedy: 'write --for 30m',
    })
  const config = loadConfig(configPath(options.config))
  const { privateKey: key, publicKey } = signingKeys(rootKeyOf(config.keys.control), 'bundle-signing')
  if (!publicKey.equals(parsePublicKey(config.public_keys.bundles)))
    throw new SallyportError('bad_config', 'public_keys.bundles does not belong to the root key of control')
  const who = `${userName()}@${hostname()}`
  const { of, sources, unsigned } = await readLocal(source, config, who)
  const bundle = await compileLocal(sources, config)
  const database = openDatabase({ url: secretRef(config.database.control), max: 2, application: 'sallyport recover' })
  try {
    const audit = createAuditWriter({ database, process_id: newId('prc') })
    const candidate = { ...compiledCandidate(of, bundle, sources, 'recovery'), ends_in_s: options.for_s }
    const revision = await recover({ database, audit, key }, candidate, { who, reason: options.reason, unsigned })
    log.warn({ generation: revision.generation, who, reason: options.reason }, 'a recovery policy is in force')
    say(`generation ${revision.generation} (${plain(of.commit)}) is in force until ${instant(revision.ends_at_ms!)}.`)
    if (unsigned !== undefined) say(`No allowed signer signed it: ${plain(unsigned)}.`)
    if (of.signer !== null) say(`It is signed by ${plain(of.signer)}.`)
    say('Everybody is told. Then what was in force before comes back, and the tracked ref is followed again;')
    say('`sallyport policy unpin` ends it earlier.')
  } finally {
    await database.close()
  }
}

/** A folder as it lies there, or a commit of a local repository. */
export async function readLocal(source: string, config: Local, who: string): Promise<Found> {
  const { readFolder } = await import('../policy/repository/sources.ts')
  const { writeTar } = await import('../policy/tar.ts')
  const [, repository, id] = /^(.+)@([0-9a-f]{7,64})$/.exec(source) ?? []
  if (repository !== undefined && id !== undefined && existsSync(repository))
    return readCommit(resolve(repository), id, config)
  if (!existsSync(join(source, 'admin')))
    throw new SallyportError('not_found', `${plain(source)} is no policy folder: it has no folder admin/`, {
      remedy: 'name a folder of policies, or REPOSITORY@COMMIT',
    })
  const sources = readFolder(source)
  const digest = createHash('sha256').update(writeTar(sources)).digest('hex')
  const subject_line = `recovery from ${resolve(source)}`.slice(0, 300)
  return {
    of: { commit: `recovery-${digest.slice(0, 20)}`, author: who, subject_line, signer: null },
    sources,
    unsigned: config.policy.signatures === undefined ? undefined : 'it is a folder, and not a signed commit',
  }
}

async function readCommit(source: string, id: string, config: Local): Promise<Found> {
  const { GitMirror } = await import('../policy/repository/git.ts')
  const { Refused } = await import('../policy/problem.ts')
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-recover-'))
  try {
    const { ref, folder, signatures } = config.policy
    const mirror = new GitMirror({ source, ref, folder, signatures, dir })
    const commit = await mirror.find(id)
    if (commit === undefined)
      throw new SallyportError('not_found', `${id} is not in the history of ${ref} in ${plain(source)}`)
    let unsigned: string | undefined
    const signer = await mirror.verify(commit).catch((error: unknown) => {
      unsigned = error instanceof Refused ? error.problems[0]!.message : faultMessage(error)
      return null
    })
    return { of: { ...(await mirror.describe(commit)), signer }, sources: await mirror.read(commit), unsigned }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

async function compileLocal(sources: Sources, config: Config) {
  const { compile } = await import('../policy/gate.ts')
  const { Refused, refusalError } = await import('../policy/problem.ts')
  const { Registry } = await import('../gateway/registry.ts')
  const { allProtocols } = await import('../protocols/all.ts')
  try {
    const keepsOriginals = (config.recording.originals_recipients ?? []).length > 0
    const protocols = new Registry(allProtocols).policyChecks({ keepsOriginals })
    const secrets = Object.keys(config.secrets)
    return (await compile(sources, { opa: config.policy.opa, protocols, secrets })).bundle
  } catch (error) {
    throw error instanceof Refused ? refusalError(error) : error
  }
}

/** A container's user may have a number only. */
function userName(): string {
  try {
    return userInfo().username
  } catch {
    return `user ${process.getuid?.() ?? 'unknown'}`
  }
}
