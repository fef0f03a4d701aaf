import { tarBlock, tarHeader, tarName, tarPadding } from '../tar-header.ts'

/** Reads a tar archive (POSIX ustar or pax) that this program or its compiler wrote: name → bytes. Names lose their leading slash. */
export function readTar(archive: Buffer): Map<string, Buffer> {
  const files = new Map<string, Buffer>()
  let longName: string | undefined
  for (let at = 0; at + tarBlock <= archive.length && archive[at] !== 0; ) {
    const size = Number.parseInt(field(archive, at + 124, 12), 8)
    const kind = archive[at + 156]
    const from = at + tarBlock
    if (!Number.isSafeInteger(size) || size < 0 || from + size > archive.length)
      throw new Error('the archive is cut off')
    const content = archive.subarray(from, from + size)
    if (kind === 0x78) longName = /(?:^|\n)\d{1,6} path=([^\n]*)\n/.exec(content.toString('utf8'))?.[1]
    else {
      if (kind === 0x30 || kind === 0) files.set((longName ?? nameAt(archive, at)).replace(/^\/+/, ''), content)
      longName = undefined
    }
    at = from + size + tarPadding(size)
  }
  return files
}

/** Writes files, in the order of their names and with no time or owner of their own: equal files give equal bytes. */
export function writeTar(files: ReadonlyMap<string, Uint8Array>): Buffer {
  const parts: Buffer[] = []
  const add = (name: string, kind: '0' | 'x', content: Uint8Array) => {
    parts.push(tarHeader(name, kind, content.length), Buffer.from(content), Buffer.alloc(tarPadding(content.length)))
  }
  for (const [name, content] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (Buffer.byteLength(name) > tarName) add('pax', 'x', paxRecord('path', name))
    add(name, '0', content)
  }
  return Buffer.concat([...parts, Buffer.alloc(2 * tarBlock)])
}

/** `LENGTH key=value\n`, where LENGTH counts itself. */
function paxRecord(key: string, value: string): Buffer {
  const rest = ` ${key}=${value}\n`
  let length = Buffer.byteLength(rest)
  while (String(length).length + Buffer.byteLength(rest) !== length)
    length = String(length).length + Buffer.byteLength(rest)
  return Buffer.from(`${length}${rest}`)
}

function nameAt(archive: Buffer, at: number): string {
  const prefix = field(archive, at + 257, 5) === 'ustar' ? field(archive, at + 345, 155) : ''
  return (prefix === '' ? '' : `${prefix}/`) + field(archive, at, tarName)
}

function field(archive: Buffer, at: number, length: number): string {
  const bytes = archive.subarray(at, at + length)
  const end = bytes.indexOf(0)
  return bytes.subarray(0, end < 0 ? length : end).toString('latin1')
}
