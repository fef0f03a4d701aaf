import { spawnSync } from 'node:child_process'
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Whether this machine lets us mount a file system in memory. */
export function canMount(): boolean {
  if (process.getuid?.() !== 0) return false
  const at = mkdtempSync(join(tmpdir(), 'sallyport-tmpfs-'))
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', at]).status === 0
  if (mounted) spawnSync('umount', [at])
  rmSync(at, { recursive: true, force: true })
  if (!mounted) console.warn('SKIPPED: RE1 on a real full disk needs the right to mount a tmpfs')
  return mounted
}

/** A disk of so many MiB that can be really full. */
export class SmallDisk {
  readonly #mib: number
  #at: string | undefined

  constructor(mib: number) {
    this.#mib = mib
  }

  mount(at: string): void {
    mkdirSync(at, { recursive: true, mode: 0o700 })
    const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${this.#mib}m`, 'tmpfs', at])
    if (status !== 0) throw new Error(`no tmpfs at ${at}: ${stderr.toString()}`)
    this.#at = at
  }

  /** To its last byte. */
  fill(): void {
    const fd = openSync(join(this.#at!, 'filler'), 'w')
    const block = Buffer.alloc(64 * 1024, 1)
    try {
      for (;;) if (writeSync(fd, block) < block.length) break
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
    } finally {
      closeSync(fd)
    }
  }

  empty(): void {
    rmSync(join(this.#at!, 'filler'), { force: true })
  }

  unmount(): void {
    if (this.#at !== undefined) spawnSync('umount', ['-l', this.#at])
    this.#at = undefined
  }
}
