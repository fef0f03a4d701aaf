import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { JournalLost } from './errors.ts'
import { journalMagic } from './format/frames.ts'
import { type JournalFile, type Position, reasonOf, type WrittenPart } from './journal-file.ts'
import { type JournalFs, nodeFs } from './journal-fs.ts'

const behindMs = 100
const lateTurns = 5
/** A disk with less than this is full: what is begun on it would be cut at once. */
const leastFree = 256 * 1024

export interface WriterOptions {
  readonly folder: string
  readonly maxBytes: number // of all files together
  readonly fileBytes?: number
  readonly syncMs?: number
  readonly lateMs?: number
  readonly fs?: JournalFs
  /** Why nothing may be written any more although the files could be; asked before each write. */
  readonly guard?: () => string | undefined
  /** The journal took its last event: everybody who records in it must stop. */
  readonly onLost: (reason: string) => void
}

interface OpenFile extends JournalFile {
  readonly fd: number
  dirty: boolean
  retired: boolean
}

interface Waiter {
  resolve(): void
  reject(error: unknown): void
}

/**
 * The append-only journal of one process, in files of bounded size.
 *
 * INVARIANT: what `write` returned for is in the kernel; what `flush` resolved for is on disk.
 * INVARIANT: after one failed write or sync nothing more goes into that file: a file whose sync failed once cannot be trusted
 * to tell the next time. `revive` starts a fresh one, for new sessions only.
 */
export class JournalWriter {
  readonly #options: Required<Omit<WriterOptions, 'onLost'>> & Pick<WriterOptions, 'onLost'>
  readonly #files = new Map<number, JournalFile>()
  #current: OpenFile | undefined
  #next = 1
  #used = 0
  #others = 0
  #lost: string | undefined
  #unsynced = new Set<OpenFile>()
  #folderDirty = false
  #waiters: Waiter[] = []
  #timer: NodeJS.Timeout | undefined
  #syncing = false

  constructor(options: WriterOptions) {
    this.#options = {
      fileBytes: 16 * 1024 * 1024,
      syncMs: 100,
      lateMs: 5_000,
      fs: nodeFs,
      guard: () => undefined,
      ...options,
    }
  }

  get lost(): string | undefined {
    return this.#lost
  }

  /** Bytes on disk, those of other spools on the same disk included. */
  get used(): number {
    return this.#used + this.#others
  }

  /** Whether a new session may start: a tenth of the room is kept for those that live. */
  get hasRoom(): boolean {
    return this.used < this.#options.maxBytes * 0.9
  }

  /**
   * Undefined while half of the room is left; else who carries much waits for this before it carries more. It ends after a
   * while whatever is shipped, so that an outage of the store stops nobody.
   */
  behind(): Promise<void> | undefined {
    return this.used > this.#options.maxBytes / 2 ? sleep(behindMs) : undefined
  }

  /** What dead processes left behind counts too, until it is recovered. */
  countOthers(bytes: number): void {
    this.#others = bytes
  }

  get position(): Position {
    return { file: this.#current?.number ?? this.#next, offset: this.#current?.size ?? journalMagic.length }
  }

  /** The files from this one on, oldest first. */
  filesFrom(number: number): JournalFile[] {
    return [...this.#files.values()].filter(file => file.number >= number)
  }

  /**
   * Appends frames of one part in one write.
   * @returns where they begin. @throws JournalLost, after which nothing is written any more.
   */
  write(part: WrittenPart, frames: Buffer, lastSeq: number): Position {
    if (this.#lost !== undefined) throw new JournalLost(this.#lost)
    const barred = this.#options.guard()
    if (barred !== undefined) throw this.#fail(barred)
    let file = this.#current
    if (
      file === undefined ||
      (file.size + frames.length > this.#options.fileBytes && file.size > journalMagic.length)
    ) {
      file = this.#rotate()
    }
    const bytes = file.last.has(part.part_id) ? frames : Buffer.concat([part.intro, frames])
    if (this.used + bytes.length > this.#options.maxBytes) {
      throw this.#fail(
        `the spool is full (${Math.round(this.#options.maxBytes / 1_048_576)} MiB) because nothing can be shipped to the store`,
      )
    }
    const at: Position = { file: file.number, offset: file.size }
    this.#put(file, bytes)
    file.last.set(part.part_id, lastSeq)
    this.#used += bytes.length
    this.#touch(file)
    return at
  }

  /** Resolves when all that was written so far is on disk. Calls that come together share one sync. */
  flush(): Promise<void> {
    if (this.#lost !== undefined) return Promise.reject(new JournalLost(this.#lost))
    if (this.#unsynced.size === 0 && !this.#syncing) return Promise.resolve()
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject })
      if (!this.#syncing) void this.#sync()
    })
  }

  /**
   * Starts again in a fresh file after a loss, if disk and room allow it.
   * @throws JournalLost when they do not.
   */
  async revive(): Promise<void> {
    if (this.#lost === undefined) return
    if (!this.hasRoom || (await this.diskIsFull())) throw new JournalLost(this.#lost)
    this.#lost = undefined
    try {
      this.#touch(this.#rotate())
      await this.flush()
    } catch (error) {
      throw error instanceof JournalLost ? error : this.#fail(reasonOf(error))
    }
  }

  async diskIsFull(): Promise<boolean> {
    return (await this.#options.fs.freeBytes(this.#options.folder)) < leastFree
  }

  /** Takes nothing more, for a reason that lies outside of its files. */
  lose(reason: string): void {
    this.#fail(reason)
  }

  /** Removes each finished file of which everything was shipped. `shipped` is Infinity for a part that is done. */
  release(shipped: (partId: string) => number): void {
    for (const file of this.#files.values()) {
      if (file === this.#current) continue
      if ([...file.last].some(([part, last]) => shipped(part) < last)) continue
      try {
        this.#options.fs.unlinkSync(file.path)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') continue // tried again at the next release
      }
      this.#files.delete(file.number)
      this.#used -= file.size
    }
  }

  /** Syncs and closes. Whatever is not shipped stays on disk for recovery. */
  async close(): Promise<void> {
    if (this.#lost === undefined) await this.flush()
    this.#lost ??= 'the gateway is stopping'
    clearTimeout(this.#timer)
    if (this.#current !== undefined) this.#retire(this.#current)
    this.#current = undefined
  }

  #rotate(): OpenFile {
    const number = this.#next++
    const path = join(this.#options.folder, `${String(number).padStart(8, '0')}.journal`)
    if (this.#current !== undefined) this.#retire(this.#current)
    this.#current = undefined
    let fd: number
    try {
      fd = this.#options.fs.openSync(path, 'ax', 0o600)
    } catch (error) {
      throw this.#fail(reasonOf(error), error)
    }
    const file: OpenFile = { number, path, size: 0, last: new Map(), fd, dirty: false, retired: false }
    this.#files.set(number, file)
    this.#current = file
    this.#folderDirty = true
    this.#put(file, journalMagic)
    this.#used += journalMagic.length
    return file
  }

  #put(file: OpenFile, bytes: Buffer): void {
    let done = 0
    try {
      while (done < bytes.length) {
        const wrote = this.#options.fs.writeSync(file.fd, bytes, done, bytes.length - done)
        if (wrote === 0) throw new Error('the disk took no bytes')
        done += wrote
      }
    } catch (error) {
      // The torn frame is cut off where possible; where not, recovery finds it by its CRC.
      try {
        this.#options.fs.ftruncateSync(file.fd, file.size)
      } catch {}
      throw this.#fail(reasonOf(error), error)
    }
    file.size += bytes.length
  }

  #touch(file: OpenFile): void {
    file.dirty = true
    this.#unsynced.add(file)
    if (!this.#syncing) this.#timer ??= setTimeout(() => void this.#sync(), this.#options.syncMs)
  }

  async #sync(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#syncing = true
    const waiters = this.#waiters
    const files = [...this.#unsynced]
    this.#waiters = []
    this.#unsynced = new Set()
    for (const file of files) file.dirty = false
    // Counted and not measured: when this process itself stood still, its timers come before the answer that waits for it.
    let turns = 0
    const late = setInterval(() => {
      if (++turns !== lateTurns) return
      const lost = this.#fail(`the disk of the spool did not answer for ${this.#options.lateMs / 1000} s`)
      for (const waiter of waiters) waiter.reject(lost)
    }, this.#options.lateMs / lateTurns)
    try {
      for (const file of files) await this.#options.fs.fdatasync(file.fd)
      if (this.#folderDirty) {
        this.#folderDirty = false
        await this.#options.fs.syncFolder(this.#options.folder)
      }
      if (this.#lost !== undefined) throw new JournalLost(this.#lost)
      for (const waiter of waiters) waiter.resolve()
    } catch (error) {
      const lost = this.#fail(reasonOf(error), error)
      for (const waiter of waiters) waiter.reject(lost)
    } finally {
      clearInterval(late)
      this.#syncing = false
      for (const file of files) if (file.retired && !file.dirty) this.#closeFd(file)
    }
    if (this.#waiters.length > 0) void this.#sync()
    else if (this.#unsynced.size > 0) this.#timer ??= setTimeout(() => void this.#sync(), this.#options.syncMs)
  }

  /** Its descriptor goes when the last sync of it is over. */
  #retire(file: OpenFile): void {
    file.retired = true
    if (!file.dirty && !this.#syncing) this.#closeFd(file)
    else this.#unsynced.add(file)
  }

  #closeFd(file: OpenFile): void {
    this.#unsynced.delete(file)
    try {
      this.#options.fs.closeSync(file.fd)
    } catch {}
  }

  /** The first reason stands. */
  #fail(reason: string, cause?: unknown): JournalLost {
    if (this.#lost === undefined) {
      this.#lost = reason
      if (this.#current !== undefined) this.#retire(this.#current)
      this.#current = undefined
      this.#options.onLost(reason)
    }
    return new JournalLost(this.#lost, cause)
  }
}
