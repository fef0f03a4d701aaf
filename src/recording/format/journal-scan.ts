import type { FileHandle } from 'node:fs/promises'
import { NoRegularFile, openRegular } from '../../regular-file.ts'
import { type Frame, journalMagic, parseFrame } from './frames.ts'

export type Scanned =
  | { readonly frame: Frame; readonly offset: number }
  /** The file has nothing to be believed from here on. */
  | { readonly cut: Cut }

export interface Cut {
  readonly offset: number
  readonly reason: string
  /** The last write did not get there as a whole: nobody was told that it had. */
  readonly torn: boolean
}

const chunkBytes = 1024 * 1024

/** Reads the frames of a journal file in order; memory is bounded by the longest frame. A cut is the last thing it gives. */
export async function* scanJournal(path: string, range: { from?: number; to?: number } = {}): AsyncGenerator<Scanned> {
  const file = await openRegular(path).catch(error => {
    if (error instanceof NoRegularFile) return undefined
    throw error
  })
  if (file === undefined) {
    yield { cut: { offset: 0, reason: 'it is no regular file', torn: false } }
    return
  }
  try {
    const size = Math.min((await file.stat()).size, range.to ?? Number.POSITIVE_INFINITY)
    let offset = Math.max(range.from ?? 0, journalMagic.length)
    if (size < journalMagic.length || !(await readAt(file, 0, journalMagic.length)).equals(journalMagic)) {
      yield {
        cut: { offset: 0, reason: 'it does not begin as a journal of version 1', torn: size < journalMagic.length },
      }
      return
    }
    while (offset < size) {
      let bytes = await readAt(file, offset, Math.min(chunkBytes, size - offset))
      if (bytes.length === 0) {
        yield { cut: { offset, reason: 'the file became shorter while it was read', torn: false } }
        return
      }
      let at = 0
      while (at < bytes.length) {
        const parsed = parseFrame(bytes, at)
        if ('frame' in parsed) {
          yield { frame: parsed.frame, offset: offset + at }
          at += parsed.frame.bytes.length
          continue
        }
        if ('bad' in parsed || offset + at + parsed.need > size) {
          const torn = !('bad' in parsed)
          yield { cut: { offset: offset + at, reason: torn ? 'the last frame is torn' : parsed.bad, torn } }
          return
        }
        if (at > 0) break
        bytes = await readAt(file, offset, parsed.need)
        if (bytes.length < parsed.need) {
          yield { cut: { offset, reason: 'the last frame is torn', torn: true } }
          return
        }
      }
      offset += at
    }
  } finally {
    await file.close()
  }
}

async function readAt(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length)
  let done = 0
  while (done < length) {
    const { bytesRead } = await file.read(bytes, done, length - done, offset + done)
    if (bytesRead === 0) break
    done += bytesRead
  }
  return bytes.subarray(0, done)
}
