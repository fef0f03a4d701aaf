/** Reads a tar archive (POSIX ustar) that our own compiler wrote: name → bytes. Names lose their leading slash. */
export function readTar(archive: Buffer): Map<string, Buffer> {
  const files = new Map<string, Buffer>()
  for (let at = 0; at + 512 <= archive.length && archive[at] !== 0; ) {
    const name = field(archive, at, 100)
    const size = Number.parseInt(field(archive, at + 124, 12), 8)
    const kind = archive[at + 156]
    if (!Number.isSafeInteger(size) || size < 0 || at + 512 + size > archive.length)
      throw new Error('the archive is cut off')
    if (kind === 0x30 || kind === 0) files.set(name.replace(/^\/+/, ''), archive.subarray(at + 512, at + 512 + size))
    at += 512 + Math.ceil(size / 512) * 512
  }
  return files
}

function field(archive: Buffer, at: number, length: number): string {
  const bytes = archive.subarray(at, at + length)
  const end = bytes.indexOf(0)
  return bytes.subarray(0, end < 0 ? length : end).toString('latin1')
}
