import { createHash, randomBytes } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  lstatSync,
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
import { SallyportError } from '../../../errors.ts'
import { logger } from '../../../log.ts'
import type { MirrorLimits } from './limits.ts'
import { inherit, isAlive, isLeftOver, self } from './lock.ts'

const log = logger('gateway')

/** Which repository something on the disk belongs to. */
export interface Whose {
  readonly resource: string
  readonly repository: string
}

/**
 * Where things lie in the gateway's folder, open to its user alone:
 * `mirrors/KEY/N` (N: made anew so often) · `quarantine/` (one folder a push) · `lost/KEY/` (what force-pushes lost) ·
 * `harmless` (ids).
 */
export class Store {
  readonly root: string
  readonly #limits: MirrorLimits

  constructor(root: string, limits: MirrorLimits) {
    this.root = root
    this.#limits = limits
    for (const name of ['.', 'mirrors', 'quarantine', 'lost']) ours(join(root, name))
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

  /**
   * What processes left that are gone: at every start. `adopt` sees each folder of theirs before it goes. What cannot be
   * removed now is tried again, and keeps nobody from starting.
   */
  sweep(adopt: (folder: string) => void = () => {}): void {
    for (const name of readdirSync(join(this.root, 'quarantine'))) {
      const folder = join(this.root, 'quarantine', name)
      const [, pid, life] = /^(\d+)-([0-9a-f]+)-[0-9a-f]{16}$/.exec(name) ?? []
      if (pid !== undefined && isAlive(`${pid} ${life}`)) continue
      attempt(folder, () => {
        adopt(folder)
        rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
      })
    }
    for (const name of readdirSync(join(this.root, 'mirrors')))
      attempt(join(this.root, 'mirrors', name), folder => {
        for (const left of readdirSync(folder).filter(each => isLeftOver(folder, each)))
          rmSync(join(folder, left), { force: true })
        const [lock, fetch] = [join(folder, 'lock'), join(folder, 'fetch')]
        if (inherit(fetch)) rmSync(fetch, { force: true })
        if (!inherit(lock)) return
        finish(folder)
        rmSync(lock, { force: true })
      })
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
  replace(join(folder, 'of.json'), `${JSON.stringify(whose)}\n`)
}

/** As it was or as it becomes, and nothing between, whoever dies. */
export function replace(file: string, text: string): void {
  const draft = `${file}.${process.pid}.new`
  writeFileSync(draft, text, { mode: 0o600 })
  renameSync(draft, file)
}

/** Removes what a writer of a mirror left that died in the middle: by whoever has its lock. */
export function finish(folder: string): void {
  for (const name of readdirSync(folder).filter(each => each.endsWith('.new'))) rmSync(join(folder, name))
  for (const number of generations(folder)) {
    const [place, packs] = [join(folder, String(number)), join(folder, String(number), 'objects/pack')]
    for (const name of readdirSync(place).filter(each => /\.(?:new|lock)$/.test(each))) rmSync(join(place, name))
    const names = new Set(existsSync(packs) ? readdirSync(packs) : [])
    for (const name of names) {
      const [, pack, kind] = /^(pack-[0-9a-f]+)\.(\w+)$/.exec(name) ?? []
      const whole = pack !== undefined && names.has(`${pack}.pack`) && names.has(`${pack}.idx`)
      if (whole ? kind === 'keep' : !/^multi-pack-index$/.test(name)) rmSync(join(packs, name), { force: true })
    }
  }
}

/** INVARIANT: a folder of this user, which nobody else enters, and no way to another place. */
function ours(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const { mode, uid } = lstatSync(folder)
  if ((mode & 0o170000) !== 0o040000 || (process.getuid !== undefined && uid !== process.getuid()))
    throw new SallyportError('bad_config', `${folder} is no folder of the user that the gateway runs as`, {
      remedy: 'move it away, or give it to that user (chown); what lies there is made anew',
    })
  if ((mode & 0o077) !== 0) chmodSync(folder, 0o700)
}

/** One that cannot be done is none of the others' business. */
function attempt(folder: string, run: (folder: string) => void): void {
  try {
    run(folder)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
      log.warn({ err: error as Error, folder }, 'what a process left of a push cannot be removed yet')
  }
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
