import { and, asc, eq, gt, sql } from 'drizzle-orm'
import type { AuditWriter } from '../audit/events.ts'
import type { Database } from '../db/database.ts'
import { SallyportError } from '../errors.ts'
import { logger } from '../log.ts'
import { hashOf } from './format/segment.ts'
import { LayeredStore } from './layered-store.ts'
import { recordingSegments, recordings } from './schema.ts'
import { type KeepingStore, StoreLocked } from './store.ts'

const log = logger('recording')
const page = 200
const maxSegment = 64 * 1024 * 1024

export interface MoveOptions {
  readonly database: Database
  readonly audit: AuditWriter
  readonly store: KeepingStore
  /** Who runs it, for the event: user and host. */
  readonly by: string
  readonly onProgress?: (done: { recordings: number; segments: number; bytes: number }) => void
}

export interface Moved {
  readonly recordings: number
  readonly segments: number
  readonly bytes: number
  /** Recordings of which something could not be moved; they stay where they are, and the next run tries again. */
  readonly failed: readonly string[]
  /** Recordings of which something is still in a former store: failed ones, and those whose lock has not passed. */
  readonly left: number
}

/**
 * Moves recordings from the former stores into the present one: each segment is read, held against the hash that was noted,
 * written, and only then removed from where it was. It can be killed at any point and run again, and sessions run meanwhile:
 * what they ship goes to the present store already, or to a former one from a process that still has the old setting.
 *
 * INVARIANT: a segment is written under its recording's row, so that a deletion comes before it or clears it.
 */
export async function moveRecordings(options: MoveOptions): Promise<Moved> {
  const { database, audit, store, by, onProgress } = options
  if (!(store instanceof LayeredStore))
    throw new SallyportError('bad_config', 'recording.former_stores names no store to move from', {
      remedy:
        'put the new place into recording.store, the old one into recording.former_stores, and restart every role first',
    })
  const total = { recordings: 0, segments: 0, bytes: 0 }
  const failed: string[] = []
  let left = 0
  for (let after = ''; ; ) {
    const rows = await database.db
      .select({ id: recordings.id })
      .from(recordings)
      .where(gt(recordings.id, after))
      .orderBy(asc(recordings.id))
      .limit(page)
    for (const { id } of rows) {
      try {
        const moved = await moveOne(options, store, id)
        if (moved.segments > 0 || moved.cleared) total.recordings++
        total.segments += moved.segments
        total.bytes += moved.bytes
        if (moved.left) left++
        onProgress?.(total)
      } catch (error) {
        failed.push(id)
        left++
        log.error({ err: error, recording: id }, 'a recording was not moved; it stays where it is')
      }
    }
    if (rows.length < page) break
    after = rows.at(-1)!.id
  }
  const moved = { ...total, failed, left }
  const from = store.former.map(each => each.name)
  await database.db.transaction(tx =>
    audit.record(tx, {
      type: 'recordings.moved',
      body: { to: store.current.name, from, by, ...total, failed: failed.slice(0, 100), left },
    }),
  )
  return moved
}

async function moveOne(
  { database }: MoveOptions,
  store: LayeredStore,
  id: string,
): Promise<{ segments: number; bytes: number; cleared: boolean; left: boolean }> {
  const lying = new Map<string, KeepingStore>()
  for (const former of store.former) for (const name of await former.list(id)) lying.set(name, former)
  let [segments, bytes] = [0, 0]
  if (lying.size === 0) return { segments, bytes, cleared: false, left: false }
  const noted = await database.db
    .select({ key: recordingSegments.key, hash: recordingSegments.hash, bytes: recordingSegments.bytes })
    .from(recordingSegments)
    .where(eq(recordingSegments.recording_id, id))
  for (const segment of noted) {
    const former = lying.get(segment.key)
    if (former === undefined || (await store.current.hash(segment.key)) === segment.hash) continue
    const stored = await former.get(segment.key, Math.max(segment.bytes, Math.min(maxSegment, segment.bytes + 1)))
    if (hashOf(stored) !== segment.hash)
      throw new Error(`${former.name} ${segment.key} is not what was noted: its SHA-256 is ${hashOf(stored)}`)
    if (!(await putUnderRow(database, store.current, id, segment.key, stored))) break
    segments++
    bytes += stored.length
  }
  return { segments, bytes, ...(await clear(database, store, id, new Set(noted.map(each => each.key)))) }
}

/** @returns false where the recording was deleted: then nothing of it may come back. */
function putUnderRow(
  database: Database,
  into: KeepingStore,
  id: string,
  name: string,
  bytes: Buffer,
): Promise<boolean> {
  return database.db.transaction(async tx => {
    const [row] = await tx
      .select({ id: recordings.id })
      .from(recordings)
      .where(and(eq(recordings.id, id), sql`${recordings.state} <> 'deleted'`))
      .for('share')
    if (row === undefined) return false
    await into.put(name, bytes)
    return true
  })
}

/** Clears the former stores of a recording whose noted segments are all in the present one, and of nothing newer than that. */
async function clear(
  database: Database,
  store: LayeredStore,
  id: string,
  moved: ReadonlySet<string>,
): Promise<{ cleared: boolean; left: boolean }> {
  for (const name of moved) {
    if ((await store.current.hash(name)) === null) throw new Error(`${name} is in none of the stores`)
  }
  // Told anew how long to keep it: the lock is a property of where it lies.
  await database.db.update(recordings).set({ kept_seal: null, kept_hold: false }).where(eq(recordings.id, id))
  const isNew = await database.db.transaction(async tx => {
    const [row] = await tx
      .select({ old: sql<boolean>`coalesce(sealed_at < clock_timestamp() - interval '1 hour', false)` })
      .from(recordings)
      .where(eq(recordings.id, id))
      .for('update')
    const now = await tx
      .select({ key: recordingSegments.key })
      .from(recordingSegments)
      .where(eq(recordingSegments.recording_id, id))
    if (row === undefined || now.some(each => !moved.has(each.key))) return true
    // A segment that was put and is not noted yet is still being shipped there: it must not be cleared under its shipper.
    for (const former of row.old ? [] : store.former) {
      if ((await former.list(id)).some(name => !moved.has(name) && name.endsWith('.seg'))) return true
    }
    for (const former of store.former) {
      try {
        await former.removeRecording(id)
      } catch (error) {
        if (!(error instanceof StoreLocked)) throw error
        return true
      }
    }
    return false
  })
  return { cleared: !isNew, left: isNew }
}
