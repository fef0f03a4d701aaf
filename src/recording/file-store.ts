import { createHash, randomBytes } from 'node:crypto'
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { openRegular } from '../regular-file.ts'
import { syncFolder } from './journal-fs.ts'
import { checkName, checkRecording, type KeepingStore } from './store.ts'

const mostRemembered = 10_000

/** Segments as files: written beside, synced, renamed, and the folder synced too. */
export class FileStore implements KeepingStore {
  readonly name: string
  readonly locks = false
  readonly #root: string
  #rooted: Promise<void> | undefined
  readonly #synced = new Set<string>()

  constructor(root: string) {
    this.#root = root
    this.name = `files:${root}`
  }

  async put(name: string, bytes: Buffer): Promise<void> {
    const path = this.#path(name)
    const folder = dirname(path)
    await this.#ready(folder)
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
  }

  async get(name: string, maxBytes: number): Promise<Buffer> {
    const file = await openRegular(this.#path(name))
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

  async hash(name: string): Promise<string | null> {
    const hash = createHash('sha256')
    try {
      const file = await openRegular(this.#path(name))
      for await (const chunk of file.createReadStream()) hash.update(chunk as Buffer)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
      throw error
    }
    return hash.digest('hex')
  }

  async list(recordingId: string): Promise<string[]> {
    checkRecording(recordingId)
    try {
      const names = await readdir(join(this.#root, recordingId))
      return names.filter(name => !name.startsWith('.')).map(name => `${recordingId}/${name}`)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
      throw error
    }
  }

  async removeRecording(recordingId: string): Promise<void> {
    checkRecording(recordingId)
    await rm(join(this.#root, recordingId), { recursive: true, force: true })
    await syncFolder(this.#root).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error
    })
  }

  /** A folder of ours obeys us: it keeps nothing against whoever may write there. */
  async keep(): Promise<null> {
    return null
  }

  /**
   * Makes a recording's folder. INVARIANT: when it resolves the folder is on the disk, also where another put has made it and
   * is still about to sync the one above.
   */
  async #ready(folder: string): Promise<void> {
    this.#rooted ??= makeFolders(this.#root).catch(error => {
      this.#rooted = undefined
      throw error
    })
    await this.#rooted
    const made = await mkdir(folder, { recursive: true, mode: 0o700 })
    if (made === undefined && this.#synced.has(folder)) return
    await syncFolder(this.#root)
    if (this.#synced.size >= mostRemembered) this.#synced.clear()
    this.#synced.add(folder)
  }

  #path(name: string): string {
    checkName(name)
    return join(this.#root, name)
  }
}

/** Each new folder is a name in the one above. */
async function makeFolders(path: string): Promise<void> {
  const made = await mkdir(path, { recursive: true, mode: 0o700 })
  for (let at = path; made !== undefined && at.length >= made.length; at = dirname(at)) await syncFolder(dirname(at))
}
