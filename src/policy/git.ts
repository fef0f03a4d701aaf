import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { SallyportError } from '../errors.ts'
import type { Secret } from '../secret.ts'
import { type ChildResult, runChild } from './child.ts'
import { SourceCollector, type Sources } from './sources.ts'

export interface GitOptions {
  /** A local path, a file:// URL or an https:// URL. */
  readonly source: string
  /** Branch or tag. */
  readonly ref: string
  /** Folder of the policy root in the repository; the repository's own root by default. */
  readonly folder?: string | undefined
  readonly token?: Secret | undefined
  /** File of the certificates (PEM) that may vouch for an https source; those of the system where it is not set. */
  readonly ca?: string | undefined
  /** Our own folder, for the mirror. */
  readonly dir: string
}

export interface Commit {
  readonly commit: string
  readonly author: string
  readonly subject_line: string
  /** Whose signature was verified; null where none was demanded. The author is what the commit says of itself. */
  readonly signer: string | null
}

const head = 'refs/sallyport/head'
const object = /^[0-9a-f]{40}(?:[0-9a-f]{24})?$/

/**
 * A bare mirror of the policy repository. Everything in it is hostile: no hook, filter, submodule or link of it ever
 * runs or is followed, because nothing is checked out: files are read as objects.
 */
export class GitMirror {
  readonly #options: GitOptions
  readonly #url: string
  readonly #mirror: string

  /** @throws SallyportError `bad_config` for a source or ref that is not one. */
  constructor(options: GitOptions) {
    this.#options = options
    this.#url = sourceUrl(options.source)
    this.#mirror = join(options.dir, 'mirror.git')
    if (!/^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$/.test(options.ref) || options.ref.includes('..')) {
      throw new SallyportError('bad_config', `policy.ref ${JSON.stringify(options.ref)} is no name of a branch or tag`)
    }
    if (options.folder !== undefined && !/^[A-Za-z0-9_][A-Za-z0-9_./-]{0,199}$/.test(options.folder)) {
      throw new SallyportError(
        'bad_config',
        `policy.folder ${JSON.stringify(options.folder)} is no folder of a repository`,
      )
    }
  }

  /** The commit that the ref names now, without fetching it. */
  async remoteHead(): Promise<string> {
    return (await this.#look()).commit
  }

  /**
   * INVARIANT: a branch comes before a tag of the same name, and the name is whole from here on. Git itself would take the
   * tag, and who may push tags need not be who may push to the branch.
   */
  async #look(): Promise<{ commit: string; name: string }> {
    await this.#prepare()
    const { ref } = this.#options
    const lines = (
      await this.#git([
        'ls-remote',
        '--exit-code',
        this.#url,
        `refs/heads/${ref}`,
        `refs/tags/${ref}`,
        `refs/tags/${ref}^{}`,
      ])
    ).toString()
    const found = new Map(
      lines.split('\n').flatMap(line => (line.includes('\t') ? [line.split('\t').reverse() as [string, string]] : [])),
    )
    const name = found.has(`refs/heads/${ref}`) ? `refs/heads/${ref}` : `refs/tags/${ref}`
    const commit = found.get(`${name}^{}`) ?? found.get(name)
    if (commit === undefined || !object.test(commit)) throw this.#unreachable(`it has no branch or tag ${ref}`)
    return { commit, name }
  }

  /** Fetches the ref and says which commit it is. */
  async fetch(): Promise<Commit> {
    const { name } = await this.#look()
    await this.#fetch(name)
    const text = (
      await this.#git([
        'show',
        '--no-patch',
        '--no-show-signature',
        '--no-notes',
        '--encoding=UTF-8',
        '--format=%H%x00%an <%ae>%x00%s',
        `${head}^{commit}`,
      ])
    ).toString()
    const [commit = '', author = '', subject = ''] = text.trimEnd().split('\0')
    if (!object.test(commit)) throw this.#unreachable(`${this.#options.ref} is not a commit`)
    return { commit, author: oneLine(author), subject_line: oneLine(subject), signer: null }
  }

  /** The sources of a fetched commit. @throws Refused when the tree holds what we do not read. */
  async read(commit: string): Promise<Sources> {
    if (!object.test(commit)) throw new TypeError('a commit is named by its full id')
    const folder = this.#options.folder?.replace(/\/+$/, '')
    const tree = folder === undefined ? commit : `${commit}:${folder}`
    const listing = (await this.#git(['ls-tree', '-r', '-l', '-z', '--full-tree', tree])).toString('utf8')
    const collector = new SourceCollector()
    const wanted: { path: string; id: string; size: number }[] = []
    for (const line of listing.split('\0').filter(l => l !== '')) {
      const [, mode, id, size, path] = /^(\d{6}) \w+ ([0-9a-f]+) +(\d+|-)\t(.*)$/s.exec(line) ?? []
      if (mode === undefined || id === undefined || path === undefined)
        throw this.#unreachable('its tree cannot be read')
      const kind = mode === '160000' ? 'module' : mode === '120000' ? 'link' : 'file'
      if (collector.wants(path, kind, Number(size) || 0)) wanted.push({ path, id, size: Number(size) })
    }
    const blobs = await this.#blobs(wanted.map(w => w.id))
    for (const [i, { path }] of wanted.entries()) collector.add(path, blobs[i]!)
    return collector.done()
  }

  /** What a fetch that was cut off leaves behind (a pack that grew too large, say) goes at once: the next try starts anew. */
  async #fetch(name: string): Promise<void> {
    try {
      await this.#git(
        [
          'fetch',
          '--quiet',
          '--depth=1',
          '--no-tags',
          '--no-write-fetch-head',
          '--no-recurse-submodules',
          this.#url,
          `+${name}:${head}`,
        ],
        120_000,
      )
    } catch (error) {
      rmSync(this.#mirror, { recursive: true, force: true })
      throw error
    }
  }

  /** `git cat-file --batch`: `<id> blob <size>\n<bytes>\n` for each line asked. */
  async #blobs(ids: readonly string[]): Promise<Buffer[]> {
    if (ids.length === 0) return []
    const out = await this.#git(['cat-file', '--batch'], 60_000, ids.join('\n') + '\n')
    const blobs: Buffer[] = []
    for (let at = 0; blobs.length < ids.length; ) {
      const line = out.subarray(at, out.indexOf(10, at)).toString('latin1')
      const size = Number(/^[0-9a-f]+ blob (\d+)$/.exec(line)?.[1] ?? Number.NaN)
      if (!Number.isSafeInteger(size)) throw this.#unreachable('an object of its tree cannot be read')
      at += line.length + 1
      blobs.push(Buffer.from(out.subarray(at, at + size)))
      at += size + 1
    }
    return blobs
  }

  async #prepare(): Promise<void> {
    if (existsSync(join(this.#mirror, 'HEAD'))) return
    mkdirSync(this.#options.dir, { recursive: true, mode: 0o700 })
    // The operator named the source; that another user owns it is no reason to refuse. The serving git reads only this file.
    writeFileSync(join(this.#options.dir, 'gitconfig'), '[safe]\n\tdirectory = *\n', { mode: 0o600 })
    await this.#run(['init', '--quiet', '--bare', '--template=', this.#mirror], this.#options.dir, 30_000)
  }

  #git(args: readonly string[], timeoutMs = 60_000, input?: string): Promise<Buffer> {
    return this.#run(['--git-dir', this.#mirror, ...args], this.#mirror, timeoutMs, input)
  }

  async #run(args: readonly string[], cwd: string, timeoutMs: number, input?: string): Promise<Buffer> {
    const env = gitEnvironment(this.#options, this.#url)
    const result = await runChild(['git', ...hardening, ...args], {
      cwd,
      env,
      timeoutMs,
      maxOutput: 48 << 20,
      ...(input === undefined ? {} : { input }),
    })
    if (result.status !== 0 || result.ended !== undefined) throw this.#unreachable(whyGit(result))
    return result.stdout
  }

  #unreachable(why: string): SallyportError {
    return new SallyportError('policy_unavailable', `the policy repository ${this.#url} cannot be read: ${why}`, {
      remedy: 'check policy.source, policy.ref and policy.token',
    })
  }
}

const hardening = [
  '-c',
  'core.hooksPath=/dev/null',
  '-c',
  'core.fsmonitor=false',
  '-c',
  'core.symlinks=false',
  '-c',
  'gc.auto=0',
  '-c',
  'protocol.allow=never',
  '-c',
  'protocol.https.allow=always',
  '-c',
  'protocol.file.allow=always',
  '-c',
  'http.followRedirects=false',
  '-c',
  'fetch.fsckObjects=true',
  '-c',
  'submodule.recurse=false',
]

/** Only what is written here: no GIT_* of ours, no configuration of user or system. The token is not in the arguments. */
function gitEnvironment({ token, ca, dir }: GitOptions, url: string): Record<string, string> {
  const config: [string, string][] = []
  if (token !== undefined) {
    const basic = Buffer.from(`x-access-token:${token.reveal()}`).toString('base64')
    // for this origin alone, whatever an answer of it may lead git to
    if (url.startsWith('https:'))
      config.push([`http.${new URL(url).origin}/.extraHeader`, `Authorization: Basic ${basic}`])
  }
  if (ca !== undefined) config.push(['http.sslCAInfo', ca])
  return {
    PATH: '/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin',
    HOME: '/nonexistent',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: join(dir, 'gitconfig'),
    GIT_TERMINAL_PROMPT: '0',
    GIT_CONFIG_COUNT: String(config.length),
    ...Object.fromEntries(
      config.flatMap(([key, value], i) => [
        [`GIT_CONFIG_KEY_${i}`, key],
        [`GIT_CONFIG_VALUE_${i}`, value],
      ]),
    ),
  }
}

function sourceUrl(source: string): string {
  if (source.startsWith('/')) return `file://${source}`
  if (/^file:\/\/\/[^\s]+$/.test(source)) return source
  if (/^https:\/\/[^\s@/]+\/[^\s]+$/.test(source)) return source
  throw new SallyportError(
    'bad_config',
    'policy.source is no absolute path, file:// URL or https:// URL without credentials',
    {
      remedy: 'put a token into policy.token, and ask for other transports to be added if you need them',
    },
  )
}

function whyGit(result: ChildResult): string {
  if (result.ended === 'timeout') return 'git did not answer in time'
  if (result.ended === 'output') return 'it is larger than what we read'
  return oneLine(result.stderr) || `git ended with status ${result.status}`
}

/** One printable line, bounded: commit subjects and messages of git come from outside. */
function oneLine(text: string): string {
  return text
    .replace(/[\p{Cc}\p{Cf}\p{Cs}\s]+/gu, ' ')
    .trim()
    .slice(0, 300)
}
