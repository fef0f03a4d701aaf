import { type Frame, frameKind, openRecord } from './format/frames.ts'
import { scanJournal } from './format/journal-scan.ts'
import type { Position } from './journal-file.ts'
import type { JournalWriter } from './journal-writer.ts'
import type { Chunk, PartQueue } from './part-queue.ts'

export interface ReadBack {
  readonly writer: JournalWriter
  /** Those of which memory does not hold all, by id. */
  readonly parts: ReadonlyMap<string, PartQueue>
  readonly give: (part: PartQueue, chunk: Chunk) => void
  /** Waits until memory takes more. @returns false when nobody wants it any more. */
  readonly room: () => Promise<boolean>
}

/**
 * Reads the journal from where the first of the parts lags, up to where it ends now; what comes after that goes to memory.
 * @returns whether it came to that end.
 */
export async function readBack(options: ReadBack): Promise<boolean> {
  const { writer, parts } = options
  let from = [...parts.values()].map(part => part.lagging!).reduce(earlier)
  for (;;) {
    const to = writer.position
    if (from.file === to.file && from.offset >= to.offset) return true // nothing was awaited since
    if (!(await readRange(options, from, to))) return false
    from = to
  }
}

async function readRange({ writer, parts, give, room }: ReadBack, from: Position, to: Position): Promise<boolean> {
  for (const file of writer.filesFrom(from.file)) {
    const range = {
      from: file.number === from.file ? from.offset : 0,
      to: file.number === to.file ? to.offset : file.size,
    }
    for await (const scanned of scanJournal(file.path, range)) {
      if ('cut' in scanned) throw new Error(`${file.path} at ${scanned.cut.offset}: ${scanned.cut.reason}`)
      const part = parts.get(scanned.frame.part_id.toString('hex'))
      const at = { file: file.number, offset: scanned.offset }
      if (part !== undefined && isNext(part, scanned.frame)) give(part, chunkOf(part, scanned.frame, at))
      if (!(await room())) return false
    }
    if (file.number === to.file) break
  }
  return true
}

const isNext = (part: PartQueue, frame: Frame) => frame.kind === frameKind.record && frame.first_seq === part.queued + 1

function chunkOf(part: PartQueue, frame: Frame, at: Position): Chunk {
  const last_seq = frame.first_seq + frame.count - 1
  return { first_seq: frame.first_seq, last_seq, events: openRecord(part.facts.key, frame), at }
}

const earlier = (a: Position, b: Position): Position =>
  a.file < b.file || (a.file === b.file && a.offset <= b.offset) ? a : b
