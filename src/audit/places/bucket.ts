import { linesText, parseLines } from './git.ts'
import type { Place } from './place.ts'

/** What we need of an S3-compatible bucket. */
export interface Objects {
  put(key: string, bytes: Buffer): Promise<void>
  /** @returns null where there is none. */
  get(key: string, maxBytes: number): Promise<Buffer | null>
}

const maxNote = 64 * 1024
const maxStatements = 4 << 20
const digits = 16

/**
 * A bucket: `checkpoint` and `statements.jsonl` are the newest; `checkpoints/<size in 16 digits>` stays of every one, so that a bucket
 * with object lock and versions keeps what was said.
 */
export function bucketPlace(options: { name: string; every_ms: number; bucket: Objects }): Place {
  const { name, every_ms, bucket } = options
  return {
    name,
    kind: 'bucket',
    every_ms,
    async latest() {
      const note = await bucket.get('checkpoint', maxNote)
      if (note === null) return null
      const said = await bucket.get('statements.jsonl', maxStatements)
      return { place: name, note: note.toString('utf8'), statements: parseLines(said?.toString('utf8') ?? '') }
    },
    async publish({ size, note, statements }) {
      const bytes = Buffer.from(note, 'utf8')
      await bucket.put(`checkpoints/${String(size).padStart(digits, '0')}`, bytes)
      if (statements.length > 0) await bucket.put('statements.jsonl', Buffer.from(linesText(statements), 'utf8'))
      await bucket.put('checkpoint', bytes) // last: who reads it finds the rest
      return undefined
    },
  }
}
