import { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** What becomes of bytes that were written and not synced: gone, or zeros where the length was kept (both happen). */
export type Tail = 'dropped' | 'zeros'

interface Entry {
  readonly id: number
  readonly folder: boolean
}

/**
 * What of a folder a loss of power would leave: contents of files as they were when they were last synced, names as they
 * were when their folder was. POSIX promises no more, so a new file whose folder was not synced is gone with all it held.
 */
export class Disk {
  readonly #root: string
  readonly #ids = new Map<string, number>()
  readonly #contents = new Map<number, Buffer>()
  readonly #names = new Map<number, ReadonlyMap<string, Entry>>()
  #next = 1

  /** What is there already is on the disk. */
  constructor(root: string) {
    this.#root = root
    mkdirSync(root, { recursive: true })
    this.#keep(root)
  }

  made(path: string): void {
    this.#ids.set(inode(path), this.#next++) // the number of an inode is used again
  }

  /** @returns what a sync of this path that begins now makes durable when it is over. */
  syncing(path: string): () => void {
    const kind = lstatSync(path, { throwIfNoEntry: false })
    if (kind === undefined) return () => {}
    const id = this.#id(path)
    if (kind.isDirectory()) {
      const names = this.#listing(path)
      return () => void this.#names.set(id, names)
    }
    const bytes = readFileSync(path)
    return () => void this.#contents.set(id, bytes)
  }

  /** How long each file is now, for `zeros`. */
  lengths(): ReadonlyMap<number, number> {
    const found = new Map<number, number>()
    const walk = (folder: string) => {
      for (const entry of readdirSync(folder, { withFileTypes: true })) {
        const path = join(folder, entry.name)
        if (entry.isDirectory()) walk(path)
        else if (entry.isFile()) found.set(this.#id(path), lstatSync(path).size)
      }
    }
    walk(this.#root)
    return found
  }

  restore(tail: Tail, lengths: ReadonlyMap<number, number>): void {
    const put = (path: string, { id, folder }: Entry) => {
      if (folder) {
        mkdirSync(path, { mode: 0o700 })
        for (const [name, entry] of this.#names.get(id) ?? []) put(join(path, name), entry)
        return
      }
      const bytes = this.#contents.get(id) ?? Buffer.alloc(0)
      const longer = tail === 'zeros' ? Math.max(0, (lengths.get(id) ?? 0) - bytes.length) : 0
      writeFileSync(path, Buffer.concat([bytes, Buffer.alloc(longer)]), { mode: 0o600 })
    }
    put(this.#root, { id: this.#rootId, folder: true })
  }

  get #rootId(): number {
    return 0
  }

  #listing(path: string): Map<string, Entry> {
    const names = new Map<string, Entry>()
    for (const entry of readdirSync(path, { withFileTypes: true }))
      names.set(entry.name, { id: this.#id(join(path, entry.name)), folder: entry.isDirectory() })
    return names
  }

  #keep(path: string): void {
    this.syncing(path)()
    if (!lstatSync(path).isDirectory()) return
    for (const name of readdirSync(path)) this.#keep(join(path, name))
  }

  #id(path: string): number {
    if (path === this.#root) return this.#rootId
    const key = inode(path)
    const known = this.#ids.get(key)
    if (known !== undefined) return known
    this.#ids.set(key, this.#next)
    return this.#next++
  }
}

function inode(path: string): string {
  const { dev, ino } = lstatSync(path)
  return `${dev}:${ino}`
}
