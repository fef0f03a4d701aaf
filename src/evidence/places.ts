import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bucketPlace } from '../audit/places/bucket.ts'
import { type GitRunner, gitPlace } from '../audit/places/git.ts'
import type { Place } from '../audit/places/place.ts'
import { webhookPlace } from '../audit/places/webhook.ts'
import { witnessPlace } from '../audit/places/witness.ts'
import type { BucketSettings, Config } from '../config.ts'
import { SallyportError } from '../errors.ts'
import { secretRef } from '../keys.ts'
import { parseRemote, type RemoteOptions, reach } from '../policy/repository/git-remote.ts'
import { oneLine, runGit } from '../policy/repository/git-run.ts'

type PlaceSettings = NonNullable<Config['audit']['places']>[number]
type GitSettings = Extract<PlaceSettings, { kind: 'git' }>

/** How often something new is carried, where the configuration does not say. */
const pace_s = { git: 60, webhook: 10, bucket: 10, witness: 2 } as const

/** Opens the outside places of `audit.places`; for a reader only those that can be read. @throws SallyportError `bad_config` for one that cannot be meant. */
export async function openPlaces(
  config: Pick<Config, 'audit' | 'data'>,
  { now = Date.now, reader }: { now?: () => number; reader?: 'commands' | 'bundles' } = {},
): Promise<Place[]> {
  const places: Place[] = []
  for (const [i, each] of (config.audit.places ?? []).entries()) {
    if (places.some(place => place.name === each.name)) throw refused(i, `there are two places called ${each.name}`)
    const [name, every_ms] = [each.name, (each.every_s ?? pace_s[each.kind]) * 1000]
    if (reader !== undefined && (each.kind === 'webhook' || each.kind === 'witness')) continue
    if (each.kind === 'bucket') {
      places.push(bucketPlace({ name, every_ms, bucket: await openBucket(each) }))
    } else if (each.kind === 'git') {
      // whoever only reads has a folder of its own: the one of control is control's
      const folder = reader === undefined ? name : `${name}.${reader}`
      const runner = gitRunner(each, join(config.data, 'audit-places', folder), i)
      places.push(gitPlace({ name, branch: each.branch ?? 'main', folder: each.folder, every_ms, runner, now }))
    } else {
      checkUrl(each.url, i)
      if (each.kind === 'witness') places.push(witnessPlace({ name, url: each.url, vkey: each.vkey, every_ms }))
      else places.push(webhookPlace({ name, url: each.url, secret: secretRef(each.secret), every_ms, now }))
    }
  }
  return places
}

async function openBucket(settings: Extract<PlaceSettings, { kind: 'bucket' }>) {
  const { Bucket } = await import('../bucket.ts')
  const { name: _, kind: __, every_s: ___, ...of } = settings
  const bucket = await Bucket.open(of satisfies BucketSettings)
  const absent = (error: unknown) => {
    if (error instanceof SallyportError && error.code === 'not_found') return null
    throw error
  }
  return {
    put: (key: string, bytes: Buffer) => bucket.put(key, bytes),
    get: (key: string, maxBytes: number) => bucket.get(key, maxBytes).catch(absent),
  }
}

/** Publications after which our repository is made anew: it holds nothing that the remote has not, and nothing in it is ever collected. */
const maxRuns = 2000

/** Git as the policy repository is read: nothing of the user's or the system's configuration, no hooks, one transport. */
function gitRunner(settings: GitSettings, dir: string, i: number): GitRunner {
  const { source, token, ca, ssh } = settings
  const options: RemoteOptions = {
    source,
    token: token === undefined ? undefined : secretRef(token),
    ca,
    ssh: ssh && { key: secretRef(ssh.key), host_keys: ssh.host_keys },
  }
  const remote = remoteOf(options, i)
  const repository = join(dir, 'repository.git')
  let runs = maxRuns // so that what another process left (a lock, an index) is gone
  const run = async (args: readonly string[], more: Partial<Parameters<typeof runGit>[1]> = {}) => {
    if (args[0] === 'ls-remote' && ++runs > maxRuns) {
      rmSync(repository, { recursive: true, force: true })
      runs = 0
    }
    if (!existsSync(join(repository, 'HEAD'))) {
      mkdirSync(dir, { recursive: true, mode: 0o700 })
      writeFileSync(join(dir, 'gitconfig'), '[safe]\n\tdirectory = *\n', { mode: 0o600 })
      checked(await runGit(['init', '--quiet', '--bare', '--template=', repository], { cwd: dir, dir }))
    }
    return checked(await runGit(['--git-dir', repository, ...args], { cwd: repository, dir, ...more }))
  }
  return {
    git: (args, { input, env } = {}) =>
      run(args, {
        input,
        ...(env && {
          env: { ...env, ...(env['GIT_INDEX_FILE'] && { GIT_INDEX_FILE: join(dir, env['GIT_INDEX_FILE']) }) },
        }),
      }),
    network: async args => {
      mkdirSync(dir, { recursive: true, mode: 0o700 })
      using way = reach(remote, options, dir)
      return await run(args(remote.url), { config: way.config, env: way.env })
    },
  }
}

function remoteOf(options: RemoteOptions, i: number) {
  try {
    return parseRemote(options)
  } catch (error) {
    if (!(error instanceof SallyportError)) throw error
    throw refused(i, error.message.replaceAll('policy.', ''), error.remedy.replaceAll('policy.', ''))
  }
}

function checked(result: Awaited<ReturnType<typeof runGit>>): string {
  if (result.status === 0 && result.ended === undefined) return result.stdout.toString('utf8')
  throw new Error(
    `git: ${result.ended === 'timeout' ? 'no answer in time' : oneLine(result.stderr) || `status ${result.status}`}`,
  )
}

function checkUrl(url: string, i: number): void {
  const { protocol, hostname, username } = new URL(url)
  if (username !== '') throw refused(i, 'a credential stands in the url', 'name it as secret:')
  if (protocol === 'https:' || ['localhost', '127.0.0.1', '[::1]'].includes(hostname)) return
  throw refused(i, `${hostname} would be asked over plain http`, 'use https')
}

function refused(i: number, why: string, remedy = 'correct it and start again'): SallyportError {
  return new SallyportError('bad_config', `/audit/places/${i}: ${why}`, { remedy })
}
