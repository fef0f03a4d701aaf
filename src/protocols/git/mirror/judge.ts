import { factBounds, lists, type UpdateFacts } from '../facts.ts'
import { PushFault, type RefUpdate } from '../push.ts'
import { readCommit, readTag } from './commits.ts'
import { type Git, Unreadable } from './git.ts'
import { type Comes, countOf, History, Walk } from './history.ts'
import type { MirrorLimits } from './limits.ts'
import { type Described, describe, largest } from './objects.ts'
import type { Changed, Numbers } from './paths.ts'
import { diffBytes, Questions, type Sides } from './questions.ts'
import { Scanner, scanText } from './secrets.ts'
import type { Verifier } from './signatures.ts'
import { Together } from './together.ts'

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
/** Updates of one push that are looked at at the same time: runs of git are shared among them. */
const atOnce = 64
/** Files of before that are fetched for one update. */
const mostFiles = 2_000
/** So often a target is asked for files that it does not give. */
const mostDenials = 8
/** Of what is told of all updates of one push together. */
const mostText = 64 << 20
/** A commit or a tag that is larger is no one's message. */
const objectBytes = 4 << 20

/** What comes with an update: the same for all that lead from one commit to another. */
interface What extends Pick<UpdateFacts, 'commits' | 'commits_total' | 'paths' | 'paths_total' | 'secrets' | 'cut'> {
  readonly descends: boolean
}
const nothing: What = {
  commits: [],
  commits_total: 0,
  paths: [],
  paths_total: 0,
  secrets: [],
  cut: [],
  descends: false,
}

/** The commits of an update. `gone`: what its ref held when it was deleted lately. */
interface Ends {
  readonly from: string | null
  readonly to: string | null
  readonly gone: string | null
}

/** What policy is told of the updates of one push, computed from the objects alone. */
export class Judge {
  readonly #options: JudgeOptions
  readonly #git: Git
  readonly #questions: Questions
  readonly #scanner: Scanner
  readonly #files: Together<readonly string[], boolean>
  readonly #losses: Together<string, Counted>
  readonly #whats = new Map<string, Promise<What>>()
  #history!: History
  #tips: readonly string[] = []
  #largest: Promise<number> | undefined
  /** Answers of the target that had no files. */
  #denials = 0
  /** Bytes of paths that are held now. */
  #held = 0
  #text = 0

  constructor(options: JudgeOptions) {
    const { git, limits } = options
    const how = { most: atOnce, signal: git.place.signal }
    this.#options = options
    this.#git = git
    this.#questions = new Questions(git)
    this.#scanner = new Scanner(this.#questions, limits, how.signal)
    this.#files = new Together(all => this.#bring(all), how)
    this.#losses = new Together(all => this.#lost(all), how)
  }

  async judge(updates: readonly RefUpdate[]): Promise<UpdateFacts[]> {
    const { limits, refs } = this.#options
    const asked = updates.length
    if (asked > limits.updates)
      throw tooLarge(`the push changes ${asked} refs, and more than ${limits.updates} are not looked at at once`)
    for (const { old, new: id } of updates)
      for (const each of [old, id]) if (each !== null && !isId.test(each)) throw new TypeError('no object id')
    const ids = updates.flatMap(each => [each.old, each.new, this.#deleted(each)]).filter(id => id !== null)
    const known = await describe(this.#git, ids)
    const torn = updates.find(({ ref, old }) => old !== null && refs.get(ref) === old && !known.has(old))
    if (torn !== undefined) throw new Unreadable(`it lacks what ${torn.ref} holds`)
    const ends = await Promise.all(updates.map(each => this.#ends(each, known)))
    const steps = ends.flatMap(({ from, to }) => (to === null ? [] : [{ from: this.#before(from), to }]))
    this.#history = await History.of(this.#git, steps, factBounds.commits)
    this.#tips = tipsAfter(refs, updates)
    const until = performance.now() + limits.judge_ms
    const facts: UpdateFacts[] = []
    const rest = updates.entries()
    let failed = false
    const some = async () => {
      for (const [i, update] of rest) {
        if (failed) return
        try {
          if (i > 0 && performance.now() > until)
            throw tooLarge(`only ${i} of the ${asked} refs of the push could be looked at in time`)
          facts[i] = await this.#update(update, known, ends[i]!)
        } catch (error) {
          failed = true
          throw error
        }
      }
    }
    // All come to an end before the push does.
    const ended = await Promise.allSettled(Array.from({ length: Math.min(atOnce, asked) }, some))
    for (const each of ended) if (each.status === 'rejected') throw each.reason
    return facts
  }

  /** INVARIANT: what was deleted and is created anew is what it would have been in one push (GI5). */
  #deleted({ ref, old, new: id }: RefUpdate): string | null {
    return old === null && id !== null ? (this.#options.deleted.get(ref) ?? null) : null
  }

  async #ends(update: RefUpdate, known: Known): Promise<Ends> {
    const { ref, old, new: id } = update
    if (id !== null && !known.has(id))
      throw new PushFault('bad_pack', `the push lacks the object that ${ref} would name`)
    const gone = this.#deleted(update)
    const before = [old, gone].find(each => each !== null && known.has(each)) ?? null
    const [from, to] = await Promise.all([before, id].map(each => (each === null ? null : this.#commitOf(each, known))))
    return { from: from!, to: to!, gone }
  }

  async #update(update: RefUpdate, known: Known, { from, to, gone }: Ends): Promise<UpdateFacts> {
    const { ref, old, new: id } = update
    const what = to === null ? nothing : await this.#whatOf(from, to)
    const kind = kindOf(update, { from, to, gone }, what.descends)
    const { ids, total } =
      from === null || kind === 'fast-forward' ? { ids: [], total: 0 } : await this.#losses.ask(from)
    const lost = told('lost', ids)
    const isTag = id !== null && known.get(id)?.type === 'tag'
    const { tag, found } = isTag ? await this.#tag(id) : { tag: null, found: [] }
    const secrets = told('secrets', [...found, ...what.secrets])
    const { descends, ...rest } = what
    // A file or a folder that a ref names by itself: neither its paths nor its lines are looked at.
    const unseen = id !== null && to === null
    const facts: UpdateFacts = {
      ref,
      old,
      new: id,
      kind,
      ...rest,
      lost,
      lost_total: total,
      kept: null,
      secrets,
      tag,
      largest_bytes: id === null ? 0 : await this.#largestBytes(),
      cut: cutOf(what.cut, {
        lost: total > lost.length,
        paths: unseen,
        secrets: (unseen && this.#looks) || secrets.length < found.length + what.secrets.length,
      }),
    }
    this.#text += textOf(facts.lost) + textOf(facts.secrets) + textOf(facts.commits) + textOf(facts.paths)
    if (this.#text > mostText) throw tooLarge('there is more to tell of the refs of the push than is told at once')
    return facts
  }

  /** Commits that no ref of the target reaches once these updates are done. */
  async #lost(froms: readonly string[]): Promise<readonly Counted[]> {
    const walk = await Walk.of(this.#git, froms, this.#tips)
    if (walk !== undefined) return froms.map(from => walk.from(from, factBounds.lost))
    if (froms.length > 1) throw new Unreadable('a history is longer than what is held')
    return [await countOf(this.#git, froms[0]!, this.#tips, factBounds.lost)]
  }

  #commitOf(id: string, known: Known): Promise<string | null> | string | null {
    const type = known.get(id)?.type
    if (type === 'commit') return id
    return type === 'tag' ? this.#questions.commitOf(id) : null
  }

  async #tag(id: string): Promise<{ tag: UpdateFacts['tag']; found: UpdateFacts['secrets'] }> {
    const [object] = await this.#questions.read([id], objectBytes)
    if (object === undefined) throw new Unreadable('a tag cannot be read')
    const { target, tagger, signed } = readTag(object)
    const found = await this.#message(object, 'tag message', id)
    return { tag: { tagger, target, signature: await this.#options.verifier.verify(id, signed, 'tag') }, found }
  }

  #whatOf(from: string | null, to: string): Promise<What> {
    const key = `${from} ${to}`
    const known = this.#whats.get(key) ?? this.#what(from, to)
    this.#whats.set(key, known)
    return known
  }

  /** Commits that come on the ref, paths that differ from what it held, and what these commits add. */
  async #what(from: string | null, to: string): Promise<What> {
    const step = { from: this.#before(from), to }
    const comes = await this.#history.comes(step)
    const base = from ?? (await this.#history.base(step, comes))
    const [commits, paths] = await Promise.all([this.#commits(comes.ids), this.#paths({ base, to }, comes)])
    const tellsCommits = told('commits', commits.facts)
    const tellsPaths = told('paths', paths.facts)
    return {
      commits: tellsCommits,
      commits_total: comes.total,
      paths: tellsPaths,
      paths_total: paths.total,
      // one more than is told, to see whether there are more
      secrets: [...commits.found, ...paths.found].slice(0, factBounds.secrets + 1),
      cut: cutOf([], {
        commits: tellsCommits.length < comes.total,
        paths: tellsPaths.length < paths.total,
        secrets: paths.cut,
      }),
      descends: comes.descends && from !== null,
    }
  }

  async #commits(ids: readonly string[]) {
    const objects = await this.#questions.read(ids, objectBytes * 4)
    const facts: UpdateFacts['commits'] = []
    const found: UpdateFacts['secrets'] = []
    for (const [i, object] of objects.entries()) {
      if (object === undefined) throw new Unreadable('a commit cannot be read')
      const read = readCommit(ids[i]!, object)
      found.push(...(await this.#message(object, 'commit message', read.id)))
      facts.push({ ...read.facts, signature: await this.#options.verifier.verify(read.id, read.signed) })
    }
    return { facts, found }
  }

  /** Behind the headers: what stands in a message is as public as what stands in a file. */
  async #message(object: Buffer, path: string, commit: string): Promise<UpdateFacts['secrets']> {
    if (!this.#options.secrets) return []
    const end = object.indexOf('\n\n')
    const found = end < 0 ? [] : await scanText(object.subarray(end + 2))
    return found.slice(0, factBounds.secrets).map(each => ({ ...each, path, commit }))
  }

  async #paths(sides: Sides, { ids, total }: Comes) {
    const looks = this.#looks
    const [differ, perCommit] = await Promise.all([
      this.#questions.paths(sides),
      looks ? this.#questions.pathsOf(ids) : [],
    ])
    const ofCommits = perCommit.reduce((sum, each) => sum + each.bytes, 0)
    if (ofCommits > diffBytes)
      throw new PushFault('too_large', 'the push changes more paths than can be looked at', 'push in smaller parts')
    const bytes = differ.bytes + ofCommits
    this.#held += bytes
    try {
      if (this.#held > diffBytes * 4) throw tooLarge('the refs of the push change more paths than can be looked at')
      const paths = differ.paths.slice(0, factBounds.paths)
      const have = await this.#fetchFiles([...paths, ...perCommit.flatMap(each => each.paths)])
      const [numbers, sizes, scanned] = await Promise.all([
        have ? this.#questions.numbers(sides).catch(() => undefined) : undefined,
        this.#questions.describe(paths.flatMap(each => each.after ?? [])),
        looks ? this.#scanner.scan(perCommit) : undefined,
      ])
      return {
        facts: paths.map(each => pathFacts(each, numbers, sizes)),
        total: differ.paths.length,
        found: scanned?.findings ?? [],
        cut: scanned !== undefined && (scanned.cut || total > ids.length),
      }
    } finally {
      this.#held -= bytes
    }
  }

  /** The files of both sides, where lines are counted or looked at. */
  async #fetchFiles(paths: readonly Changed[]): Promise<boolean> {
    const ids = new Set(
      paths
        .filter(each => each.type !== 'submodule')
        .flatMap(each => [...each.before, ...(each.after ?? '').split(' ')]),
    )
    ids.delete('')
    const known = await this.#questions.describe(ids)
    const missing = [...ids].filter(id => !known.has(id))
    if (missing.length === 0) return true
    if (missing.length > mostFiles) return false
    return this.#files.ask(missing).catch(() => false)
  }

  async #bring(all: readonly (readonly string[])[]): Promise<readonly boolean[]> {
    const ids = [...new Set(all.flat())]
    if (this.#denials < mostDenials && (ids.length <= mostFiles || all.length === 1)) {
      if (await this.#options.files(ids)) return all.map(() => true)
      if (all.length === 1) this.#denials++
    }
    throw new Unreadable('files of before are not to be had')
  }

  /** Where nothing comes there is nothing to look through. */
  get #looks(): boolean {
    return this.#options.secrets && this.#options.hasPack
  }

  #before(from: string | null): string | null {
    return from ?? this.#options.head
  }

  #largestBytes(): Promise<number> {
    this.#largest ??= this.#options.hasPack ? largest(this.#git) : Promise.resolve(0)
    return this.#largest
  }
}

const tooLarge = (why: string) => new PushFault('too_large', why, 'push fewer refs at a time')

function kindOf({ ref, old, new: id }: RefUpdate, { from, to, gone }: Ends, descends: boolean): UpdateFacts['kind'] {
  if (id === null) return 'delete'
  if (old === null && gone === null) return 'create'
  if (ref.startsWith('refs/tags/')) return old === null && gone === id ? 'create' : 'force'
  if (from === null || to === null) return 'unknown'
  if (!descends) return 'force'
  return old === null ? 'create' : 'fast-forward'
}

function pathFacts({ path, change, type, after }: Changed, numbers: Numbers | undefined, sizes: Known) {
  const { added = null, removed = null } = numbers?.get(path) ?? {}
  return { path, change, type, bytes: after === null ? 0 : (sizes.get(after)?.bytes ?? null), added, removed }
}

function tipsAfter(refs: ReadonlyMap<string, string>, updates: readonly RefUpdate[]): string[] {
  const after = new Map(refs)
  for (const { ref, new: id } of updates) id === null ? after.delete(ref) : after.set(ref, id)
  return [...new Set(after.values())]
}

type Known = ReadonlyMap<string, Described>

interface Counted {
  readonly ids: readonly string[]
  readonly total: number
}

/** A decision takes so much text in all: each list has its share, and what has no room is counted and not told. */
const shares = { commits: 0.4, lost: 0.08, paths: 0.42, secrets: 0.08 } as const

function told<X>(name: keyof typeof shares, list: readonly X[]): X[] {
  let left = factBounds.text * shares[name]
  const room = list.findIndex(each => (left -= JSON.stringify(each).length + 1) < 0)
  return list.slice(0, Math.min(room < 0 ? list.length : room, factBounds[name]))
}

function cutOf(
  already: UpdateFacts['cut'],
  also: Partial<Record<(typeof lists)[number], boolean>>,
): UpdateFacts['cut'] {
  return lists.filter(list => already.includes(list) || also[list] === true)
}

const textOf = (list: readonly unknown[]): number => (list.length === 0 ? 2 : JSON.stringify(list).length)
