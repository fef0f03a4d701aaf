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

export interface PathsOf {
  /** A commit, or the two trees that were compared with a space between. */
  readonly of: string
  readonly paths: readonly Changed[]
  /** What git wrote of it. */
  readonly bytes: number
}

/**
 * Reads `git diff-tree -r -z --raw --stdin` (git-diff(1), RAW OUTPUT FORMAT; with `-c` as many colons as parents), of pairs of
 * trees or of commits, each behind its name.
 */
export function readRaw(out: Buffer): PathsOf[] {
  const read: { of: string; paths: Changed[]; bytes: number }[] = []
  for (let at = 0; at < out.length; ) {
    const begun = at
    const pair = pairAt(out, at)
    if (pair !== undefined) {
      at += pair.length + 1
      read.push({ of: pair, paths: [], bytes: 0 })
      continue
    }
    const word = next(out, at)
    at += word.length + 1
    if (word[0] !== 58) {
      const of = word.toString('latin1')
      if (!/^[0-9a-f]{40,64}$/.test(of)) throw new Unreadable('git diff-tree says what is not understood')
      read.push({ of, paths: [], bytes: 0 })
      continue
    }
    const raw = next(out, at)
    at += raw.length + 1
    const last = read.at(-1)
    if (last === undefined) throw new Unreadable('git diff-tree says what is not understood')
    last.paths.push(changed(word.toString('latin1'), Buffer.from(raw)))
    last.bytes += at - begun
  }
  return read
}

/** Two trees that git was asked to compare it names on a line of their own. */
function pairAt(out: Buffer, at: number): string | undefined {
  return /^(?:[0-9a-f]{40} [0-9a-f]{40}|[0-9a-f]{64} [0-9a-f]{64})(?=\n)/.exec(
    out.toString('latin1', at, at + 130),
  )?.[0]
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

export type Numbers = Map<string, { readonly added: number | null; readonly removed: number | null }>

/** Lines added and removed: `git diff-tree -r -z --numstat --stdin` of pairs of trees. Null for what is no text. */
export function readNumbers(out: Buffer): { readonly of: string; readonly numbers: Numbers }[] {
  const read: { of: string; numbers: Numbers }[] = []
  for (let at = 0; at < out.length; ) {
    const pair = pairAt(out, at)
    if (pair !== undefined) {
      at += pair.length + 1
      read.push({ of: pair, numbers: new Map() })
      continue
    }
    const line = next(out, at)
    at += line.length + 1
    const [first, second] = [line.indexOf(9), line.indexOf(9, line.indexOf(9) + 1)]
    if (first < 0 || second < 0 || read.length === 0) throw new Unreadable('git diff-tree says what is not understood')
    const count = (text: string) => (text === '-' ? null : Number(text))
    read.at(-1)!.numbers.set(escapeName(line.subarray(second + 1)), {
      added: count(line.toString('latin1', 0, first)),
      removed: count(line.toString('latin1', first + 1, second)),
    })
  }
  return read
}
