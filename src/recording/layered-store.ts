import { SallyportError } from '../errors.ts'
import { type KeepingStore, StoreLocked } from './store.ts'

/**
 * The store that is written to, and those that a move has not emptied yet: read where the first has nothing, and cleared
 * with it.
 */
export class LayeredStore implements KeepingStore {
  readonly name: string
  readonly locks: boolean
  readonly current: KeepingStore
  readonly former: readonly KeepingStore[]

  constructor(current: KeepingStore, former: readonly KeepingStore[]) {
    this.current = current
    this.former = former
    this.name = current.name
    this.locks = current.locks || former.some(store => store.locks)
  }

  put(name: string, bytes: Buffer): Promise<void> {
    return this.current.put(name, bytes)
  }

  async get(name: string, maxBytes: number): Promise<Buffer> {
    try {
      return await this.current.get(name, maxBytes)
    } catch (error) {
      for (const store of this.former) {
        if (!isAbsent(error)) break // away is not gone: what lies in the first must not be asked of another
        try {
          return await store.get(name, maxBytes)
        } catch (other) {
          if (!isAbsent(other)) throw other
        }
      }
      throw error
    }
  }

  async hash(name: string): Promise<string | null> {
    for (const store of this.#all) {
      const hash = await store.hash(name)
      if (hash !== null) return hash
    }
    return null
  }

  async list(recordingId: string): Promise<string[]> {
    const lists = await Promise.all(this.#all.map(store => store.list(recordingId)))
    return [...new Set(lists.flat())]
  }

  /** Each is cleared, whatever another refuses. */
  async removeRecording(recordingId: string): Promise<void> {
    const faults: unknown[] = []
    for (const store of this.#all) await store.removeRecording(recordingId).catch(error => faults.push(error))
    const fault = faults.find(error => !(error instanceof StoreLocked)) ?? latest(faults as StoreLocked[])
    if (fault !== undefined) throw fault
  }

  async keep(recordingId: string, wanted: { until_ms: number | null; hold: boolean }): Promise<number | null> {
    let until: number | null = null
    for (const store of this.#all) {
      const kept = await store.keep(recordingId, wanted)
      if (kept !== null) until = Math.max(until ?? 0, kept)
    }
    return until
  }

  get #all(): readonly KeepingStore[] {
    return [this.current, ...this.former]
  }
}

const latest = (faults: readonly StoreLocked[]): StoreLocked | undefined =>
  [...faults].sort((a, b) => (b.until_ms ?? 0) - (a.until_ms ?? 0))[0]

function isAbsent(error: unknown): boolean {
  return (
    (error as NodeJS.ErrnoException).code === 'ENOENT' ||
    (error instanceof SallyportError && error.code === 'not_found')
  )
}
