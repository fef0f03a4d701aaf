import { SallyportError } from '../errors.ts'
import { isId } from '../ids.ts'

/** Where segments lie. Names are relative paths made by `segmentName`; the bytes are sealed before they get here. */
export interface Store {
  /** After it resolves the bytes survive a crash of the machine. Writing the same name with the same bytes again is fine. */
  put(name: string, bytes: Buffer): Promise<void>
  /** @throws when there is none, or when it is longer than `maxBytes`. */
  get(name: string, maxBytes: number): Promise<Buffer>
  /**
   * Removes everything of a recording, in every version, also objects that no row mentions. Nothing there is no error.
   * @throws StoreLocked where the store itself keeps some of it for longer; the rest is gone.
   */
  removeRecording(recordingId: string): Promise<void>
}

/** What retention and moves ask of a store besides. */
export interface KeepingStore extends Store {
  /** How people call it: `files:/…`, `s3://…`. */
  readonly name: string
  /** Whether it can refuse by itself to remove something before its time. */
  readonly locks: boolean
  /** The SHA-256 of what lies there in hex, or null where there is nothing. */
  hash(name: string): Promise<string | null>
  /** Names of all that is there of a recording, whether rows mention it or not. */
  list(recordingId: string): Promise<string[]>
  /**
   * Has the store itself keep what is there of a recording: until then, and while it is held.
   * @returns until when it keeps it now, which may be later; null where it cannot.
   */
  keep(
    recordingId: string,
    wanted: { readonly until_ms: number | null; readonly hold: boolean },
  ): Promise<number | null>
}

/** The store refuses to remove something before its time, as it was told. */
export class StoreLocked extends SallyportError {
  /** When the last lock ends; null where it is a hold that keeps it. */
  readonly until_ms: number | null

  constructor(store: string, recordingId: string, until_ms: number | null) {
    const reason = until_ms === null ? 'a legal hold in the store' : `a lock until ${new Date(until_ms).toISOString()}`
    super('conflict', `${store} keeps the data of ${recordingId}: ${reason}`, {
      remedy: 'nobody can lift a lock in compliance mode; the deletion is finished when it has passed',
      facts: { until_ms },
    })
    this.until_ms = until_ms
  }
}

/** Clears what came after a recording was deleted; where a lock keeps the rest of it, the deletion that began goes on with that. */
export async function clearLate(store: Store, recordingId: string): Promise<void> {
  await store.removeRecording(recordingId).catch(error => {
    if (!(error instanceof StoreLocked)) throw error
  })
}

/** The hash is in the name, so that a second try with other bytes never overwrites the first. */
export function segmentName(recordingId: string, part: number, n: number, hash: string): string {
  return `${recordingId}/${part}-${String(n).padStart(6, '0')}-${hash.slice(0, 32)}.seg`
}

/** A name from the database is not trusted to stay inside the store. @returns the beginning of the hash that it carries. */
export function checkName(name: string): string {
  const [recording, file, ...rest] = name.split('/')
  const hash = /^\d{1,9}-\d{6,9}-([0-9a-f]{32})\.seg$/.exec(file ?? '')?.[1]
  if (rest.length > 0 || !isId('rec', recording ?? '') || hash === undefined)
    throw new SallyportError('internal', `${JSON.stringify(name)} is no name of a segment`)
  return hash
}

export function checkRecording(id: string): void {
  if (!isId('rec', id)) throw new SallyportError('internal', `${JSON.stringify(id)} is no recording`)
}
