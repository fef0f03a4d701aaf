import { logger } from '../log.ts'
import type { Catalog } from './catalog.ts'
import { type Recovered, recoverSpool } from './recovery.ts'
import { claimSpool, isOurs, otherSpools, ownerState, type SpoolFolder, unclaimedSpools } from './spool.ts'
import type { Store } from './store.ts'

const log = logger('recording')

export interface HeirOptions {
  readonly catalog: Catalog
  readonly store: Store
  readonly process_id: string
  readonly spool_root: string
  readonly dead_after_s: number
  /** This process is about to end: it takes nothing over any more. */
  readonly isStopping: () => boolean
}

/** What processes left in their spools that are dead: taken over one by one, and shipped. */
export class Heir {
  readonly #options: HeirOptions
  /** Taken over, perhaps without being told so. */
  readonly #claimed = new Set<string>()
  #unclaimed: readonly string[] = []

  constructor(options: HeirOptions) {
    this.#options = options
  }

  /** Why somebody must look: records that belong to no recording that the database knows lie there, and nobody takes them. */
  get problem(): string | null {
    const [first, ...more] = this.#unclaimed
    if (first === undefined) return null
    return `${first}${more.length === 0 ? '' : ` and ${more.length} more`} in the spool: records of recordings that the database does not know, as after a restore of an older backup; look at them, and move them away`
  }

  /** @returns what was recovered, and how many bytes lie in spools that could not be, or whose process may live. */
  async recover(): Promise<{ done: Recovered[]; left: number }> {
    const { spool_root, process_id } = this.#options
    const done: Recovered[] = []
    let left = 0
    for (const folder of await otherSpools(spool_root, process_id)) {
      const mine = this.#claimed.has(folder.process_id) && isOurs(folder) // not finished at the last try
      const state = await ownerState(folder.owner)
      if (state === 'alive' && !mine) continue
      try {
        const recovered =
          mine || state === 'dead' || (await this.#isDead(folder)) ? await this.#take(folder) : undefined
        if (recovered === undefined) left += folder.bytes
        else done.push(recovered)
      } catch (error) {
        left += folder.bytes
        log.warn({ err: error, spool: folder.process_id }, 'a spool could not be recovered yet; it is tried again')
      }
    }
    this.#unclaimed = await unclaimedSpools(spool_root)
    return { done, left }
  }

  #isDead({ process_id }: SpoolFolder): Promise<boolean> {
    return this.#options.catalog.isDead(process_id, this.#options.dead_after_s)
  }

  /** @returns undefined where it is not ours to recover. */
  async #take(folder: SpoolFolder): Promise<Recovered | undefined> {
    if (this.#options.isStopping()) return undefined
    this.#claimed.add(folder.process_id)
    if (!(await claimSpool(folder))) {
      this.#claimed.delete(folder.process_id)
      return undefined
    }
    const recovered = await recoverSpool(folder.path, this.#options, folder.process_id)
    log.info({ spool: folder.process_id, ...recovered }, 'a spool was recovered')
    this.#claimed.delete(folder.process_id)
    return recovered
  }
}
