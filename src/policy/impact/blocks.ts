import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { pipeline } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { SallyportError } from '../../errors.ts'

const blockBytes = 512 << 10
const maxLine = 8 << 20
const newline = 10

/** Whole lines of a byte stream, many in a block, each block with a buffer of its own that may be given away. */
export async function* blocksOf(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let kept: Uint8Array[] = []
  let size = 0
  for await (const chunk of bytes) {
    kept.push(chunk)
    size += chunk.length
    if (size < blockBytes) continue
    const whole = joined(kept, size)
    const end = whole.lastIndexOf(newline) + 1
    if (end > 0) yield whole.slice(0, end)
    kept = [whole.slice(end)]
    size -= end
    if (size > maxLine)
      throw new SallyportError('bad_request', `a line of the decision log has more than ${maxLine} bytes`)
  }
  if (size > 0) yield joined(kept, size)
}

/** The lines of a block. */
export function* linesOf(block: Uint8Array): Generator<string> {
  const buffer = Buffer.from(block.buffer, block.byteOffset, block.byteLength)
  for (let at = 0; at < buffer.length; ) {
    const found = buffer.indexOf(newline, at)
    const end = found < 0 ? buffer.length : found
    if (end > at) yield buffer.toString('utf8', at, end)
    at = end + 1
  }
}

/** Bytes of lines that come as text, as those of an API do. */
export async function* bytesOfLines(lines: AsyncIterable<string>): AsyncGenerator<Uint8Array> {
  for await (const line of lines) yield Buffer.from(`${line}\n`)
}

/** The bytes of exported files, one after the other, unpacked where they are gzip. `-` is standard input. */
export async function* bytesOfFiles(paths: readonly string[]): AsyncGenerator<Uint8Array> {
  for (const path of paths) {
    if (path === '-') yield* process.stdin
    else yield* await bytesOfFile(path)
    yield Uint8Array.of(newline) // a file that ends without one does not run into the next
  }
}

async function bytesOfFile(path: string): Promise<AsyncIterable<Uint8Array>> {
  const packed = await isGzip(path)
  const stream = createReadStream(path, { highWaterMark: blockBytes })
  if (!packed) return stream
  return pipeline(stream, createGunzip({ chunkSize: blockBytes }), () => {}) // an error comes to who reads
}

async function isGzip(path: string): Promise<boolean> {
  let file: Awaited<ReturnType<typeof open>>
  try {
    file = await open(path)
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such file' : (cause as Error).message
    throw new SallyportError('not_found', `the decision log ${path} cannot be read: ${why}`, {
      remedy: 'give a file that `sallyport decisions export` wrote',
      cause,
    })
  }
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(2), 0, 2, 0)
    return bytesRead === 2 && buffer[0] === 0x1f && buffer[1] === 0x8b
  } finally {
    await file.close()
  }
}

function joined(parts: readonly Uint8Array[], size: number): Uint8Array {
  const whole = new Uint8Array(size)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}
