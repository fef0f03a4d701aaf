import { chmodSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { readdir, rename } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { ownerPattern, ownName, stateOfOwner } from '../../../db/owner-name.ts'
import type { DerivedKey } from '../../../keys.ts'
import { logger } from '../../../log.ts'
import { readSpool, type SpoolDisk, type SpooledRow, SpoolFile } from './spool-file.ts'

const log = logger('policy')

export interface SpoolOptions {
  /** A folder of the role: its processes on this host take over from each other. */
  readonly folder: string
  readonly key: DerivedKey
  /** prc_…: names the files. */
  readonly process_id: string
  /** Whether a process that cannot be seen from here is gone; asked of the database. */
  readonly isGone: (process_id: string) => Promise<boolean>
  readonly disk?: SpoolDisk
}

/** What another process left behind, now ours. */
export interface Claimed {
  readonly path: string
  readonly rows: readonly SpooledRow[]
  /** Why the rest of it cannot be read. */
  readonly broken: string | null
}

const named = new RegExp(`^(prc_[0-9a-z]{26})\\.(${ownerPattern})\\.(\\d{6,})\\.spool$`)

/** The spool of one process: its own files, and what it takes over from processes that died. */
export class Spool {
  readonly #options: SpoolOptions
  readonly #own: string
  readonly #mine = new Set<string>()
  #made = 0
  #broken: readonly string[] = []
  #unreadable: readonly string[] = []

  constructor(options: SpoolOptions) {
    this.#options = options
    this.#own = `${options.process_id}.${ownName()}`
    mkdirSync(options.folder, { recursive: true, mode: 0o700 })
  }

  /** Names of files that could not be read to their end: they stay for somebody to look at. */
  get broken(): readonly string[] {
    return [...this.#broken, ...this.#unreadable]
  }

  /** @throws what the system says. */
  create(): SpoolFile {
    return new SpoolFile(this.#next(), this.#options.key, this.#options.disk)
  }

  /**
   * Takes over the next file of a process that is gone. Of two that try, one gets it.
   * INVARIANT: a file that cannot be read now keeps no other waiting; it is tried again.
   * @returns undefined when there is none.
   */
  async claim(): Promise<Claimed | undefined> {
    const { folder, key, process_id, isGone } = this.#options
    const names = (await readdir(folder)).sort()
    this.#broken = names.filter(name => name.endsWith('.broken'))
    this.#unreadable = []
    let fault: unknown
    for (const name of names) {
      const [, process, owner] = named.exec(name) ?? []
      if (process === undefined || this.#mine.has(name)) continue
      const own = process === process_id // taken over before, and not read
      const state = own ? 'dead' : stateOfOwner(owner!)
      if (state === 'alive' || (state === 'elsewhere' && !(await isGone(process)))) continue
      const path = own ? join(folder, name) : this.#next()
      try {
        if (!own) await rename(join(folder, name), path)
        const claimed = { path, ...(await readSpool(path, key)) }
        this.#mine.add(basename(path))
        return claimed
      } catch (error) {
        this.#mine.delete(basename(path))
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue
        fault ??= error
        this.#unreadable = [...this.#unreadable, basename(path)]
      }
    }
    if (fault !== undefined) throw fault
    return undefined
  }

  /**
   * INVARIANT: called when all its rows are in the database: until then whoever comes next finds it. Of a broken file the
   * bytes stay, for somebody to look at.
   */
  drop({ path, broken }: Claimed): void {
    if (broken === null) {
      rmSync(path, { force: true })
      return
    }
    const aside = path.replace(/\.spool$/, '.broken')
    renameSync(path, aside)
    chmodSync(aside, 0o400)
    this.#broken = [...this.#broken, basename(aside)]
    log.error(
      { file: aside, why: broken },
      'decisions that waited on the disk cannot be read to the end; what could be is written',
    )
  }

  #next(): string {
    const name = `${this.#own}.${String(++this.#made).padStart(6, '0')}.spool`
    this.#mine.add(name)
    return join(this.#options.folder, name)
  }
}
