import { closeSync, fdatasync, ftruncateSync, openSync, unlinkSync, writeSync } from 'node:fs'
import { open, statfs } from 'node:fs/promises'

/** What the journal needs of a file system: a port, so that a full disk and a broken one can be tested. */
export interface JournalFs {
  openSync(path: string, flags: string, mode: number): number
  writeSync(fd: number, bytes: Buffer, offset: number, length: number): number
  ftruncateSync(fd: number, length: number): void
  closeSync(fd: number): void
  unlinkSync(path: string): void
  fdatasync(fd: number): Promise<void>
  syncFolder(path: string): Promise<void>
  /** Bytes that the disk of this folder takes yet. */
  freeBytes(path: string): Promise<number>
}

export const nodeFs: JournalFs = {
  openSync: (path, flags, mode) => openSync(path, flags, mode),
  writeSync: (fd, bytes, offset, length) => writeSync(fd, bytes, offset, length),
  ftruncateSync: (fd, length) => ftruncateSync(fd, length),
  closeSync: fd => closeSync(fd),
  unlinkSync: path => unlinkSync(path),
  fdatasync: fd => new Promise((resolve, reject) => fdatasync(fd, error => (error ? reject(error) : resolve()))),
  syncFolder,
  freeBytes: async path => {
    const { bavail, bsize } = await statfs(path)
    return bavail * bsize
  },
}

/** Until its folder is synced, a new name may be gone after a loss of power. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
