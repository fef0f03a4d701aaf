const block = 512
const nameBytes = 100

/** Reads a tar archive (POSIX ustar or pax) that this program or its compiler wrote: name → bytes. Names lose their leading slash. */
export function readTar(archive: Buffer): Map<string, Buffer> {
  const files = new Map<string, Buffer>()
  let longName: string | undefined
  for (let at = 0; at + block <= archive.length && archive[at] !== 0; ) {
    const size = Number.parseInt(field(archive, at + 124, 12), 8)
    const kind = archive[at + 156]
    const from = at + block
    if (!Number.isSafeInteger(size) || size < 0 || from + size > archive.length)
      throw new Error('the archive is cut off')
    const content = archive.subarray(from, from + size)
    if (kind === 0x78) longName = /(?:^|\n)\d{1,6} path=([^\n]*)\n/.exec(content.toString('utf8'))?.[1]
    else {
      if (kind === 0x30 || kind === 0) files.set((longName ?? nameAt(archive, at)).replace(/^\/+/, ''), content)
      longName = undefined
    }
    at = from + padded(size)
  }
  return files
}

/** Writes files, in the order of their names and with no time or owner of their own: equal files give equal bytes. */
export function writeTar(files: ReadonlyMap<string, Uint8Array>): Buffer {
  const parts: Buffer[] = []
  const add = (name: string, kind: string, content: Uint8Array) => {
    parts.push(header(name, kind, content.length), Buffer.from(content))
    parts.push(Buffer.alloc(padded(content.length) - content.length))
  }
  for (const [name, content] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (Buffer.byteLength(name) > nameBytes) add('pax', 'x', paxRecord('path', name))
    add(name, '0', content)
  }
  return Buffer.concat([...parts, Buffer.alloc(2 * block)])
}

function header(name: string, kind: string, size: number): Buffer {
  const bytes = Buffer.alloc(block)
  bytes.write(name.slice(0, nameBytes), 0, 'latin1')
  const octal = (at: number, length: number, value: number) =>
    bytes.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, 'latin1')
  octal(100, 8, 0o644)
  octal(108, 8, 0)
  octal(116, 8, 0)
  octal(124, 12, size)
  octal(136, 12, 0)
  bytes.write(`        ${kind}`, 148, 'latin1') // the sum is taken with blanks in its own place
  bytes.write('ustar\x0000', 257, 'latin1')
  const sum = bytes.reduce((all, byte) => all + byte, 0)
  bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return bytes
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
  return (prefix === '' ? '' : `${prefix}/`) + field(archive, at, nameBytes)
}

function padded(size: number): number {
  return Math.ceil(size / block) * block
}

function field(archive: Buffer, at: number, length: number): string {
  const bytes = archive.subarray(at, at + length)
  const end = bytes.indexOf(0)
  return bytes.subarray(0, end < 0 ? length : end).toString('latin1')
}
