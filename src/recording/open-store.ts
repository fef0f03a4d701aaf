import { join } from 'node:path'
import type { Config, StoreSettings } from '../config.ts'
import { SallyportError } from '../errors.ts'
import { FileStore } from './file-store.ts'
import { LayeredStore } from './layered-store.ts'
import type { KeepingStore } from './store.ts'

/**
 * Opens what `recording.store` and `recording.former_stores` name.
 * @throws SallyportError `bad_config` where locks are asked of a bucket that has none: nothing is recorded as if it were safe.
 */
export async function openStore(config: Pick<Config, 'data' | 'recording'>): Promise<KeepingStore> {
  const { store = { kind: 'files' as const }, former_stores = [] } = config.recording
  const current = await openOne(store, config.data)
  if (former_stores.length === 0) return current
  const former: KeepingStore[] = []
  for (const each of former_stores) former.push(await openOne(each, config.data))
  const twice = former.find(each => each.name === current.name)
  if (twice !== undefined)
    throw new SallyportError('bad_config', `recording.former_stores names ${twice.name}, which is recording.store too`)
  return new LayeredStore(current, former)
}

async function openOne(settings: StoreSettings, data: string): Promise<KeepingStore> {
  if (settings.kind === 'files') return new FileStore(settings.folder ?? join(data, 'recordings'))
  const { Bucket } = await import('../bucket.ts')
  const { S3Store } = await import('./s3-store.ts')
  const { kind: _, object_lock = false, object_lock_max_days, ...bucketSettings } = settings
  const bucket = await Bucket.open(bucketSettings)
  if (object_lock && (await lockless(bucket))) {
    throw new SallyportError(
      'bad_config',
      `the bucket of ${bucket.name} has no object lock, which recording.store asks for`,
      {
        remedy: 'make a bucket with object lock and versioning, or leave object_lock out',
      },
    )
  }
  return new S3Store(bucket, { locks: object_lock, max_lock_days: object_lock_max_days })
}

/** A bucket that cannot be reached now is no reason not to start: the spool takes what comes, as in any outage. */
async function lockless(bucket: { locks(): Promise<boolean> }): Promise<boolean> {
  try {
    return !(await bucket.locks())
  } catch (error) {
    if (error instanceof SallyportError && error.code === 'bucket_unavailable') return false
    throw error
  }
}
