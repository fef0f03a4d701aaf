import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Sink } from './sink.ts'

export interface FileOptions {
  readonly name: string
  readonly folder: string
  /** A file is begun anew when it has grown beyond this. */
  readonly max_bytes: number
}

const named = /^decisions-(\d{16})\.jsonl$/

/**
 * JSON Lines in files named after the place of their first decision, on the disk before they count as exported. After a crash
 * between the two the last lines may stand there twice, under the same ids; none is missing and none is half there.
 */
export function fileSink({ name, folder, max_bytes }: FileOptions): Sink {
  let current: { file: FileHandle; bytes: number } | undefined
  return {
    name,
    async send(decisions) {
      const text = Buffer.from(decisions.map(each => `${each.line}\n`).join(''))
      try {
        current ??= await newest(folder)
        if (current === undefined || current.bytes >= max_bytes) {
          await current?.file.close()
          current = undefined
          current = await begin(folder, decisions[0]!.seq)
        }
        await writeAll(current.file, text, current.bytes)
        await current.file.datasync()
        current.bytes += text.length
      } catch (error) {
        // What of it came to the disk is not known: the file is opened and cut to whole lines again.
        await current?.file.close().catch(() => {})
        current = undefined
        throw error
      }
      return decisions.length
    },
    async close() {
      await current?.file.close()
      current = undefined
    },
  }
}

async function writeAll(file: FileHandle, bytes: Buffer, at: number): Promise<void> {
  for (let done = 0; done < bytes.length; )
    done += (await file.write(bytes, done, bytes.length - done, at + done)).bytesWritten
}

/** The file that was written last, cut to its last whole line. */
async function newest(folder: string): Promise<{ file: FileHandle; bytes: number } | undefined> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const last = (await readdir(folder))
    .filter(name => named.test(name))
    .sort()
    .at(-1)
  if (last === undefined) return undefined
  const file = await open(join(folder, last), constants.O_RDWR | constants.O_NOFOLLOW)
  const bytes = await wholeLines(file, (await file.stat()).size)
  await file.truncate(bytes)
  return { file, bytes }
}

/** Where the last line that ends begins the rest: looked for from the end, a block at a time. */
async function wholeLines(file: FileHandle, size: number): Promise<number> {
  const block = Buffer.alloc(64 * 1024)
  for (let end = size; end > 0; ) {
    const from = Math.max(0, end - block.length)
    const { bytesRead } = await file.read(block, 0, end - from, from)
    const at = block.subarray(0, bytesRead).lastIndexOf(0x0a)
    if (at >= 0) return from + at + 1
    end = from
  }
  return 0
}

async function begin(folder: string, seq: number): Promise<{ file: FileHandle; bytes: number }> {
  const path = join(folder, `decisions-${String(seq).padStart(16, '0')}.jsonl`)
  const file = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
  const bytes = (await file.stat()).size
  const parent = await open(folder, constants.O_RDONLY)
  try {
    await parent.sync() // the name of the file is on the disk as well
  } finally {
    await parent.close()
  }
  return { file, bytes }
}
