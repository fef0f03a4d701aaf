import { randomBytes } from 'node:crypto'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { SallyportError } from '../errors.ts'
import { isId } from '../ids.ts'
import type { Store } from './store.ts'

/** Segments as files: written beside, synced, renamed, and the folder synced too. */
export class FileStore implements Store {
  readonly #root: string

  constructor(root: string) {
    this.#root = root
  }

  async put(name: string, bytes: Buffer): Promise<void> {
    const path = this.#path(name)
    const folder = dirname(path)
    const made = await mkdir(folder, { recursive: true, mode: 0o700 })
    const beside = join(folder, `.${randomBytes(8).toString('hex')}.tmp`)
    try {
      const file = await open(beside, 'wx', 0o600)
      try {
        await file.writeFile(bytes)
        await file.sync()
      } finally {
        await file.close()
      }
      await rename(beside, path)
    } catch (error) {
      await rm(beside, { force: true })
      throw error
    }
    await syncFolder(folder)
    // Each new folder is a name in the one above: the store itself may be as new as the recording's place in it.
    for (let at = folder; made !== undefined && at.length >= made.length; at = dirname(at))
      await syncFolder(dirname(at))
  }

  async get(name: string, maxBytes: number): Promise<Buffer> {
    const file = await open(this.#path(name), 'r')
    try {
      const { size } = await file.stat()
      if (size > maxBytes) throw new RangeError(`${name} has ${size} bytes, more than ${maxBytes}`)
      const bytes = Buffer.alloc(size)
      let at = 0
      while (at < size) {
        const { bytesRead } = await file.read(bytes, at, size - at, at)
        if (bytesRead === 0) break
        at += bytesRead
      }
      return bytes.subarray(0, at)
    } finally {
      await file.close()
    }
  }

  async removeRecording(recordingId: string): Promise<void> {
    if (!isId('rec', recordingId))
      throw new SallyportError('internal', `${JSON.stringify(recordingId)} is no recording`)
    await rm(join(this.#root, recordingId), { recursive: true, force: true })
    await syncFolder(this.#root).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error
    })
  }

  /** A name from the database is not trusted to stay inside the store. */
  #path(name: string): string {
    const [recording, file, ...rest] = name.split('/')
    const fits =
      rest.length === 0 && isId('rec', recording ?? '') && /^\d{1,9}-\d{6,9}-[0-9a-f]{32}\.seg$/.test(file ?? '')
    if (!fits) throw new SallyportError('internal', `${JSON.stringify(name)} is no name of a segment`)
    return join(this.#root, name)
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
