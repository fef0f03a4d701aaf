import { closeSync, fdatasync, ftruncateSync, openSync, unlinkSync, writeSync } from 'node:fs'
import { open } from 'node:fs/promises'

/** What the journal needs of a file system: a port, so that a full disk and a broken one can be tested. */
export interface JournalFs {
  openSync(path: string, flags: string, mode: number): number
  writeSync(fd: number, bytes: Buffer, offset: number, length: number): number
  ftruncateSync(fd: number, length: number): void
  closeSync(fd: number): void
  unlinkSync(path: string): void
  fdatasync(fd: number): Promise<void>
  syncFolder(path: string): Promise<void>
}

export const nodeFs: JournalFs = {
  openSync,
  writeSync,
  ftruncateSync,
  closeSync,
  unlinkSync,
  fdatasync: fd => new Promise((resolve, reject) => fdatasync(fd, error => (error ? reject(error) : resolve()))),
  syncFolder: async path => {
    const folder = await open(path, 'r')
    try {
      await folder.sync()
    } finally {
      await folder.close()
    }
  },
}
