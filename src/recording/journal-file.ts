import { JournalLost } from './errors.ts'

/** Where a frame lies: number of the file, offset in it. */
export interface Position {
  readonly file: number
  readonly offset: number
}

/** What the writer must know of a part: its id, and the frame that says what it is, repeated in each file it is in. */
export interface WrittenPart {
  readonly part_id: string
  readonly intro: Buffer
}

export interface JournalFile {
  readonly number: number
  readonly path: string
  size: number
  /** The last seq of each part that has frames here: the file may go when all of these were shipped. */
  readonly last: Map<string, number>
}

/** In words that a person reads whose session was cut. */
export function reasonOf(error: unknown): string {
  if (error instanceof JournalLost) return String(error.facts['reason'])
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'ENOSPC' || code === 'EDQUOT') return 'the disk of the spool is full'
  if (code === 'EIO') return 'the disk of the spool has an I/O error'
  return `the spool cannot be written (${code ?? message})`
}
