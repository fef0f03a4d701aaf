import { Together } from '../../../together.ts'
import { factBounds, type UpdateFacts } from '../facts.ts'
import { PushFault, type RefUpdate } from '../push.ts'
import { Changes } from './changes.ts'
import { readCommit, readTag } from './commits.ts'
import type { FetchFiles } from './files.ts'
import { type Git, Unreadable } from './git.ts'
import { countOf, History, Walk } from './history.ts'
import { type MirrorLimits, tooLarge } from './limits.ts'
import { type Described, describe } from './objects.ts'
import { Questions } from './questions.ts'
import { scanText } from './secrets.ts'
import type { Verifier } from './signatures.ts'
import { cutOf, Telling, told } from './telling.ts'

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
  readonly files: FetchFiles
  /** Null where all updates are deletions. */
  readonly pack: { readonly largest_bytes: number } | null
}

/** Git takes names of objects by itself, and only whole ones come in here. */
const isId = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/
/** Updates of one push that are looked at at the same time: runs of git are shared among them. */
const atOnce = 64
/** A commit or a tag that is larger is no one's message. */
const objectBytes = 4 << 20
/** Tags of tags. */
const ofTag = /^object ([0-9a-f]{40,64})\ntype tag\n/
const mostTags = 16

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
  readonly #changes: Changes
  readonly #telling = new Telling()
  readonly #losses: Together<string, Counted>
  readonly #whats = new Map<string, Promise<What>>()
  #history!: History
  #tips: readonly string[] = []

  constructor(options: JudgeOptions) {
    const { git } = options
    const how = { most: atOnce, again: 'halves', signal: git.place.signal } as const
    this.#options = options
    this.#git = git
    this.#questions = new Questions(git)
    this.#changes = new Changes(this.#questions, { ...options, ...how, looks: this.#looks })
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
      largest_bytes: id === null ? 0 : (this.#options.pack?.largest_bytes ?? 0),
      cut: cutOf(what.cut, {
        lost: total > lost.length,
        paths: unseen,
        secrets: (unseen && this.#looks) || secrets.length < found.length + what.secrets.length,
      }),
    }
    this.#telling.add(facts)
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
    found.push(...(await this.#below(object)))
    return { tag: { tagger, target, signature: await this.#options.verifier.verify(id, signed, 'tag') }, found }
  }

  /** The messages of the tags that a tag leads to: they come with it. */
  async #below(object: Buffer): Promise<UpdateFacts['secrets']> {
    const found: UpdateFacts['secrets'] = []
    for (let [at, depth] = [object, 0]; this.#options.secrets; depth++) {
      const [, id] = ofTag.exec(at.toString('latin1', 0, 200)) ?? []
      if (id === undefined) break
      if (depth === mostTags) throw new PushFault('bad_pack', `a tag of the push leads to more than ${mostTags} tags`)
      const [next] = await this.#questions.read([id], objectBytes)
      if (next === undefined) throw new Unreadable('a tag cannot be read')
      found.push(...(await this.#message(next, 'tag message', id)))
      at = next
    }
    return found
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
    const [commits, paths] = await Promise.all([this.#commits(comes.ids), this.#changes.of({ base, to }, comes)])
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

  /** Where nothing comes there is nothing to look through. */
  get #looks(): boolean {
    return this.#options.secrets && this.#options.pack !== null
  }

  #before(from: string | null): string | null {
    return from ?? this.#options.head
  }
}

function kindOf({ ref, old, new: id }: RefUpdate, { from, to, gone }: Ends, descends: boolean): UpdateFacts['kind'] {
  if (id === null) return 'delete'
  if (old === null && gone === null) return 'create'
  if (ref.startsWith('refs/tags/')) return old === null && gone === id ? 'create' : 'force'
  if (from === null || to === null) return 'unknown'
  if (!descends) return 'force'
  return old === null ? 'create' : 'fast-forward'
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
