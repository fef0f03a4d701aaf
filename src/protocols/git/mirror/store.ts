import { createHash, randomBytes } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { MirrorLimits } from './limits.ts'
import { isAlive, self } from './lock.ts'

/** Which repository something on the disk belongs to. */
export interface Whose {
  readonly resource: string
  readonly repository: string
}

/**
 * Where things lie in the gateway's folder, open to its user alone:
 * `mirrors/KEY/N` (N: made anew so often) · `quarantine/` (one folder a push) · `lost/KEY/` (what force-pushes lost).
 */
export class Store {
  readonly root: string
  readonly #limits: MirrorLimits

  constructor(root: string, limits: MirrorLimits) {
    this.root = root
    this.#limits = limits
    for (const name of ['mirrors', 'quarantine', 'lost']) mkdirSync(join(root, name), { recursive: true, mode: 0o700 })
  }

  /** The folder of a repository's mirrors; it is there. */
  mirror(whose: Whose): string {
    const folder = join(this.root, 'mirrors', keyOf(whose))
    mark(folder, whose)
    return folder
  }

  /** The folder of what was lost in a repository. It is there only where something was. */
  lost(whose: Whose): string {
    return join(this.root, 'lost', keyOf(whose))
  }

  /** The repositories in which something was lost. */
  withLosses(): Whose[] {
    const folder = join(this.root, 'lost')
    return readdirSync(folder).flatMap(name => {
      const whose = whoseIs(join(folder, name))
      return whose !== undefined && keyOf(whose) === name ? [whose] : []
    })
  }

  /** A folder for one push, or for what a fetch brings until it is whole. Its name says who it belongs to. */
  aside(): string {
    const folder = join(this.root, 'quarantine', `${self.replace(' ', '-')}-${randomBytes(8).toString('hex')}`)
    mkdirSync(join(folder, 'objects', 'pack'), { recursive: true, mode: 0o700 })
    mkdirSync(join(folder, 'objects', 'info'), { mode: 0o700 })
    return folder
  }

  /** Whether the disk has room for so many bytes more. */
  hasRoom(bytes = 0): boolean {
    const { bavail, bsize } = statfsSync(this.root)
    return bavail * bsize - bytes >= this.#limits.free_bytes
  }

  /** What processes left that are gone: at every start. */
  sweep(): void {
    const folder = join(this.root, 'quarantine')
    for (const name of readdirSync(folder)) {
      const [, pid, start] = /^(\d+)-(\d+|-)-[0-9a-f]{16}$/.exec(name) ?? []
      if (pid === undefined || !isAlive(`${pid} ${start}`)) rmSync(join(folder, name), { recursive: true, force: true })
    }
  }

  /**
   * Lets mirrors go that nobody used for long, then those used least lately until the rest keeps within bounds. What is in use
   * stays: whoever reads it has touched it less than `busy_ms` ago.
   */
  evict(now = Date.now()): number {
    const folder = join(this.root, 'mirrors')
    const all = readdirSync(folder)
      .filter(name => /^[0-9a-f]{40}$/.test(name))
      .map(name => ({ path: join(folder, name), used: usedAt(join(folder, name)), bytes: 0 }))
      .sort((a, b) => b.used - a.used)
    const busy_ms = this.#limits.push_ms
    let [bytes, kept, gone] = [0, 0, 0]
    for (const each of all) {
      try {
        this.#dropOld(each.path, now - busy_ms)
        each.bytes = bytesOf(each.path)
        const idle = now - each.used
        const over = bytes + each.bytes > this.#limits.total_bytes || kept + 1 > this.#limits.mirrors
        if (idle > this.#limits.idle_ms || (over && idle > busy_ms)) {
          const away = join(this.root, 'quarantine', `gone-${randomBytes(8).toString('hex')}`)
          renameSync(each.path, away)
          rmSync(away, { recursive: true, force: true })
          gone++
        } else {
          bytes += each.bytes
          kept++
        }
      } catch (error) {
        // another worker was first
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      }
    }
    return gone
  }

  /** Mirrors in whose place a new one was made, once nobody reads them any more. */
  #dropOld(folder: string, before: number): void {
    for (const name of generations(folder).slice(0, -1)) {
      const old = join(folder, String(name))
      if ((statSync(old, { throwIfNoEntry: false })?.mtimeMs ?? before) < before)
        rmSync(old, { recursive: true, force: true })
    }
  }
}

/** Makes a folder that says whose it is. */
export function mark(folder: string, whose: Whose): void {
  if (existsSync(join(folder, 'of.json'))) return
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  writeFileSync(join(folder, 'of.json'), `${JSON.stringify(whose)}\n`, { mode: 0o600 })
}

function whoseIs(folder: string): Whose | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, 'of.json'), 'utf8')) as Whose
  } catch {
    return undefined
  }
}

export function keyOf({ resource, repository }: Whose): string {
  return createHash('sha256').update(`${resource}\0${repository}`).digest('hex').slice(0, 40)
}

/** Numbers of the mirrors of one repository, the one in use last. */
export function generations(folder: string): number[] {
  return readdirSync(folder)
    .filter(name => /^[1-9]\d{0,8}$/.test(name))
    .map(Number)
    .sort((a, b) => a - b)
}

function usedAt(folder: string): number {
  return (
    statSync(join(folder, 'used'), { throwIfNoEntry: false })?.mtimeMs ??
    statSync(folder, { throwIfNoEntry: false })?.mtimeMs ??
    0
  )
}

/** Of all files below, as far as they can be seen. */
export function bytesOf(folder: string): number {
  let sum = 0
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (entry.isFile())
      sum += statSync(join(entry.parentPath ?? entry.path, entry.name), { throwIfNoEntry: false })?.size ?? 0
  }
  return sum
}
