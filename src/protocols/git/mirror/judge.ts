import { factBounds, type UpdateFacts } from '../facts.ts'
import { PushFault, type RefUpdate } from '../push.ts'
import { readCommit, readTag } from './commits.ts'
import { type Git, Unreadable, whyGit } from './git.ts'
import type { MirrorLimits } from './limits.ts'
import { type Described, describe, largest, readObjects } from './objects.ts'
import { type Changed, readNumbers, readRaw } from './paths.ts'
import { scan, scanText } from './secrets.ts'
import type { Verifier } from './signatures.ts'

export interface JudgeOptions {
  /** Mirror and quarantine together. */
  readonly git: Git
  readonly limits: MirrorLimits
  readonly verifier: Verifier
  readonly secrets: boolean
  /** Refs of the target before the push. */
  readonly refs: ReadonlyMap<string, string>
  /** What HEAD names there; a new ref is compared with it, and with nothing where it is null. */
  readonly head: string | null
  /** What refs held that were deleted lately. */
  readonly deleted: ReadonlyMap<string, string>
  /** Fetches files of before from the target into the quarantine; `false`: they are not to be had. */
  readonly files: (ids: readonly string[]) => Promise<boolean>
  readonly hasPack: boolean
}

/** Git takes names of objects by itself, and only whole ones come in here. */
const isId = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/
/** Updates of one push that are looked at at the same time. */
const atOnce = 4
/** Files of before that are fetched for one update. */
const mostFiles = 2_000
const diffTree = ['diff-tree', '-r', '-z', '--no-renames', '--full-index', '--no-ext-diff', '--no-textconv'] as const
const diffBytes = 64 << 20
/** Git knows these without their being there. */
const emptyTree = {
  40: '4b825dc642cb6eb9a060e54bf8d69288fbee4904',
  64: '6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321',
} as const
/** A commit or a tag that is larger is no one's message. */
const objectBytes = 4 << 20

/** What policy is told of the updates of one push, computed from the objects alone. */
export class Judge {
  readonly #options: JudgeOptions
  readonly #git: Git
  #largest: Promise<number> | undefined
  #tips: readonly string[] | undefined

  constructor(options: JudgeOptions) {
    this.#options = options
    this.#git = options.git
  }

  async judge(updates: readonly RefUpdate[]): Promise<UpdateFacts[]> {
    for (const { old, new: id } of updates)
      for (const each of [old, id]) if (each !== null && !isId.test(each)) throw new TypeError('no object id')
    const ids = updates.flatMap(each => [each.old, each.new, this.#deleted(each)]).filter(id => id !== null)
    const known = await describe(this.#git, ids)
    const torn = updates.find(({ ref, old }) => old !== null && this.#options.refs.get(ref) === old && !known.has(old))
    if (torn !== undefined) throw new Unreadable(`it lacks what ${torn.ref} holds`)
    const facts: UpdateFacts[] = []
    const rest = updates.entries()
    const some = async () => {
      for (const [i, update] of rest) facts[i] = await this.#update(update, known, updates)
    }
    // Each waits for one git after the other. All come to an end before the push does.
    const ended = await Promise.allSettled(Array.from({ length: atOnce }, some))
    for (const each of ended) if (each.status === 'rejected') throw each.reason
    return facts
  }

  /** INVARIANT: what was deleted and is created anew is what it would have been in one push (GI5). */
  #deleted({ ref, old, new: id }: RefUpdate): string | null {
    return old === null && id !== null ? (this.#options.deleted.get(ref) ?? null) : null
  }

  async #update(update: RefUpdate, known: Map<string, Described>, all: readonly RefUpdate[]): Promise<UpdateFacts> {
    const { ref, old, new: id } = update
    if (id !== null && !known.has(id))
      throw new PushFault('bad_pack', `the push lacks the object that ${ref} would name`)
    const gone = this.#deleted(update)
    const before = [old, gone].find(each => each !== null && known.has(each)) ?? null
    const [from, to] = await Promise.all([before, id].map(each => (each === null ? null : this.#commitOf(each, known))))
    const largest = id === null ? 0 : this.#largestBytes()
    const facts: UpdateFacts = {
      ref,
      old,
      new: id,
      kind: 'unknown',
      commits: [],
      commits_total: 0,
      lost: [],
      lost_total: 0,
      kept: null,
      paths: [],
      paths_total: 0,
      secrets: [],
      tag: null,
      largest_bytes: 0,
      // A file or a folder that a ref names by itself: neither its paths nor its lines are looked at.
      cut: id !== null && to === null,
    }
    await Promise.all([
      this.#kind(update, gone, from!, to!).then(async kind => {
        facts.kind = kind
        if (from !== null && kind !== 'fast-forward') await this.#lost(facts, from!, all)
      }),
      to === null ? undefined : this.#what(facts, from!, to!),
      id !== null && known.get(id)?.type === 'tag' ? this.#tag(facts, id) : undefined,
      Promise.resolve(largest).then(bytes => {
        facts.largest_bytes = bytes
      }),
    ])
    return bounded(facts)
  }

  async #kind(
    { ref, old, new: id }: RefUpdate,
    gone: string | null,
    from: string | null,
    to: string | null,
  ): Promise<UpdateFacts['kind']> {
    if (id === null) return 'delete'
    if (old === null && gone === null) return 'create'
    if (ref.startsWith('refs/tags/')) return old === null && gone === id ? 'create' : 'force'
    if (from === null || to === null) return 'unknown'
    if (await this.#isAncestor(from, to)) return old === null ? 'create' : 'fast-forward'
    return 'force'
  }

  async #isAncestor(from: string, to: string): Promise<boolean> {
    const { status, cut } = await this.#git.try(['merge-base', '--is-ancestor', from, to])
    if (cut === undefined && (status === 0 || status === 1)) return status === 0
    throw new Unreadable('ancestry cannot be found out')
  }

  /** Commits that no ref of the target reaches once these updates are done. */
  async #lost(facts: UpdateFacts, from: string, all: readonly RefUpdate[]): Promise<void> {
    this.#tips ??= tipsAfter(this.#options.refs, all)
    const { ids, total } = await this.#count(from, this.#tips, factBounds.lost)
    facts.lost = [...ids]
    facts.lost_total = total
    facts.cut ||= total > ids.length
  }

  async #count(of: string, without: readonly string[], most: number): Promise<Counted> {
    const input = `${[of, ...without.map(id => `^${id}`)].join('\n')}\n`
    // one more than is told, to see whether there are more; then they are counted
    const listed = await this.#git.text(['rev-list', '--topo-order', `--max-count=${most + 1}`, '--stdin'], { input })
    const ids = listed.split('\n').filter(id => isId.test(id))
    if (ids.length <= most) return { ids, total: ids.length }
    const total = Number(await this.#git.text(['rev-list', '--count', '--stdin'], { input }))
    return { ids: ids.slice(0, most), total }
  }

  async #commitOf(id: string, known: Map<string, Described>): Promise<string | null> {
    const type = known.get(id)?.type
    if (type === 'commit') return id
    if (type !== 'tag') return null
    const { status, stdout } = await this.#git.try(['rev-parse', '--verify', '--quiet', `${id}^{commit}`])
    const commit = stdout.toString('latin1').trim()
    return status === 0 && isId.test(commit) ? commit : null
  }

  async #tag(facts: UpdateFacts, id: string): Promise<void> {
    const [object] = await readObjects(this.#git, [id], objectBytes)
    if (object === undefined) throw new Unreadable('a tag cannot be read')
    const { target, tagger, signed } = readTag(object)
    await this.#message(facts, object, 'tag message', id)
    facts.tag = { tagger, target, signature: await this.#options.verifier.verify(id, signed, 'tag') }
  }

  /** Commits that come on the ref, paths that differ from what it held, and what these commits add. */
  async #what(facts: UpdateFacts, from: string | null, to: string): Promise<void> {
    const { ids, total } = await this.#count(to, this.#before(from), factBounds.commits)
    facts.commits_total = total
    facts.cut ||= ids.length < total
    await Promise.all([this.#commits(facts, ids), this.#paths(facts, from ?? (await this.#base(to)), to, ids)])
  }

  async #commits(facts: UpdateFacts, ids: readonly string[]): Promise<void> {
    const objects = await readObjects(this.#git, ids, objectBytes * 4)
    for (const [i, object] of objects.entries()) {
      if (object === undefined) throw new Unreadable('a commit cannot be read')
      const read = readCommit(ids[i]!, object)
      await this.#message(facts, object, 'commit message', read.id)
      facts.commits.push({ ...read.facts, signature: await this.#options.verifier.verify(read.id, read.signed) })
    }
  }

  /** Behind the headers: what stands in a message is as public as what stands in a file. */
  async #message(facts: UpdateFacts, object: Buffer, path: string, commit: string): Promise<void> {
    if (!this.#options.secrets) return
    const end = object.indexOf('\n\n')
    const found = end < 0 ? [] : await scanText(object.subarray(end + 2))
    facts.secrets.push(...found.slice(0, factBounds.secrets).map(each => ({ ...each, path, commit })))
  }

  async #paths(facts: UpdateFacts, base: string | null, to: string, commits: readonly string[]): Promise<void> {
    const sides = [base ?? emptyTree[to.length as 40 | 64], to]
    const { secrets, hasPack, limits } = this.#options
    const [paths, perCommit] = await Promise.all([
      this.#diff(['--raw', ...sides]).then(out => readRaw(out).flatMap(each => each.paths)),
      secrets && hasPack && commits.length > 0
        ? this.#diff(['--raw', '-c', '--root', '--stdin'], `${commits.join('\n')}\n`).then(readRaw)
        : [],
    ])
    const told = paths.slice(0, factBounds.paths)
    facts.paths_total = paths.length
    facts.cut ||= told.length < paths.length
    const have = await this.#fetchFiles([...told, ...perCommit.flatMap(each => each.paths)])
    const [numbers, sizes, scanned] = await Promise.all([
      have ? this.#numbers(sides) : undefined,
      describe(
        this.#git,
        told.flatMap(each => each.after ?? []),
      ),
      secrets ? scan(this.#git, perCommit, limits) : undefined,
    ])
    for (const each of told) {
      const { added = null, removed = null } = numbers?.get(each.path) ?? {}
      const bytes = each.after === null ? 0 : (sizes.get(each.after)?.bytes ?? null)
      facts.paths.push({ path: each.path, change: each.change, type: each.type, bytes, added, removed })
    }
    if (scanned === undefined) return
    facts.secrets.push(...scanned.findings)
    facts.cut ||= scanned.cut || facts.commits_total > commits.length
  }

  async #diff(args: readonly string[], input?: string): Promise<Buffer> {
    const ended = await this.#git.try([...diffTree, ...args], { input, max_output: diffBytes })
    if (ended.cut === 'output')
      throw new PushFault('too_large', 'the push changes more paths than can be looked at', 'push in smaller parts')
    if (ended.status !== 0 || ended.cut !== undefined) throw new Unreadable(`git diff-tree: ${whyGit(ended)}`)
    return ended.stdout
  }

  /** The files of both sides, where lines are counted or looked at. */
  async #fetchFiles(paths: readonly Changed[]): Promise<boolean> {
    const ids = new Set(
      paths
        .filter(each => each.type !== 'submodule')
        .flatMap(each => [...each.before, ...(each.after ?? '').split(' ')]),
    )
    ids.delete('')
    const known = await describe(this.#git, ids)
    const missing = [...ids].filter(id => !known.has(id))
    if (missing.length === 0) return true
    return missing.length <= mostFiles && (await this.#options.files(missing))
  }

  async #numbers(sides: readonly string[]) {
    const { status, cut, stdout } = await this.#git.try([...diffTree, '--numstat', ...sides])
    return status === 0 && cut === undefined ? readNumbers(stdout) : undefined
  }

  #before(from: string | null): readonly string[] {
    const start = from ?? this.#options.head
    return start === null ? [] : [start]
  }

  async #base(to: string): Promise<string | null> {
    const { head } = this.#options
    if (head === null) return null
    const { stdout } = await this.#git.try(['merge-base', to, head])
    const found = stdout.toString('latin1').trim().split('\n')[0] ?? ''
    return isId.test(found) ? found : null
  }

  #largestBytes(): Promise<number> {
    this.#largest ??= this.#options.hasPack ? largest(this.#git) : Promise.resolve(0)
    return this.#largest
  }
}

function tipsAfter(refs: ReadonlyMap<string, string>, updates: readonly RefUpdate[]): string[] {
  const after = new Map(refs)
  for (const { ref, new: id } of updates) id === null ? after.delete(ref) : after.set(ref, id)
  return [...new Set(after.values())]
}

interface Counted {
  readonly ids: readonly string[]
  readonly total: number
}

/** A decision takes so much text in all: each list has its share, and what has no room is counted and not told. */
function bounded(facts: UpdateFacts): UpdateFacts {
  const share = { commits: 0.4, lost: 0.08, paths: 0.42, secrets: 0.08 } as const
  for (const [name, part] of Object.entries(share) as [keyof typeof share, number][]) {
    const list = facts[name] as unknown[]
    let left = factBounds.text * part
    const room = list.findIndex(each => (left -= JSON.stringify(each).length + 1) < 0)
    const most = Math.min(room < 0 ? list.length : room, factBounds[name])
    if (most < list.length) {
      list.length = most
      facts.cut = true
    }
  }
  return facts
}
