import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fdatasync,
  fstatSync,
  ftruncateSync,
  lstatSync,
  openSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { promisify } from 'node:util'
import { type DerivedKey, open, seal } from '../../../keys.ts'
import { openRegular } from '../../../regular-file.ts'
import type { DecisionRow } from '../decision-row.ts'

/**
 * A file of decisions that wait for the database: `SALLYDSP` · version 1 · id of the file (16), then records, each a length
 * (4, big endian) and what `seal` made of its JSON under the role's `decision-spool` key: nobody else reads it, and no
 * record can be changed, left out from the middle or moved to another file. A record is a row, or the count of one.
 */
const magic = Buffer.concat([Buffer.from('SALLYDSP', 'latin1'), Buffer.of(1)])
const headerBytes = magic.length + 16
const longestRecord = 16 << 20
const longestFile = 64 << 20
const sync = promisify(fdatasync)

type SpoolRecord = { readonly row: DecisionRow } | { readonly id: string; readonly count: number }

/** What the system does for a file: tests put a full disk in its place. */
export interface SpoolDisk {
  write(fd: number, bytes: Uint8Array, offset: number, length: number, position: number): number
}
const disk: SpoolDisk = { write: writeSync }

/** A file that this process appends to. Between two uses it is empty: its next records are those of another file. */
export class SpoolFile {
  readonly path: string
  readonly #key: DerivedKey
  readonly #disk: SpoolDisk
  readonly #fd: number
  #context = ''
  #records = 0
  #bytes = 0

  /** @throws what the system says. */
  constructor(path: string, key: DerivedKey, through = disk) {
    this.path = path
    this.#key = key
    this.#disk = through
    this.#fd = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600)
  }

  get bytes(): number {
    return this.#bytes
  }

  /** In the kernel when it returns: the death of the process takes nothing away. @throws where it is not wholly there. */
  append(record: SpoolRecord): void {
    let head = Buffer.alloc(0)
    if (this.#bytes === 0) {
      const id = randomBytes(16)
      this.#context = id.toString('hex')
      this.#records = 0
      head = Buffer.concat([magic, id])
    }
    const sealed = seal(this.#key, JSON.stringify(record), `${this.#context} ${this.#records}`)
    if (sealed.length > longestRecord) throw new Error('the decision is longer than a spool holds') // it would end what is read
    const length = Buffer.alloc(4)
    length.writeUInt32BE(sealed.length)
    this.#write(Buffer.concat([head, length, sealed]))
    this.#records++
  }

  /** On the disk when it resolves. */
  sync(): Promise<void> {
    return sync(this.#fd)
  }

  /** Whether it still is where it was made: a process that takes this one for dead renames it. */
  get isThere(): boolean {
    try {
      return lstatSync(this.path).ino === fstatSync(this.#fd).ino
    } catch {
      return false
    }
  }

  clear(): void {
    if (this.#bytes > 0) ftruncateSync(this.#fd, 0)
    this.#bytes = 0
  }

  remove(): void {
    if (this.isThere) rmSync(this.path, { force: true })
    this.close()
  }

  /** It stays, for whoever comes next. */
  close(): void {
    closeSync(this.#fd)
  }

  /** INVARIANT: what was not wholly written is cut off, so that the next record follows a whole one. */
  #write(bytes: Buffer): void {
    try {
      for (let done = 0; done < bytes.length; ) {
        const wrote = this.#disk.write(this.#fd, bytes, done, bytes.length - done, this.#bytes + done)
        if (wrote === 0) throw new Error('the system takes no more bytes')
        done += wrote
      }
    } catch (error) {
      ftruncateSync(this.#fd, this.#bytes)
      throw error
    }
    this.#bytes += bytes.length
  }
}

export interface SpooledRow {
  readonly row: DecisionRow
  readonly count: number
}

/**
 * The rows of a file, in their order. A record that ends before its length was never wholly written, so its decision let
 * nothing pass: it is left out. @returns with `broken` why the rest of the file cannot be read.
 */
export async function readSpool(path: string, key: DerivedKey): Promise<{ rows: SpooledRow[]; broken: string | null }> {
  const rows = new Map<string, SpooledRow>()
  const done = (broken: string | null) => ({ rows: [...rows.values()], broken })
  const file = await openRegular(path)
  const bytes = await file
    .stat()
    .then(({ size }) => (size > longestFile ? undefined : file.readFile()))
    .finally(() => file.close())
  if (bytes === undefined) return done('it is longer than any that we write')
  if (bytes.length < headerBytes) return done(null)
  if (!bytes.subarray(0, magic.length).equals(magic)) return done('it is no spool of version 1')
  const context = bytes.subarray(magic.length, headerBytes).toString('hex')
  for (let at = headerBytes, n = 0; at + 4 <= bytes.length; n++) {
    const length = bytes.readUInt32BE(at)
    if (length === 0 || length > longestRecord) return done(`record ${n} has no length`)
    if (at + 4 + length > bytes.length) break
    const plain = open(key, bytes.subarray(at + 4, at + 4 + length), `${context} ${n}`)
    if (plain === null) return done(`record ${n} was changed, or is of another key`)
    const record = JSON.parse(plain.toString('utf8')) as SpoolRecord
    if ('row' in record) rows.set(record.row.id, { row: record.row, count: record.row.count })
    else if (rows.has(record.id)) rows.set(record.id, { ...rows.get(record.id)!, count: record.count })
    at += 4 + length
  }
  return done(null)
}
