import { createHash } from 'node:crypto'
import type { Bucket, ListedVersion } from '../bucket.ts'
import { SallyportError } from '../errors.ts'
import { checkName, checkRecording, type KeepingStore, StoreLocked } from './store.ts'

const atOnce = 8
const listedAtOnce = 5_000

/**
 * Segments in a bucket. A name carries the beginning of the hash of its bytes, so a version that somebody laid over ours, or
 * a delete marker, hides nothing: what fits the name is found among the versions.
 */
export class S3Store implements KeepingStore {
  readonly name: string
  readonly locks: boolean
  readonly #bucket: Bucket
  readonly #maxLockMs: number

  constructor(bucket: Bucket, options: { readonly locks: boolean; readonly max_lock_days?: number | undefined }) {
    this.#bucket = bucket
    this.name = bucket.name
    this.locks = options.locks
    this.#maxLockMs = (options.max_lock_days ?? 3660) * 86_400_000
  }

  async put(name: string, bytes: Buffer): Promise<void> {
    const hash = checkName(name)
    try {
      await this.#bucket.put(name, bytes, { onlyNew: true })
    } catch (error) {
      // Other bytes lie over ours: a version of our own is put beside them, and `get` finds it by its hash.
      if (!(error instanceof SallyportError) || error.code !== 'conflict' || !fits(bytes, hash)) throw error
      if ((await this.#find(name, bytes.length)) === undefined) await this.#bucket.put(name, bytes)
    }
  }

  async get(name: string, maxBytes: number): Promise<Buffer> {
    const hash = checkName(name)
    let fault: unknown
    try {
      const bytes = await this.#bucket.get(name, maxBytes)
      if (fits(bytes, hash)) return bytes
    } catch (error) {
      if (!(error instanceof RangeError) && !isAbsent(error)) throw error
      fault = error
    }
    const found = await this.#find(name, maxBytes)
    if (found !== undefined) return found
    throw fault ?? new SallyportError('not_found', `${this.name}${name} is not what was put there, in no version`)
  }

  async hash(name: string): Promise<string | null> {
    const hash = checkName(name)
    const told = await this.#bucket.sha256(name)
    if (told?.startsWith(hash) === true) return told
    const bytes = await this.#find(name, Number.MAX_SAFE_INTEGER)
    return bytes === undefined ? null : createHash('sha256').update(bytes).digest('hex')
  }

  async list(recordingId: string): Promise<string[]> {
    checkRecording(recordingId)
    const names = new Set<string>()
    for await (const { key, marker } of this.#bucket.versions(`${recordingId}/`)) if (!marker) names.add(key)
    return [...names]
  }

  async removeRecording(recordingId: string): Promise<void> {
    checkRecording(recordingId)
    await this.#bucket.abortUploads(`${recordingId}/`)
    const locked: { key: string; version: string }[] = []
    const failed: string[] = []
    for await (const some of this.#someVersions(recordingId)) {
      for (const kept of await this.#bucket.remove(some)) {
        if (kept.why === 'AccessDenied') locked.push(kept)
        else failed.push(kept.why)
      }
    }
    if (failed.length > 0)
      throw new SallyportError(
        'bucket_unavailable',
        `${this.name} did not remove ${failed.length} versions: ${failed[0]}`,
      )
    if (locked.length > 0) throw await this.#lockedBy(recordingId, locked)
  }

  async keep(recordingId: string, wanted: { until_ms: number | null; hold: boolean }): Promise<number | null> {
    checkRecording(recordingId)
    if (!this.locks) return null
    if (wanted.until_ms !== null && wanted.until_ms - Date.now() > this.#maxLockMs) {
      throw new SallyportError(
        'bad_config',
        `policy keeps ${recordingId} until ${new Date(wanted.until_ms).toISOString()}, longer than recording.store.object_lock_max_days allows to lock`,
        { remedy: 'nobody can undo such a lock: correct the policy, or raise the setting' },
      )
    }
    let until = wanted.until_ms
    for await (const some of this.#someVersions(recordingId)) {
      await eachOf(
        some.filter(version => !version.marker),
        async ({ key, version }) => {
          if (wanted.until_ms !== null)
            until = Math.max(until ?? 0, await this.#bucket.retain(key, version, wanted.until_ms))
          await this.#bucket.hold(key, version, wanted.hold)
        },
      )
    }
    return until
  }

  /** The version whose bytes are those of the name, newest first. */
  async #find(name: string, maxBytes: number): Promise<Buffer | undefined> {
    const hash = checkName(name)
    for await (const { key, version, marker, bytes } of this.#bucket.versions(name)) {
      if (key !== name || marker || bytes > maxBytes) continue
      const found = await this.#bucket.get(name, maxBytes, version)
      if (fits(found, hash)) return found
    }
    return undefined
  }

  async *#someVersions(recordingId: string): AsyncGenerator<ListedVersion[]> {
    let some: ListedVersion[] = []
    for await (const version of this.#bucket.versions(`${recordingId}/`)) {
      some.push(version)
      if (some.length < listedAtOnce) continue
      yield some
      some = []
    }
    if (some.length > 0) yield some
  }

  /** "Access denied" is a lock, a hold, or a credential that may not delete: only the first two end by themselves. */
  async #lockedBy(recordingId: string, refused: readonly { key: string; version: string }[]): Promise<SallyportError> {
    let until: number | null = null
    let held = false
    await eachOf(refused, async ({ key, version }) => {
      const lock = await this.#bucket.lockOf(key, version)
      if (lock.until_ms !== null && lock.until_ms > Date.now() - 60_000) until = Math.max(until ?? 0, lock.until_ms)
      held ||= lock.hold
    })
    if (until !== null || held) return new StoreLocked(this.name, recordingId, until)
    return new SallyportError('bucket_unavailable', `${this.name} does not let us delete ${recordingId}`, {
      remedy: 'give the credentials of control s3:DeleteObjectVersion on this bucket',
    })
  }
}

const fits = (bytes: Buffer, hash: string): boolean => createHash('sha256').update(bytes).digest('hex').startsWith(hash)

const isAbsent = (error: unknown): boolean => error instanceof SallyportError && error.code === 'not_found'

async function eachOf<X>(all: readonly X[], run: (one: X) => Promise<void>): Promise<void> {
  const rest = all.values()
  await Promise.all(
    Array.from({ length: Math.min(atOnce, all.length) }, async () => {
      for (const one of rest) await run(one)
    }),
  )
}
