import { createHash } from 'node:crypto'
import { tarBlock, tarHeader, tarPadding } from '../tar-header.ts'

/**
 * The archive of a bundle: POSIX ustar of plain files, with no time, owner or mode of their own, so that equal files give
 * equal bytes and any tar tool unpacks it. The reader takes exactly what the writer writes and nothing else: a header that
 * differs in one byte, a link, a path that leaves the folder, a name that comes twice, padding that hides something.
 */
export const maxName = 99
export const maxMembers = 2_000_000
const name = /^[A-Za-z0-9][A-Za-z0-9_.-]*(?:\/[A-Za-z0-9][A-Za-z0-9_.-]*){0,4}$/
const zeros = Buffer.alloc(2 * tarBlock)

/** Why a file is not an archive that can be checked. */
export class ArchiveFault extends Error {}

/** One file with its padding. @throws RangeError for a name or size that no archive of ours has. */
export function member(file: string, content: Uint8Array): Buffer {
  return Buffer.concat([header(file, content.length), content, zeros.subarray(0, tarPadding(content.length))])
}

/** What ends an archive. */
export const archiveEnd: Buffer = zeros

export interface Member {
  readonly name: string
  readonly content: Buffer
  readonly sha256: string
}

/**
 * The files of an archive, one after the other; no more than one of them is in memory.
 * @param most the largest size that a file of this name may have; undefined: there is no such file in a bundle.
 * @throws ArchiveFault, saying which file or place is wrong.
 */
export async function* readArchive(
  chunks: AsyncIterable<Uint8Array>,
  most: (file: string) => number | undefined,
): AsyncGenerator<Member> {
  const input = new Input(chunks)
  const seen = new Set<string>()
  for (;;) {
    const head = await input.take(tarBlock)
    if (head === undefined) throw new ArchiveFault('the archive is cut off: its end is missing')
    if (head.every(byte => byte === 0)) break
    const { file, size } = opened(head)
    if (seen.has(file)) throw new ArchiveFault(`${file} is there twice`)
    if (seen.size >= maxMembers) throw new ArchiveFault(`there are more than ${maxMembers} files`)
    seen.add(file)
    const limit = most(file)
    if (limit === undefined) throw new ArchiveFault(`${file} is no file of a bundle`)
    if (size > limit) throw new ArchiveFault(`${file} has ${size} bytes; more than ${limit} are not read`)
    const content = await input.take(size)
    const padding = await input.take(tarPadding(size))
    if (content === undefined || padding === undefined) throw new ArchiveFault(`the archive is cut off in ${file}`)
    if (padding.some(byte => byte !== 0)) throw new ArchiveFault(`there is something behind the end of ${file}`)
    yield { name: file, content, sha256: createHash('sha256').update(content).digest('hex') }
  }
  const rest = await input.take(tarBlock)
  if (rest === undefined || rest.some(byte => byte !== 0)) throw new ArchiveFault('the end of the archive is damaged')
  if (!(await input.isAtEnd())) throw new ArchiveFault('there is something behind the end of the archive')
}

function opened(head: Buffer): { file: string; size: number } {
  const end = head.indexOf(0)
  const file = head.subarray(0, end < 0 ? 0 : Math.min(end, 100)).toString('latin1')
  const size = Number.parseInt(head.subarray(124, 135).toString('latin1'), 8)
  const shown = JSON.stringify(file.slice(0, maxName))
  if (!fits(file)) throw new ArchiveFault(`${shown} is no name of a file in a bundle`)
  if (!Number.isSafeInteger(size) || size < 0) throw new ArchiveFault(`the size of ${shown} cannot be read`)
  if (!head.equals(header(file, size)))
    throw new ArchiveFault(`the header of ${shown} is not that of a plain file as a bundle has them`)
  return { file, size }
}

const fits = (file: string): boolean => file.length <= maxName && name.test(file)

function header(file: string, size: number): Buffer {
  if (!fits(file)) throw new RangeError(`${JSON.stringify(file)} is no name of a file in a bundle`)
  if (!Number.isSafeInteger(size) || size >= 8 ** 11) throw new RangeError(`${file} is too large for an archive`)
  return tarHeader(file, '0', size)
}

/** Takes exact numbers of bytes from chunks of any size. */
class Input {
  readonly #chunks: AsyncIterator<Uint8Array>
  #held: Buffer[] = []
  #bytes = 0

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]()
  }

  /** @returns undefined where fewer are left. */
  async take(bytes: number): Promise<Buffer | undefined> {
    while (this.#bytes < bytes) if (!(await this.#more())) return undefined
    const taken: Buffer[] = []
    for (let left = bytes; left > 0; ) {
      const first = this.#held.shift()!
      const part = first.subarray(0, left)
      taken.push(part)
      left -= part.length
      if (part.length < first.length) this.#held.unshift(first.subarray(part.length))
    }
    this.#bytes -= bytes
    return taken.length === 1 ? taken[0]! : Buffer.concat(taken)
  }

  async isAtEnd(): Promise<boolean> {
    return this.#bytes === 0 && !(await this.#more())
  }

  async #more(): Promise<boolean> {
    for (;;) {
      const { value, done } = await this.#chunks.next()
      if (done) return false
      if (value.length === 0) continue
      this.#held.push(Buffer.from(value.buffer, value.byteOffset, value.length))
      this.#bytes += value.length
      return true
    }
  }
}
