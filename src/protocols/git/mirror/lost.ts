import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { faultMessage, logger } from '../../../log.ts'
import type { RefUpdate, TargetSide } from '../push.ts'
import { bring } from './bring.ts'
import type { Git } from './git.ts'
import type { MirrorLimits } from './limits.ts'
import type { Mirror } from './mirror.ts'
import { describe } from './objects.ts'
import { writeBundle } from './packing.ts'
import { mark, type Whose } from './store.ts'

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

export interface Preserving {
  readonly git: Git
  readonly mirror: Mirror
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
  readonly #staged = new Map<string, { readonly tip: LostTip; readonly file: string | null; readonly folder: string }>()

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
      .flatMap(name => readTip(join(this.#folder, name)))
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
   * Sets aside what these updates will lose, while the target still has its files: they are fetched. What cannot be had, or is
   * too large, is said in the facts; it does not keep the push from going on, which policy has allowed.
   */
  async preserve(updates: readonly RefUpdate[], how: Preserving): Promise<void> {
    const after = new Map(how.target.refs)
    for (const { ref, new: id } of updates) id === null ? after.delete(ref) : after.set(ref, id)
    const tips = [...new Set(after.values())]
    const known = await describe(how.git, [...tips, ...updates.flatMap(each => each.old ?? [])])
    for (const { ref, old, new: id } of updates) {
      if (old === null || !known.has(old) || this.#staged.has(`${ref} ${old}`)) continue
      if (id !== null && (await isAncestor(how.git, old, id))) continue
      const made = tip(ref, old, id, id === null ? 'delete' : 'force')
      const saved = await this.#save(
        made,
        tips.filter(each => known.has(each)),
        how,
      )
      this.#staged.set(`${ref} ${old}`, {
        folder: how.folder,
        file: saved.file,
        tip: { ...made, by: how.by, ...saved.facts },
      })
    }
  }

  /** The target took these: what they lost is kept from now on. */
  async settled(taken: readonly RefUpdate[], mirror: Mirror): Promise<void> {
    let kept = false
    for (const { ref, old } of taken) {
      const staged = this.#staged.get(`${ref} ${old}`)
      if (staged === undefined) continue
      this.#staged.delete(`${ref} ${old}`)
      mark(this.#folder, this.whose)
      if (staged.file !== null) renameSync(staged.file, join(this.#folder, `${staged.tip.id}.bundle`))
      this.#write(staged.tip)
      kept = true
    }
    if (kept) await this.#keep(mirror)
  }

  /** A push is over: what it set aside and did not lose is forgotten. */
  dropped(folder: string): void {
    for (const [key, staged] of this.#staged) if (staged.folder === folder) this.#staged.delete(key)
  }

  /** Deletes what `goes` says; and what is more than is kept of one repository, oldest first. @returns how many. */
  async expire(goes: (tip: LostTip) => boolean, mirror: Mirror): Promise<number> {
    const gone = this.list().filter((each, i) => i >= this.#limits.lost || goes(each))
    for (const { id } of gone) {
      rmSync(join(this.#folder, `${id}.bundle`), { force: true })
      rmSync(join(this.#folder, `${id}.json`), { force: true })
    }
    if (gone.length > 0) await this.#keep(mirror)
    return gone.length
  }

  async #save(
    made: LostTip,
    tips: readonly string[],
    how: Preserving,
  ): Promise<{ file: string | null; facts: Pick<LostTip, 'commits' | 'bytes' | 'without'> }> {
    const { git, limits, target, signal } = how
    const input = `${[made.old, ...tips.map(id => `^${id}`)].join('\n')}\n`
    const lines = (await git.text(['rev-list', '--boundary', '--stdin'], { input, signal }))
      .split('\n')
      .filter(line => line !== '')
    const boundary = lines.filter(line => line.startsWith('-')).map(line => line.slice(1))
    const commits = lines.length - boundary.length
    if (commits === 0)
      return { file: null, facts: { commits, bytes: null, without: 'all of it is reached by other refs' } }
    // A full disk would end every session of this gateway, and who pushes can make any number of losses.
    if (!how.hasRoom())
      return { file: null, facts: { commits, bytes: null, without: 'the gateway had no room for its files' } }
    const file = join(how.folder, `${made.id}.bundle`)
    try {
      const walk = ['rev-list', '--objects', '--no-object-names', '--missing=print', '--stdin']
      const objects = (await git.text(walk, { input, signal, max_output: 256 << 20 })).split('\n')
      const missing = objects.filter(line => line.startsWith('?')).map(line => line.slice(1))
      if (missing.length > 0)
        await bring(git, await target.fetch(), missing, {
          limits,
          timeout_ms: limits.sync_ms,
          max_file: limits.lost_bytes,
          signal,
        })
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
    const file = join(this.#folder, `${made.id}.json`)
    writeFileSync(`${file}.new`, `${JSON.stringify(made)}\n`, { mode: 0o600 })
    renameSync(`${file}.new`, file)
  }
}

function tip(ref: string, old: string, id: string | null, how: LostTip['how']): LostTip {
  const made = { id: randomBytes(8).toString('hex'), ref, old, new: id, how, at_ms: Date.now() }
  return { ...made, by: null, commits: 0, bytes: null, without: null }
}

async function isAncestor(git: Git, from: string, to: string): Promise<boolean> {
  return (await git.try(['merge-base', '--is-ancestor', from, to])).status === 0
}

function readTip(file: string): LostTip[] {
  try {
    return [JSON.parse(readFileSync(file, 'utf8')) as LostTip]
  } catch {
    return []
  }
}
