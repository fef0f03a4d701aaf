import type { PathFacts } from '../facts.ts'
import { escapeName } from './escape.ts'
import { Unreadable } from './git.ts'

/** One path that differs between two trees, or, of a merge, from all of its parents. */
export interface Changed {
  readonly path: string
  /** As the tree has it, for git. */
  readonly raw: Buffer
  readonly change: PathFacts['change']
  readonly type: PathFacts['type']
  /** Objects of before: one for each parent; ids of nothing are left out. */
  readonly before: readonly string[]
  readonly after: string | null
}

const types: Readonly<Record<string, PathFacts['type']>> = {
  '100644': 'file',
  '100664': 'file',
  '100755': 'executable',
  '120000': 'symlink',
  '160000': 'submodule',
}

export interface CommitPaths {
  /** Null for a diff of two trees that were named. */
  readonly commit: string | null
  readonly paths: readonly Changed[]
}

/**
 * Reads `git diff-tree -r -z --raw` (git-diff(1), RAW OUTPUT FORMAT; with `-c` as many colons as parents), of two trees or of
 * commits on stdin, each behind its id.
 */
export function readRaw(out: Buffer): CommitPaths[] {
  const read: { commit: string | null; paths: Changed[] }[] = []
  for (let at = 0; at < out.length; ) {
    const word = next(out, at)
    at += word.length + 1
    if (word[0] !== 58) {
      const commit = word.toString('latin1')
      if (!/^[0-9a-f]{40,64}$/.test(commit)) throw new Unreadable('git diff-tree says what is not understood')
      read.push({ commit, paths: [] })
      continue
    }
    const raw = next(out, at)
    at += raw.length + 1
    if (read.length === 0) read.push({ commit: null, paths: [] })
    read.at(-1)!.paths.push(changed(word.toString('latin1'), Buffer.from(raw)))
  }
  return read
}

function changed(meta: string, raw: Buffer): Changed {
  const sides = /^:+/.exec(meta)![0].length
  const words = meta.slice(sides).split(' ')
  if (words.length !== 2 * (sides + 1) + 1) throw new Unreadable('git diff-tree says what is not understood')
  const modes = words.slice(0, sides + 1)
  const ids = words.slice(sides + 1, 2 * (sides + 1))
  const [mode, id] = [modes.at(-1)!, ids.at(-1)!]
  const before = ids.slice(0, -1).filter(each => !/^0+$/.test(each))
  const gone = mode === '000000'
  const type = types[gone ? (modes.find(each => each !== '000000') ?? '') : mode] ?? 'file'
  return {
    path: escapeName(raw),
    raw,
    change: gone ? 'deleted' : before.length === 0 ? 'added' : 'modified',
    type,
    before: type === 'submodule' ? [] : before,
    after: gone ? null : id,
  }
}

function next(out: Buffer, at: number): Buffer {
  const end = out.indexOf(0, at)
  if (end < 0) throw new Unreadable('git diff-tree says what is not understood')
  return out.subarray(at, end)
}

/** Lines added and removed: `git diff-tree -r -z --numstat`. Null for what is no text. */
export function readNumbers(
  out: Buffer,
): Map<string, { readonly added: number | null; readonly removed: number | null }> {
  const found = new Map<string, { added: number | null; removed: number | null }>()
  for (let at = 0; at < out.length; ) {
    const end = out.indexOf(0, at)
    if (end < 0) break
    const line = out.subarray(at, end)
    at = end + 1
    const [first, second] = [line.indexOf(9), line.indexOf(9, line.indexOf(9) + 1)]
    if (first < 0 || second < 0) continue
    const count = (text: string) => (text === '-' ? null : Number(text))
    found.set(escapeName(line.subarray(second + 1)), {
      added: count(line.toString('latin1', 0, first)),
      removed: count(line.toString('latin1', first + 1, second)),
    })
  }
  return found
}
