import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  accessSync,
  chmodSync,
  constants,
  createReadStream,
  createWriteStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
} from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { spawnOnLifeline } from '../db/lifeline.ts'
import { type Ownership, takeOwnership } from '../db/owner.ts'
import { SallyportError } from '../errors.ts'

/** The version that Go builds here. Which one compiled a bundle is part of the bundle and of its digest. */
export const opaVersion = '1.22.0'

/**
 * The newest official release whose SHA-256 could be confirmed from several independent places: what is downloaded where
 * there is no Go. The hashes of 1.22.0 could not, so it is built or brought along, and never downloaded unpinned.
 */
export const opaRelease = {
  version: '1.21.0',
  sha256: {
    opa_linux_amd64_static: '5eef70644868bb04d0556bcc795ee42f2ab379e73f51d1bfa30f83e1305bc9b9',
    opa_linux_arm64_static: '0ec34027c15b4d969c21d01ed570fe14fbebd508a08157043ab09f9a0dccbee6',
    opa_darwin_amd64: '0ceb96979d259b3ee31711a6b316a592b8ffcfdd4209cc37600ed85a6cd4a55c',
    opa_darwin_arm64_static: 'f1e4da6467a2adb2846bb23eec6ea00d8c3a04786f9270bb11003d22dfd827a5',
  } as Readonly<Record<string, string>>,
} as const

/** Versions whose compiler and judgement this build was tested with, the preferred one first. */
export const opaVersions: readonly string[] = [opaVersion, opaRelease.version]

const either = opaVersions.join(' or ')
const module = `github.com/open-policy-agent/opa@v${opaVersion}`
const oldestGo = [1, 26] as const
const maxBytes = 256 * 1024 * 1024
const downloadMs = 10 * 60_000

export interface OpaOptions {
  /** Told what takes long, one line each. */
  readonly progress?: (line: string) => void
  /** The environment that is looked at: OPA_BIN, PATH, XDG_CACHE_HOME, SALLYPORT_OPA_URL, SALLYPORT_OPA_SHA256. */
  readonly env?: NodeJS.ProcessEnv
}

/**
 * Finds the `opa` command: OPA_BIN, else PATH, else our cache; else fills the cache, by building it with Go or by
 * downloading the release whose SHA-256 is pinned here or by the operator. A clean clone finds the cache again.
 * @throws SallyportError `bad_config` that says which ways there are.
 */
export async function findOpa(options: OpaOptions = {}): Promise<string> {
  const env = options.env ?? process.env
  const progress = options.progress ?? (() => {})
  const chosen = env['OPA_BIN']
  if (chosen) {
    const version = versionOf(chosen)
    if (isKnown(version)) return chosen
    throw new SallyportError(
      'bad_config',
      `OPA_BIN names ${chosen}, which ${version ? `is version ${version}` : 'is no opa that runs here'}; version ${either} is needed`,
      {
        remedy: 'correct OPA_BIN, or unset it to have the right version built once',
      },
    )
  }
  for (const folder of (env['PATH'] ?? '').split(delimiter).filter(f => f.startsWith('/'))) {
    const path = join(folder, 'opa')
    if (executable(path) && isKnown(versionOf(path))) return path
  }
  const caches = join(env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'sallyport')
  for (const version of opaVersions) {
    const cached = join(caches, `opa-${version}`, 'opa')
    if (executable(cached) && versionOf(cached) === version) return cached
  }
  const way = wayTo(env)
  const cache = join(caches, `opa-${way.version}`)
  const cached = join(cache, 'opa')
  mkdirSync(cache, { recursive: true, mode: 0o700 })
  const ownership = await takeTurn(cache, cached, progress)
  if (ownership === undefined) return cached
  const draft = mkdtempSync(join(cache, 'draft-'))
  try {
    await (way.by === 'go' ? build(draft, env, progress) : download(way, draft, progress))
    const made = join(draft, 'opa')
    const version = versionOf(made)
    if (version !== way.version) {
      throw new SallyportError(
        'bad_config',
        `what was obtained as opa ${way.version} ${version ? `says it is ${version}` : 'does not run here'}`,
      )
    }
    renameSync(made, cached)
    return cached
  } finally {
    rmSync(draft, { recursive: true, force: true })
    ownership.release()
  }
}

/** One process fills the cache, others wait for it. */
async function takeTurn(
  cache: string,
  cached: string,
  progress: (line: string) => void,
): Promise<Ownership | undefined> {
  for (let waited = 0; ; waited++) {
    try {
      const ownership = takeOwnership(join(cache, 'owner.json'), 'the cache of opa')
      if (!executable(cached)) return ownership
      ownership.release()
      return undefined
    } catch (error) {
      if (!(error instanceof SallyportError) || error.code !== 'conflict') throw error
      if (waited === 0) progress('another process is making opa, waiting for it')
      await sleep(1_000)
    }
  }
}

type Way =
  | { readonly by: 'go'; readonly version: string }
  | { readonly by: 'download'; readonly version: string; readonly url: string; readonly sha256: string }

/** How opa is obtained here. A URL of the operator's is a mirror of the pinned release, unless they pin another file themselves. */
function wayTo(env: NodeJS.ProcessEnv): Way {
  const go = goVersion(env)
  const url = env['SALLYPORT_OPA_URL']
  const own = env['SALLYPORT_OPA_SHA256']
  if (!url && !own && go !== undefined && isRecent(go)) return { by: 'go', version: opaVersion }
  const version = env['SALLYPORT_OPA_VERSION'] || opaRelease.version
  const file = releaseFile()
  const sha256 = own || opaRelease.sha256[file]
  const from = url || `https://github.com/open-policy-agent/opa/releases/download/v${opaRelease.version}/${file}`
  if (sha256 !== undefined && /^[0-9a-f]{64}$/i.test(sha256) && isKnown(version))
    return { by: 'download', version, url: from, sha256 }
  const found = go === undefined ? 'Go was not found' : `Go ${go} was found, ${oldestGo.join('.')} or later is needed`
  const why = !isKnown(version)
    ? `this build was not tested with opa ${version}`
    : own
      ? 'SALLYPORT_OPA_SHA256 is not 64 hex digits'
      : `no SHA-256 of ${file} is pinned here`
  throw new SallyportError(
    'bad_config',
    `there is no opa ${either} here, none can be built (${found}) nor downloaded (${why})`,
    {
      remedy:
        `install Go ${oldestGo.join('.')} or later; or set OPA_BIN to an opa ${either}; or set SALLYPORT_OPA_SHA256 to the SHA-256 that the ` +
        `release page of OPA ${opaRelease.version} shows for this platform (and SALLYPORT_OPA_URL for a mirror), then start again`,
    },
  )
}

function isKnown(version: string | undefined): boolean {
  return version !== undefined && opaVersions.includes(version)
}

function goVersion(env: NodeJS.ProcessEnv): string | undefined {
  // `local`: a Go that is too old must say so instead of downloading another one in silence.
  const go = spawnSync('go', ['env', 'GOVERSION'], { encoding: 'utf8', env: { ...env, GOTOOLCHAIN: 'local' } })
  return go.status === 0 ? go.stdout.trim().replace(/^go/, '') : undefined
}

function isRecent(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(part => Number.parseInt(part, 10))
  return major > oldestGo[0] || (major === oldestGo[0] && minor >= oldestGo[1])
}

async function build(draft: string, env: NodeJS.ProcessEnv, progress: (line: string) => void): Promise<void> {
  progress(`building opa ${opaVersion} with Go, once; this takes some minutes`)
  const run = spawnOnLifeline(['go', 'install', module], {
    ending: 'kill',
    cwd: draft,
    env: { ...env, GOBIN: draft, GOFLAGS: '', CGO_ENABLED: '0' },
    output: 'pipe',
  })
  let said = ''
  for (const stream of [run.child.stdout, run.child.stderr])
    stream?.on('data', chunk => (said = (said + chunk).slice(-2_000)))
  const started = Date.now()
  const timer = setInterval(
    () => progress(`still building opa (${Math.round((Date.now() - started) / 1000)} s)`),
    30_000,
  )
  const code = await run.exited
  clearInterval(timer)
  if (code !== 0) {
    throw new SallyportError('bad_config', `\`go install ${module}\` failed: ${said.trim().slice(-600)}`, {
      remedy: `see to it that Go can reach its module proxy, or set OPA_BIN to an opa ${either}`,
    })
  }
}

function releaseFile(): string {
  const system = { linux: 'linux', darwin: 'darwin' }[process.platform as string] ?? process.platform
  const machine = { x64: 'amd64', arm64: 'arm64' }[process.arch as string] ?? process.arch
  return `opa_${system}_${machine}${system === 'linux' || machine === 'arm64' ? '_static' : ''}`
}

/** INVARIANT: nothing that was downloaded is run, or even made executable, before its SHA-256 is the pinned one. */
async function download(
  { version, url, sha256 }: Extract<Way, { by: 'download' }>,
  draft: string,
  progress: (line: string) => void,
): Promise<void> {
  progress(`downloading opa ${version} from ${url}`)
  const path = join(draft, 'opa')
  const hash = createHash('sha256')
  try {
    await pipeline(await open(url), limited(hash), createWriteStream(path, { mode: 0o600 }))
  } catch (error) {
    const cause = (error as { cause?: Error }).cause
    throw new SallyportError(
      'bad_config',
      `opa could not be downloaded from ${url}: ${cause?.message ?? (error as Error).message}`,
      {
        remedy: `check SALLYPORT_OPA_URL and the network, or set OPA_BIN to an opa ${either}`,
      },
    )
  }
  const got = hash.digest('hex')
  if (got !== sha256.toLowerCase()) {
    throw new SallyportError('bad_config', `what ${url} sent was refused: its SHA-256 is ${got}, not ${sha256}`, {
      remedy: 'do not use that file; check SALLYPORT_OPA_URL and SALLYPORT_OPA_SHA256 against the release page of OPA',
    })
  }
  chmodSync(path, 0o700)
}

async function open(url: string): Promise<Readable> {
  if (url.startsWith('file:')) return createReadStream(new URL(url))
  const response = await fetch(url, { signal: AbortSignal.timeout(downloadMs) })
  if (!response.ok || response.body === null) throw new Error(`the server answered ${response.status}`)
  return Readable.fromWeb(response.body as Parameters<typeof Readable.fromWeb>[0])
}

function limited(hash: ReturnType<typeof createHash>) {
  return async function* (source: AsyncIterable<Buffer>) {
    let bytes = 0
    for await (const chunk of source) {
      bytes += chunk.length
      if (bytes > maxBytes) throw new Error(`it is larger than ${maxBytes / 1024 / 1024} MiB`)
      hash.update(chunk)
      yield chunk
    }
  }
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return existsSync(path)
  } catch {
    return false
  }
}

/** What `opa version` says, or undefined when that does not run. */
function versionOf(path: string): string | undefined {
  const opa = spawnSync(path, ['version'], { encoding: 'utf8', timeout: 20_000, env: { PATH: process.env['PATH'] } })
  return opa.status === 0 ? /^Version: (\S+)$/m.exec(opa.stdout)?.[1] : undefined
}
