import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { faultMessage, logger } from '../../../log.ts'
import type { Kept, RefUpdate, TargetSide } from '../push.ts'
import { bring } from './bring.ts'
import type { Git } from './git.ts'
import { type Reached, Walk } from './history.ts'
import type { MirrorLimits } from './limits.ts'
import type { Mirror } from './mirror.ts'
import { describe } from './objects.ts'
import { writeBundle } from './packing.ts'
import { mark, replace, type Store, type Whose } from './store.ts'

const log = logger('gateway')

/** Whose push it was. */
export interface By {
  readonly session_id: string
  readonly subject: string
}

/** What a ref held that was deleted, or replaced by what does not descend from it. */
export interface LostTip {
  readonly id: string
  readonly ref: string
  readonly old: string
  readonly new: string | null
  /** `seen`: it was gone when somebody pushed next; no push through this gateway did it. */
  readonly how: 'delete' | 'force' | 'seen'
  readonly at_ms: number
  readonly by: By | null
  /** Commits that nothing reaches any more. */
  readonly commits: number
  /** Bytes of the bundle; null where there is none, and why. */
  readonly bytes: number | null
  readonly without: string | null
}

/** What a push in quarantine is about to lose, as it lies there: a crash between here and the target's answer loses none of it. */
interface Staged {
  readonly whose: Whose
  readonly tip: LostTip
  readonly file: string | null
}

export interface Preserving {
  readonly git: Git
  readonly target: TargetSide
  readonly limits: MirrorLimits
  readonly by: By
  /** Of the push: it goes with it. */
  readonly folder: string
  readonly signal: AbortSignal
  /** The disk has room for more. */
  hasRoom(): boolean
}

const idPattern = /^[0-9a-f]{16}$/

/**
 * What force-pushes and deletions lost in one repository: a line of facts, and a bundle with which anybody who has the rest of
 * the history gets it back. It stays when a mirror is made anew.
 */
export class Lost {
  readonly #folder: string
  readonly #limits: MirrorLimits
  readonly #staged = new Map<string, Staged>()

  constructor(folder: string, whose: Whose, limits: MirrorLimits) {
    this.#folder = folder
    this.#limits = limits
    this.whose = whose
  }
  readonly whose: Whose

  /** Newest first. */
  list(): LostTip[] {
    if (!existsSync(this.#folder)) return []
    return readdirSync(this.#folder)
      .filter(name => idPattern.test(name.replace(/\.json$/, '')) && name.endsWith('.json'))
      .flatMap(name => readJson<LostTip>(join(this.#folder, name)) ?? [])
      .sort((a, b) => b.at_ms - a.at_ms || (a.id < b.id ? 1 : -1))
  }

  /** What refs held when they were deleted last. */
  deleted(): ReadonlyMap<string, string> {
    // the newest comes last, and counts
    return new Map(
      this.list()
        .reverse()
        .flatMap(each => (each.new === null ? [[each.ref, each.old] as const] : [])),
    )
  }

  /** The bundle of one of them. */
  bundle(id: string): string | undefined {
    const file = join(this.#folder, `${id}.bundle`)
    return idPattern.test(id) && existsSync(file) ? file : undefined
  }

  /** Refs that are gone although nobody deleted them here. */
  noticed(gone: ReadonlyMap<string, string>): void {
    const known = new Map(this.list().map(each => [`${each.ref} ${each.old}`, each]))
    for (const [ref, old] of [...gone].slice(0, 100)) {
      if (ref === 'HEAD' || known.has(`${ref} ${old}`)) continue
      this.#write({ ...tip(ref, old, null, 'seen'), by: null, commits: 0, without: 'it was deleted past this gateway' })
    }
  }

  /**
   * Sets aside what these updates would lose, each for itself, while the target still has its files: they are fetched. What
   * cannot be had, or is too large, is told as not kept: policy says whether it goes on.
   */
  async stage(losing: readonly RefUpdate[], how: Preserving): Promise<void> {
    const refs = new Set(losing.map(each => each.ref))
    const left = [...how.target.refs].filter(([ref]) => ref !== 'HEAD' && !refs.has(ref)).map(([, id]) => id)
    const known = await describe(how.git, [...left, ...losing.flatMap(each => [each.old ?? [], each.new ?? []].flat())])
    const rest = [...new Set(left)].filter(id => known.has(id))
    const news = losing.flatMap(each => each.new ?? []).filter(id => known.has(id))
    const many = losing.length > 1
    const fetched = many && how.hasRoom() && (await this.#fetchAll(losing, [...rest, ...news], known, how))
    const commits = losing.flatMap(({ old }) => (old !== null && known.get(old)?.type === 'commit' ? [old] : []))
    const walk = many && commits.length > 0 ? await Walk.of(how.git, commits, rest) : undefined
    for (const { ref, old, new: id } of losing) {
      if (old === null || !known.has(old) || this.#staged.has(`${ref} ${old}`)) continue
      const made = { ...tip(ref, old, id, id === null ? 'delete' : 'force'), by: how.by }
      const { type } = known.get(old)!
      const stays = id !== null && known.has(id)
      const reached = type === 'commit' ? walk?.from(old, 0) : undefined
      const { file, facts } = await this.#save(
        made,
        {
          type,
          tips: stays ? [...rest, id] : rest,
          // Of a force its own new commit keeps some, which the walk of all does not know; what others keep is kept.
          reached: stays && reached?.total !== 0 ? undefined : reached,
          fetched: fetched && news.length === 0,
        },
        how,
      )
      this.#staged.set(`${ref} ${old}`, { whose: this.whose, file, tip: { ...made, ...facts } })
    }
  }

  /** Whether what an update loses is kept; null where it loses nothing. */
  keeps({ ref, old }: RefUpdate): boolean | null {
    const staged = this.#staged.get(`${ref} ${old}`)
    if (staged !== undefined) return staged.tip.commits === 0 && staged.file === null ? null : staged.file !== null
    const before = old === null ? this.list().find(each => each.ref === ref && each.new === null) : undefined
    return before === undefined || before.how === 'seen' ? false : before.commits === 0 || before.bytes !== null
  }

  /** They are about to go on: from now on what they lose is kept, whatever happens to this process. */
  accepted(updates: readonly RefUpdate[], folder: string): Kept[] {
    return updates.flatMap(({ ref, old }) => {
      const staged = this.#staged.get(`${ref} ${old}`)
      if (staged === undefined || nothing(staged)) return []
      replace(join(folder, `${staged.tip.id}.json`), JSON.stringify(staged))
      const { id, commits, bytes, without } = staged.tip
      return [{ id, ref, old: staged.tip.old, new: staged.tip.new, commits, bytes, without }]
    })
  }

  /** The target took these, or may have: what they lost is kept from now on. */
  async settled(taken: readonly RefUpdate[], mirror: Mirror): Promise<void> {
    let kept = false
    for (const { ref, old } of taken) {
      const staged = this.#staged.get(`${ref} ${old}`)
      if (staged === undefined) continue
      this.#staged.delete(`${ref} ${old}`)
      this.#take(staged)
      kept = true
    }
    if (kept) await this.#keep(mirror)
  }

  /** What a process that died had accepted. */
  adopt(staged: Staged): void {
    if (staged.file === null || existsSync(staged.file)) this.#take(staged)
  }

  #take({ tip, file }: Staged): void {
    mark(this.#folder, this.whose)
    if (file !== null) renameSync(file, join(this.#folder, `${tip.id}.bundle`))
    this.#write(tip)
  }

  /** Deletes what `goes` says; and what is more than is kept of one repository, oldest first. @returns how many. */
  async expire(goes: (tip: LostTip) => boolean, mirror: Mirror): Promise<number> {
    const gone = this.list().filter((each, i) => i >= this.#limits.lost || goes(each))
    for (const { id } of gone) {
      rmSync(join(this.#folder, `${id}.bundle`), { force: true })
      rmSync(join(this.#folder, `${id}.json`), { force: true })
    }
    if (gone.length > 0) await this.#keep(mirror)
    this.#clear()
    return gone.length
  }

  /** Whoever died between the two files of one of them left the first. */
  #clear(): void {
    if (!existsSync(this.#folder)) return
    const before = Date.now() - this.#limits.push_ms
    for (const name of readdirSync(this.#folder)) {
      const file = join(this.#folder, name)
      const half = name.endsWith('.new') || !existsSync(file.replace(/\.bundle$/, '.json'))
      if (half && (statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? before) < before) rmSync(file, { force: true })
    }
  }

  /** For many at once: one way to the target in the place of one for each. What it does not bring each asks for itself. */
  async #fetchAll(
    losing: readonly RefUpdate[],
    without: readonly string[],
    known: ReadonlyMap<string, unknown>,
    how: Preserving,
  ): Promise<boolean> {
    const olds = losing.flatMap(each => each.old ?? []).filter(id => known.has(id))
    if (olds.length === 0) return false
    try {
      await this.#fetch(`${[...olds, ...without.map(id => `^${id}`)].join('\n')}\n`, how)
      return true
    } catch (error) {
      log.info({ ...this.whose, reason: faultMessage(error) }, 'what a push loses is not to be had at once')
      return false
    }
  }

  /** The files that are reached so and not here. */
  async #fetch(input: string, { git, limits, target, signal }: Preserving): Promise<void> {
    const walk = ['rev-list', '--objects', '--no-object-names', '--missing=print', '--stdin']
    const objects = (await git.text(walk, { input, signal, max_output: 256 << 20 })).split('\n')
    const missing = objects.filter(line => line.startsWith('?')).map(line => line.slice(1))
    if (missing.length === 0) return
    const how = { limits, timeout_ms: limits.sync_ms, max_file: limits.lost_bytes, signal }
    await bring(git, target, missing, how)
  }

  async #save(
    made: LostTip,
    { type, tips, ...known }: Loss,
    how: Preserving,
  ): Promise<{ file: string | null; facts: Pick<LostTip, 'commits' | 'bytes' | 'without'> }> {
    const { git, limits, signal } = how
    const input = `${[made.old, ...tips.map(id => `^${id}`)].join('\n')}\n`
    const reached = known.reached ?? (await walked(git, input, signal))
    const [commits, boundary] = [reached.total, [...reached.edges]]
    if (commits === 0 && (type !== 'tag' || tips.includes(made.old)))
      return { file: null, facts: { commits, bytes: null, without: 'all of it is reached by other refs' } }
    // A full disk would end every session of this gateway, and who pushes can make any number of losses.
    if (!how.hasRoom())
      return { file: null, facts: { commits, bytes: null, without: 'the gateway had no room for its files' } }
    // Of an annotated tag the commit stays: who brings it back needs that.
    if (commits === 0) boundary.push((await git.text(['rev-parse', '--verify', `${made.old}^{}`], { signal })).trim())
    const file = join(how.folder, `${made.id}.bundle`)
    try {
      if (!known.fetched) await this.#fetch(input, how)
      const packing = { of: [made.old], without: tips, timeout_ms: limits.sync_ms, signal }
      const bytes = await writeBundle(git, {
        ...packing,
        ref: made.ref,
        tip: made.old,
        boundary,
        file,
        most: limits.lost_bytes,
      })
      if (bytes !== undefined) return { file, facts: { commits, bytes, without: null } }
      return { file: null, facts: { commits, bytes: null, without: 'its files are larger than the gateway keeps' } }
    } catch (error) {
      if (signal.aborted) throw error
      log.warn(
        { ...this.whose, ref: made.ref, reason: faultMessage(error) },
        'what a push loses is kept without its files',
      )
      return { file: null, facts: { commits, bytes: null, without: faultMessage(error).slice(0, 300) } }
    }
  }

  async #keep(mirror: Mirror): Promise<void> {
    await mirror.keep(this.list().map(each => each.old))
  }

  #write(made: LostTip): void {
    mark(this.#folder, this.whose)
    replace(join(this.#folder, `${made.id}.json`), `${JSON.stringify(made)}\n`)
  }
}

/** What is known of a loss before it is saved. */
interface Loss {
  readonly type: string
  /** What reaches none of it. */
  readonly tips: readonly string[]
  readonly reached: Extent | undefined
  /** Its files are here. */
  readonly fetched: boolean
}

type Extent = Pick<Reached, 'total' | 'edges'>

async function walked(git: Git, input: string, signal: AbortSignal): Promise<Extent> {
  const listed = await git.text(['rev-list', '--boundary', '--stdin'], { input, signal })
  const lines = listed.split('\n').filter(line => line !== '')
  const edges = new Set(lines.filter(line => line.startsWith('-')).map(line => line.slice(1)))
  return { total: lines.length - edges.size, edges }
}

function tip(ref: string, old: string, id: string | null, how: LostTip['how']): LostTip {
  const made = { id: randomBytes(8).toString('hex'), ref, old, new: id, how, at_ms: Date.now() }
  return { ...made, by: null, commits: 0, bytes: null, without: null }
}

/** All of it stays where it is. */
const nothing = ({ tip, file }: Staged): boolean => file === null && tip.commits === 0

/** Of a process that died while its push may have been on the target: what that would lose is kept. */
export function adoptLost(folder: string, store: Store, limits: MirrorLimits): void {
  for (const name of readdirSync(folder)) {
    if (!name.endsWith('.json') || !idPattern.test(name.slice(0, -5))) continue
    const staged = readJson<Staged>(join(folder, name))
    if (staged !== undefined) new Lost(store.lost(staged.whose), staged.whose, limits).adopt(staged)
  }
}

function readJson<X>(file: string): X | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as X
  } catch {
    return undefined
  }
}
