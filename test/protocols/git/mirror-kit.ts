import { type SpawnSyncOptions, spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duplex, type Readable } from 'node:stream'
import { deflateSync } from 'node:zlib'
import type { Resource } from '../../../src/gateway/protocol.ts'
import type { MirrorLimits } from '../../../src/protocols/git/mirror/limits.ts'
import { GitMirrors } from '../../../src/protocols/git/mirror/mirrors.ts'
import type { Options } from '../../../src/protocols/git/options.ts'
import type { RefUpdate, TargetSide } from '../../../src/protocols/git/push.ts'
import type { Repository } from '../../../src/protocols/git/repositories.ts'

const environment = {
  PATH: process.env['PATH'] ?? '',
  HOME: '/nonexistent',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_AUTHOR_NAME: 'Ada',
  GIT_AUTHOR_EMAIL: 'ada@example.com',
  GIT_COMMITTER_NAME: 'Carl',
  GIT_COMMITTER_EMAIL: 'carl@example.com',
}

/** Runs git as a person would. */
export function git(cwd: string, args: readonly string[], options: SpawnSyncOptions = {}): Buffer {
  const env = { ...environment, ...options.env }
  const { status, stdout, stderr } = spawnSync('git', [...args], { cwd, maxBuffer: 1 << 30, ...options, env })
  if (status === 0) return stdout as Buffer
  throw new Error(`git ${args.join(' ')}: ${String(stderr)}`)
}

export const word = (cwd: string, args: readonly string[]): string => git(cwd, args).toString().trim()

export interface Pushed extends RefUpdate {
  /** Objects go in the pack that the receiver does not have. */
  readonly pack?: Buffer
}

/** A server's repository, a person's clone of it, and the mirrors of a gateway between them. */
export class MirrorWorld implements Disposable {
  readonly root: string
  readonly server: string
  readonly clone: string
  readonly folder: string
  mirrors: GitMirrors
  /** Connections to the server so far. */
  fetches = 0
  protocol = 'version=2'
  readonly options: NonNullable<Options['push']>
  readonly format: 'sha1' | 'sha256'
  readonly #limits: Partial<MirrorLimits>

  constructor(
    with_: {
      filter?: boolean
      limits?: Partial<MirrorLimits>
      push?: NonNullable<Options['push']>
      format?: 'sha1' | 'sha256'
      /** The world of another process. */
      root?: string
    } = {},
  ) {
    this.root = with_.root ?? mkdtempSync(join(tmpdir(), 'sallyport-mirror-'))
    this.server = join(this.root, 'server.git')
    this.clone = join(this.root, 'clone')
    this.folder = join(this.root, 'gateway')
    this.format = with_.format ?? 'sha1'
    this.options = with_.push ?? {}
    this.#limits = with_.limits ?? {}
    if (with_.root === undefined) this.#make(with_.filter !== false)
    this.mirrors = new GitMirrors(this.folder, this.#limits)
  }

  #make(filter: boolean): void {
    const format = `--object-format=${this.format}`
    git(this.root, ['init', '-q', '--bare', '-b', 'main', format, this.server])
    git(this.root, ['init', '-q', '-b', 'main', format, this.clone])
    git(this.clone, ['remote', 'add', 'origin', this.server])
    if (filter) git(this.server, ['config', 'uploadpack.allowFilter', 'true'])
  }

  /** The gateway starts again. */
  restart(): void {
    this.mirrors = new GitMirrors(this.folder, this.#limits)
  }

  get repository(): Repository {
    const resource: Resource = {
      name: 'code',
      protocol: 'git',
      host: '127.0.0.1',
      port: 22,
      labels: {},
      secret: null,
      options: { repositories: { app: { path: 'app.git' } }, push: this.options },
    }
    return { resource, name: 'app', path: 'app.git', administration: false, symrefs: null }
  }

  refs(): Map<string, string> {
    const lines = word(this.server, ['for-each-ref', '--format=%(refname) %(objectname)']).split('\n')
    return new Map(lines.filter(line => line !== '').map(line => line.split(' ') as [string, string]))
  }

  head(): string | null {
    const { status, stdout } = spawnSync('git', ['rev-parse', '--verify', '-q', 'HEAD'], { cwd: this.server })
    return status === 0 ? String(stdout).trim() : null
  }

  target(): TargetSide {
    return {
      refs: this.refs(),
      since_ms: Date.now(),
      head: this.head(),
      object_format: this.format,
      fetch: () => this.#fetch(),
    }
  }

  async #fetch(): Promise<Duplex> {
    this.fetches++
    const child = spawn('git', ['upload-pack', this.server], {
      env: { ...environment, GIT_PROTOCOL: this.protocol },
      stdio: ['pipe', 'pipe', 'ignore'],
    })
    const channel = Duplex.from({ readable: child.stdout, writable: child.stdin })
    channel.on('error', () => {})
    return channel
  }

  /** Writes files and commits them. @returns the commit. */
  commit(message: string, files: Record<string, string | Buffer | null>, args: readonly string[] = []): string {
    for (const [name, text] of Object.entries(files)) {
      if (text === null) git(this.clone, ['rm', '-q', name])
      else {
        git(this.clone, ['update-index', '--add', '--cacheinfo', `100644,${this.blob(text)},${name}`])
      }
    }
    git(this.clone, ['commit', '-q', '--allow-empty', '-m', message, ...args])
    return word(this.clone, ['rev-parse', 'HEAD'])
  }

  blob(text: string | Buffer): string {
    return git(this.clone, ['hash-object', '-w', '--stdin'], { input: text }).toString().trim()
  }

  /** Past the gateway. */
  direct(...refspecs: string[]): void {
    git(this.clone, ['push', '-q', '--force', 'origin', ...refspecs])
  }

  update(ref: string, id: string | null): RefUpdate {
    return { ref, old: this.refs().get(ref) ?? null, new: id }
  }

  /** As a client packs it for a server that wants no thin packs. */
  pack(ids: readonly string[], without: readonly string[] = [...this.refs().values()]): Buffer {
    const known = without.filter(id => spawnSync('git', ['cat-file', '-e', id], { cwd: this.clone }).status === 0)
    const input = `${[...ids, ...known.map(id => `^${id}`)].join('\n')}\n`
    return git(this.clone, ['pack-objects', '--revs', '--stdout', '-q', '--delta-base-offset'], { input })
  }

  /** Takes a push to its judgement; whoever called drops it. */
  async judged(updates: readonly RefUpdate[], pack?: Buffer) {
    const quarantine = await this.mirrors.quarantine(this.repository, this.target(), {
      session_id: 'ses_1',
      subject: 'ada',
    })
    const ids = updates.flatMap(each => each.new ?? [])
    if (ids.length > 0) for (const piece of pieces(pack ?? this.pack(ids))) await quarantine.write(piece)
    quarantine.end()
    try {
      return { quarantine, facts: await quarantine.judge(updates) }
    } catch (error) {
      await quarantine.drop()
      throw error
    }
  }

  /** A whole push: judged, passed on to the server, settled. @returns what was told of it. */
  async push(updates: readonly RefUpdate[]) {
    const { quarantine, facts } = await this.judged(updates)
    try {
      const pack = await all(quarantine.pass(updates, true))
      if (updates.some(each => each.new !== null))
        git(this.server, ['index-pack', '--stdin', '--fix-thin'], { input: pack })
      for (const { ref, new: id } of updates)
        git(this.server, id === null ? ['update-ref', '-d', ref] : ['update-ref', ref, id])
      await quarantine.settled(updates)
    } finally {
      await quarantine.drop()
    }
    return facts
  }

  /** What lies in quarantine. */
  left(): string[] {
    return readdirSync(join(this.folder, 'quarantine'))
  }

  /** How many objects of each type the mirror holds. */
  held(): Record<string, number> {
    const objects = ['cat-file', '--batch-all-objects', '--batch-check=%(objecttype)']
    const counts: Record<string, number> = {}
    for (const type of word(this.mirror(), objects).split('\n').sort()) counts[type] = (counts[type] ?? 0) + 1
    return counts
  }

  /** The bare repository that the gateway keeps now. */
  mirror(): string {
    const mirrors = join(this.folder, 'mirrors')
    const folder = join(mirrors, readdirSync(mirrors)[0]!)
    const last = Math.max(...readdirSync(folder).flatMap(name => (/^\d+$/.test(name) ? [Number(name)] : [])))
    return join(folder, String(last))
  }

  [Symbol.dispose](): void {
    rmSync(this.root, { recursive: true, force: true })
  }
}

export interface RawObject {
  readonly type: 'commit' | 'tree' | 'blob' | { readonly base: string }
  readonly data: Buffer
  /** What the pack says of its size. */
  readonly size?: number
}

/** gitformat-pack(5), written by hand: also what git would never write. */
export function rawPack(objects: readonly RawObject[], count = objects.length): Buffer {
  const head = Buffer.from('PACK\0\0\0\x02\0\0\0\0', 'latin1')
  head.writeUInt32BE(count, 8)
  const body = objects.flatMap(({ type, data, size = data.length }) => {
    const kind = typeof type === 'string' ? { commit: 1, tree: 2, blob: 3 }[type] : 7
    const bytes: number[] = [(kind << 4) | (size % 16)]
    for (let rest = Math.floor(size / 16); rest > 0; rest = Math.floor(rest / 128)) {
      bytes[bytes.length - 1]! |= 128
      bytes.push(rest % 128)
    }
    const base = typeof type === 'string' ? [] : [Buffer.from(type.base, 'hex')]
    return [Buffer.from(bytes), ...base, deflateSync(data)]
  })
  const all = Buffer.concat([head, ...body])
  return Buffer.concat([all, createHash('sha1').update(all).digest()])
}

function* pieces(pack: Buffer): Generator<Buffer> {
  for (let at = 0; at < pack.length; at += 30_000) yield pack.subarray(at, at + 30_000)
}

export async function all(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}
