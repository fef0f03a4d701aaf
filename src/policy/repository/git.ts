import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { SallyportError } from '../../errors.ts'
import type { ChildResult } from '../child.ts'
import { hostKeyProblem, parseRemote, type Remote, type RemoteOptions, reach, sshFolder } from './git-remote.ts'
import { oneLine, runGit } from './git-run.ts'
import { readTree } from './git-tree.ts'
import { isStillSigner, type SignatureOptions, verifySignature } from './signature.ts'
import type { Sources } from './sources.ts'

export interface GitOptions extends RemoteOptions {
  /** Branch or tag. */
  readonly ref: string
  /** Folder of the policy root in the repository; the repository's own root by default. */
  readonly folder?: string | undefined
  /** Who may sign commits; where it is set, a commit without a good signature is refused. */
  readonly signatures?: SignatureOptions | undefined
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
/** History is fetched as far back as a question needs it, and no further than the last of these. */
const depths = [16, 256, 4096] as const
const maxMirrorBytes = 512 << 20
const maxPacks = 300

/**
 * A bare mirror of the policy repository. Everything in it is hostile: no hook, filter, submodule or link of it ever
 * runs or is followed, because nothing is checked out: files are read as objects.
 */
export class GitMirror {
  readonly #options: GitOptions
  readonly #remote: Remote
  readonly #mirror: string

  /** @throws SallyportError `bad_config` for a source or ref that is not one. */
  constructor(options: GitOptions) {
    this.#options = options
    this.#remote = parseRemote(options)
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

  get ref(): string {
    return this.#options.ref
  }

  /** The commit that the ref names now, without fetching it. */
  async remoteHead(): Promise<string> {
    return (await this.#look()).commit
  }

  /** Fetches the ref, with some history where `descends` will be asked, and says which commit it is. */
  async fetch(withHistory = false): Promise<Commit> {
    await this.#fetch((await this.#look()).name, withHistory ? depths[0] : 1)
    return this.describe(`${head}^{commit}`)
  }

  /** What a commit of the mirror says of itself. */
  async describe(commit: string): Promise<Commit> {
    const format = '--format=%H%x00%an <%ae>%x00%s'
    const quiet = ['--no-patch', '--no-show-signature', '--no-notes', '--encoding=UTF-8']
    const text = (await this.#git(['show', ...quiet, format, commit])).toString()
    const [id = '', author = '', subject = ''] = text.trimEnd().split('\0')
    if (!object.test(id)) throw this.#unreachable(`${this.#options.ref} is not a commit`)
    return { commit: id, author: oneLine(author), subject_line: oneLine(subject), signer: null }
  }

  /** Whether a commit of the tracked ref came from another one, as far back as we look. */
  async descends(commit: string, from: string): Promise<boolean> {
    return (await this.#search(async () => (await this.#isAncestor(from, commit)) || undefined)) ?? false
  }

  /** A commit of the tracked ref's history by its id or the beginning of it. */
  async find(id: string): Promise<string | undefined> {
    if (!/^[0-9a-f]{7,64}$/.test(id)) return undefined
    const { commit } = await this.fetch()
    return this.#search(async () => {
      const run = await this.#try(['rev-parse', '--verify', '--quiet', `${id}^{commit}`])
      const found = run.status === 0 ? run.stdout.toString().trim() : ''
      return object.test(found) && (await this.#isAncestor(found, commit)) ? found : undefined
    })
  }

  /**
   * Whose signature a fetched commit carries; null where the deployment asks for none.
   * @throws Refused for a commit that no allowed signer signed.
   */
  async verify(commit: string): Promise<string | null> {
    const { signatures, dir } = this.#options
    if (signatures === undefined) return null
    return verifySignature(commit, signatures, dir, (args, extra) =>
      runGit(['--git-dir', this.#mirror, ...args], { cwd: this.#mirror, dir, ...extra }),
    )
  }

  /** Whether what was activated with this signer may be taken again: where signatures are asked for, their key is still listed. */
  async mayReturn(signer: string | null): Promise<boolean> {
    const { signatures, dir } = this.#options
    if (signatures === undefined) return true
    mkdirSync(dir, { recursive: true, mode: 0o700 })
    return signer !== null && (await isStillSigner(signer, signatures, dir))
  }

  /** The sources of a fetched commit. @throws Refused when the tree holds what we do not read. */
  async read(commit: string): Promise<Sources> {
    if (!object.test(commit)) throw new TypeError('a commit is named by its full id')
    const folder = this.#options.folder?.replace(/\/+$/, '')
    const tree = folder === undefined ? commit : `${commit}:${folder}`
    return readTree((args, input) => this.#git(args, input), tree)
  }

  /**
   * INVARIANT: a branch comes before a tag of the same name, and the name is whole from here on. Git itself would take the
   * tag, and who may push tags need not be who may push to the branch.
   */
  async #look(): Promise<{ commit: string; name: string }> {
    const { ref } = this.#options
    const names = [`refs/heads/${ref}`, `refs/tags/${ref}`, `refs/tags/${ref}^{}`]
    const lines = (await this.#network(['ls-remote', '--exit-code', this.#remote.url, ...names])).toString()
    const found = new Map(
      lines.split('\n').flatMap(line => (line.includes('\t') ? [line.split('\t').reverse() as [string, string]] : [])),
    )
    const name = found.has(names[0]!) ? names[0]! : names[1]!
    const commit = found.get(`${name}^{}`) ?? found.get(name)
    if (commit === undefined || !object.test(commit)) throw this.#unreachable(`it has no branch or tag ${ref}`)
    return { commit, name }
  }

  /** Asks with what is here, then with more and more history of the ref, until there is an answer or no more history. */
  async #search<X>(ask: () => Promise<X | undefined>): Promise<X | undefined> {
    for (const depth of [0, ...depths]) {
      if (depth > 0) await this.#fetch((await this.#look()).name, depth)
      const found = await ask()
      if (found !== undefined) return found
      if ((await this.#git(['rev-parse', '--is-shallow-repository'])).toString().trim() === 'false') return undefined
    }
    return undefined
  }

  async #isAncestor(from: string, of: string): Promise<boolean> {
    return (await this.#try(['merge-base', '--is-ancestor', from, of])).status === 0
  }

  /** What a fetch that was cut off leaves behind (a pack that grew too large, say) goes at once: the next try starts anew. */
  async #fetch(name: string, depth: number): Promise<void> {
    const quiet = ['--quiet', '--no-tags', '--no-write-fetch-head', '--no-recurse-submodules']
    try {
      await this.#network(['fetch', ...quiet, `--depth=${depth}`, this.#remote.url, `+${name}:${head}`], 120_000)
    } catch (error) {
      rmSync(this.#mirror, { recursive: true, force: true })
      throw error
    }
  }

  async #prepare(): Promise<void> {
    const { dir } = this.#options
    if (tooLarge(join(this.#mirror, 'objects/pack'))) rmSync(this.#mirror, { recursive: true, force: true })
    if (existsSync(join(this.#mirror, 'HEAD'))) return
    mkdirSync(dir, { recursive: true, mode: 0o700 })
    for (const name of readdirSync(dir).filter(n => n.startsWith(sshFolder)))
      rmSync(join(dir, name), { recursive: true, force: true })
    // The operator named the source; that another user owns it is no reason to refuse. The serving git reads only this file.
    writeFileSync(join(dir, 'gitconfig'), '[safe]\n\tdirectory = *\n', { mode: 0o600 })
    const made = await runGit(['init', '--quiet', '--bare', '--template=', this.#mirror], { cwd: dir, dir })
    if (made.status !== 0) throw this.#unreachable(whyGit(made))
  }

  /** A run that talks to the remote: the only kind that has its credentials. */
  async #network(args: readonly string[], timeoutMs = 60_000): Promise<Buffer> {
    await this.#prepare()
    using way = reach(this.#remote, this.#options, this.#options.dir)
    return this.#checked(await this.#try(args, { timeoutMs, config: way.config, env: way.env }))
  }

  async #git(args: readonly string[], input?: string): Promise<Buffer> {
    return this.#checked(await this.#try(args, input === undefined ? {} : { input }))
  }

  #try(
    args: readonly string[],
    more: {
      timeoutMs?: number
      input?: string
      config?: readonly (readonly [string, string])[]
      env?: Readonly<Record<string, string>>
    } = {},
  ): Promise<ChildResult> {
    const { dir } = this.#options
    return runGit(['--git-dir', this.#mirror, ...args], { cwd: this.#mirror, dir, ...more })
  }

  #checked(result: ChildResult): Buffer {
    if (result.status !== 0 || result.ended !== undefined) throw this.#unreachable(whyGit(result))
    return result.stdout
  }

  #unreachable(why: string): SallyportError {
    const credential = { file: '', https: ' and policy.token', openssh: ' and policy.ssh' }[this.#remote.transport]
    return new SallyportError(
      'policy_unavailable',
      `the policy repository ${this.#remote.url} cannot be read: ${why}`,
      {
        remedy: `check policy.source, policy.ref${credential}`,
      },
    )
  }
}

/** Nothing is ever collected in a mirror: one that grew is thrown away, and made again from what is needed. */
function tooLarge(packs: string): boolean {
  if (!existsSync(packs)) return false
  const names = readdirSync(packs)
  const bytes = names.reduce(
    (sum, name) => sum + (statSync(join(packs, name), { throwIfNoEntry: false })?.size ?? 0),
    0,
  )
  return names.length > maxPacks || bytes > maxMirrorBytes
}

function whyGit(result: ChildResult): string {
  if (result.ended === 'timeout') return 'git did not answer in time'
  if (result.ended === 'output') return 'it is larger than what we read'
  return hostKeyProblem(result.stderr) ?? (oneLine(result.stderr) || `git ended with status ${result.status}`)
}
