import { archiveEnd, member, readArchive } from '../../src/evidence/archive.ts'
import { mostBytes } from '../../src/evidence/format.ts'
import { type BundleReport, verifyBundle } from '../../src/evidence/verify-bundle.ts'

/** Bytes in pieces whose ends fit nothing. */
export async function* pieces(bytes: Uint8Array, size = 7_919): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

export const verify = (bytes: Uint8Array, vkey?: string, witnesses?: string[]): Promise<BundleReport> =>
  verifyBundle(pieces(bytes), { vkey, witnesses })

/** Any member, however deep: what a forger reaches for. */
// biome-ignore lint/suspicious/noExplicitAny: a test changes what has no type of its own
type Line = any

export type Files = { name: string; content: Buffer }[]

export async function unpacked(bytes: Uint8Array): Promise<Files> {
  const files: Files = []
  for await (const { name, content } of readArchive(pieces(bytes), mostBytes))
    files.push({ name, content: Buffer.from(content) })
  return files
}

export const packed = (files: Files): Buffer =>
  Buffer.concat([...files.map(file => member(file.name, file.content)), archiveEnd])

/** The archive with one file made anew; the text of lines is given as objects. */
export async function edited(bytes: Uint8Array, name: RegExp, edit: (lines: Line[]) => unknown): Promise<Buffer> {
  const files = await unpacked(bytes)
  const file = files.find(each => name.test(each.name))
  if (file === undefined) throw new Error(`no file ${name}`)
  const lines = file.content
    .toString('utf8')
    .trimEnd()
    .split('\n')
    .map(text => JSON.parse(text) as Line)
  file.content = Buffer.from(
    `${changedOr(lines, edit(lines))
      .map(line => JSON.stringify(line))
      .join('\n')}\n`,
  )
  return packed(files)
}

/** An edit gives other lines, or changes the ones that it got. */
const changedOr = (lines: Line[], edit: unknown): Line[] => (Array.isArray(edit) ? edit : lines)
