import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream, createWriteStream, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { finished } from 'node:stream/promises'
import { begun, type Git, Unreadable, whyGit } from './git.ts'
import type { Pack } from './intake.ts'

const piece = 256 << 10

/** The bytes as they came: git wrote the first and the last of them anew where it added something behind. */
export async function* asItCame(pack: Pack): AsyncGenerator<Buffer> {
  yield pack.head
  const end = pack.bytes - pack.trailer.length
  if (end > pack.head.length)
    yield* createReadStream(pack.file, { start: pack.head.length, end: end - 1, highWaterMark: piece })
  yield pack.trailer
}

/**
 * Whether what came is that pack and nothing else: who sends more while git is still busy with it would have the target read
 * what nobody has looked at.
 */
export async function isWhole(pack: Pack): Promise<boolean> {
  const file = await open(pack.file)
  try {
    const { buffer } = await file.read(Buffer.alloc(pack.head.length), 0, pack.head.length, 0)
    if (buffer.equals(pack.head)) return (await file.stat()).size === pack.bytes
  } finally {
    await file.close()
  }
  // Git added what a thin pack left out: only the hash says where what came ends.
  const hash = createHash(pack.trailer.length === 20 ? 'sha1' : 'sha256')
  const trailer = pack.trailer
  let left = pack.bytes - trailer.length
  for await (const chunk of asItCame(pack)) {
    hash.update(chunk.subarray(0, left))
    left -= Math.min(left, chunk.length)
  }
  return left === 0 && hash.digest().equals(trailer)
}

export interface Packing {
  readonly of: readonly string[]
  readonly without: readonly string[]
  readonly timeout_ms: number
  readonly signal?: AbortSignal | undefined
}

/** A pack of what these reach beyond those; what is not here is what the other side has. */
export async function* packOf(git: Git, { of, without, timeout_ms, signal }: Packing): AsyncGenerator<Buffer> {
  const input = `${[...of, ...without.map(id => `^${id}`)].join('\n')}\n`
  const args = ['pack-objects', '--revs', '--stdout', '--quiet', '--delta-base-offset', '--missing=allow-any']
  const { stdout, ended, kill } = git.start(args, { input, timeout_ms, signal }, 'output')
  try {
    for await (const chunk of stdout!) yield chunk as Buffer
    const { status, cut, ...rest } = begun(await ended)
    if (status !== 0 || cut !== undefined) throw new Unreadable(whyGit({ status, cut, ...rest }))
  } finally {
    kill('abort')
  }
}

export interface Bundle extends Packing {
  readonly ref: string
  readonly tip: string
  /** Commits that a reader must have. */
  readonly boundary: readonly string[]
  readonly file: string
  readonly most: number
}

/**
 * Writes gitformat-bundle(5): what is needed, what is in it, and a pack. @returns its bytes; undefined, and no file, where it
 * would be larger than `most`.
 */
export async function writeBundle(git: Git, bundle: Bundle): Promise<number | undefined> {
  const format = bundle.tip.length === 40 ? '# v2 git bundle\n' : '# v3 git bundle\n@object-format=sha256\n'
  const needed = bundle.boundary.map(id => `-${id}\n`).join('')
  const out = createWriteStream(bundle.file, { flags: 'wx', mode: 0o600 })
  const done = finished(out)
  done.catch(() => {})
  let bytes = 0
  const write = async (chunk: Buffer | string) => {
    bytes += chunk.length
    if (!out.write(chunk)) await Promise.race([once(out, 'drain'), done])
  }
  try {
    await write(`${format}${needed}${bundle.tip} ${bundle.ref}\n\n`)
    for await (const chunk of packOf(git, bundle)) {
      await write(chunk)
      if (bytes > bundle.most) break
    }
    out.end()
    await done
    if (bytes <= bundle.most) return bytes
    rmSync(bundle.file, { force: true })
    return undefined
  } catch (error) {
    out.destroy()
    rmSync(bundle.file, { force: true })
    throw error
  }
}
