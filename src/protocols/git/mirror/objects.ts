import { type Git, Unreadable } from './git.ts'

export interface Described {
  readonly type: 'commit' | 'tree' | 'blob' | 'tag'
  readonly bytes: number
}

/** What is known of these objects; those that are not here are missing from the answer. */
export async function describe(git: Git, ids: Iterable<string>): Promise<Map<string, Described>> {
  const asked = [...new Set(ids)]
  if (asked.length === 0) return new Map()
  const text = await git.text(['cat-file', '--batch-check', '--buffer'], { input: `${asked.join('\n')}\n` })
  const found = new Map<string, Described>()
  for (const [, id, type, bytes] of text.matchAll(/^([0-9a-f]+) (commit|tree|blob|tag) (\d+)$/gm))
    found.set(id!, { type: type as Described['type'], bytes: Number(bytes) })
  return found
}

/** Reads objects whole, in the order asked; what is not here is `undefined`. The caller bounds how much that is. */
export async function readObjects(git: Git, ids: readonly string[], most: number): Promise<(Buffer | undefined)[]> {
  if (ids.length === 0) return []
  const out = await git.run(['cat-file', '--batch', '--buffer'], {
    input: `${ids.join('\n')}\n`,
    max_output: most + ids.length * 128,
  })
  const read: (Buffer | undefined)[] = []
  for (let at = 0; read.length < ids.length; ) {
    const end = out.indexOf(10, at)
    if (end < 0) throw new Unreadable('an answer of git cat-file ends early')
    const line = out.toString('latin1', at, end)
    at = end + 1
    if (/^[0-9a-f]+ missing$/.test(line)) {
      read.push(undefined)
      continue
    }
    const bytes = Number(/^[0-9a-f]+ \w+ (\d+)$/.exec(line)?.[1] ?? Number.NaN)
    if (!Number.isSafeInteger(bytes) || at + bytes >= out.length) throw new Unreadable('an object cannot be read')
    read.push(out.subarray(at, at + bytes))
    at += bytes + 1
  }
  return read
}
