import { inArray } from 'drizzle-orm'
import type { Database } from '../db/database.ts'
import { revisions } from '../policy/schema.ts'
import { bytesPerFile, linesPerFile } from './format.ts'

/** Writes one file of a bundle, and notes it for the manifest. */
export type Put = (name: string, content: Uint8Array | string) => Buffer

export const line = (value: unknown): string => `${JSON.stringify(value)}\n`

/** Files of lines, each with so many at most. */
export async function* lineFiles(
  prefix: string,
  put: Put,
  lines: AsyncIterable<unknown> | Iterable<unknown>,
): AsyncGenerator<Buffer> {
  let text: string[] = []
  let bytes = 0
  let number = 0
  const file = () => put(`${prefix}${String(++number).padStart(5, '0')}.jsonl`, text.join(''))
  for await (const value of lines) {
    const one = line(value)
    text.push(one)
    bytes += one.length
    if (text.length < linesPerFile && bytes < bytesPerFile) continue
    yield file()
    text = []
    bytes = 0
  }
  if (text.length > 0) yield file()
}

export async function* each<A, B>(all: readonly A[], make: (one: A) => Promise<B>): AsyncGenerator<B> {
  for (const one of all) yield await make(one)
}

export async function* revisionFiles(
  { db }: Database,
  generations: readonly number[],
  sources: boolean,
  put: Put,
): AsyncGenerator<Buffer> {
  const { generation, commit, digest: bundle, opa_version, opts, signature, ends_at } = revisions
  for (const one of generations) {
    const [row] = await db
      .select({
        generation,
        commit,
        digest: bundle,
        opa_version,
        opts,
        signature,
        ends_at,
        ...(sources ? { sources: revisions.sources } : {}),
      })
      .from(revisions)
      .where(inArray(generation, [one]))
    if (row === undefined) continue
    const {
      signature: signed,
      ends_at: end,
      sources: archive,
      ...facts
    } = row as typeof row & { sources?: Buffer | null }
    const ends = end === null ? {} : { ends_at_ms: end.getTime() }
    yield put(`revisions/${one}.json`, line({ ...facts, ...ends, signature: signed.toString('base64') }))
    if (archive) yield put(`revisions/${one}.tar.gz`, archive)
  }
}
