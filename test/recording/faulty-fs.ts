import { setTimeout as sleep } from 'node:timers/promises'
import { type JournalFs, nodeFs } from '../../src/recording/journal-fs.ts'

/** The real file system, with faults that a test switches on. */
export class FaultyFs implements JournalFs {
  writeCode: string | undefined
  syncCode: string | undefined
  syncMs = 0
  /** Only so many bytes of the next write arrive before it fails. */
  torn: number | undefined
  syncs = 0

  openSync = (path: string, flags: string, mode: number): number => {
    if (this.writeCode !== undefined) throw fault(this.writeCode)
    return nodeFs.openSync(path, flags, mode)
  }

  writeSync = (fd: number, bytes: Buffer, offset: number, length: number): number => {
    if (this.torn !== undefined) {
      const some = Math.min(this.torn, length)
      this.torn = undefined
      this.writeCode ??= 'ENOSPC'
      return nodeFs.writeSync(fd, bytes, offset, some)
    }
    if (this.writeCode !== undefined) throw fault(this.writeCode)
    return nodeFs.writeSync(fd, bytes, offset, length)
  }

  fdatasync = async (fd: number): Promise<void> => {
    this.syncs++
    if (this.syncMs > 0) await sleep(this.syncMs)
    if (this.syncCode !== undefined) throw fault(this.syncCode)
    await nodeFs.fdatasync(fd)
  }

  ftruncateSync = nodeFs.ftruncateSync
  closeSync = nodeFs.closeSync
  unlinkSync = nodeFs.unlinkSync
  syncFolder = nodeFs.syncFolder
  freeBytes = async (): Promise<number> => 2 ** 40
}

function fault(code: string): Error {
  return Object.assign(new Error(`${code}: injected`), { code })
}
