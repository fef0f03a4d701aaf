import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Kept, RefUpdate } from '../push.ts'
import type { MirrorLimits } from './limits.ts'
import type { Mirror } from './mirror.ts'
import { type Saved, type Saving, save } from './saving.ts'
import { mark, replace, type Store, type Whose } from './store.ts'

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
interface Staged extends Saved {
  readonly whose: Whose
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

  /** Sets aside what these updates would lose, each for itself. */
  async stage(losing: readonly RefUpdate[], how: Saving): Promise<void> {
    const isStaged = ({ ref, old }: RefUpdate) => this.#staged.has(`${ref} ${old}`)
    for await (const saved of save(losing, { ...how, whose: this.whose }, isStaged))
      this.#staged.set(`${saved.tip.ref} ${saved.tip.old}`, { whose: this.whose, ...saved })
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

  async #keep(mirror: Mirror): Promise<void> {
    await mirror.keep(this.list().map(each => each.old))
  }

  #write(made: LostTip): void {
    mark(this.#folder, this.whose)
    replace(join(this.#folder, `${made.id}.json`), `${JSON.stringify(made)}\n`)
  }
}

export function tip(ref: string, old: string, id: string | null, how: LostTip['how']): LostTip {
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
