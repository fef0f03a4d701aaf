import { setImmediate as turn } from 'node:timers/promises'
import { detect } from '../../../masking/detectors.ts'
import type { SecretFinding } from '../facts.ts'
import type { Git } from './git.ts'
import type { MirrorLimits } from './limits.ts'
import { describe, readObjects } from './objects.ts'
import type { CommitPaths } from './paths.ts'

/** What opens doors. That an address or a number of a person stands in a file is no secret of the repository. */
const secrets: ReadonlySet<string> = new Set(['private_key', 'access_key', 'token'])

export interface Scanned {
  readonly findings: readonly SecretFinding[]
  /** Not everything was looked at: too large, too much, or a file of before is not to be had. */
  readonly cut: boolean
}

/** A detector reads so much of a text; longer lines are looked at in pieces that overlap by more than a secret is long. */
const piece = 60_000
const overlap = 9_000
/** Read at once. */
const batchBytes = 16 << 20

/**
 * Looks at each line that a commit adds: that stands in a file as the commit has it and in none of its parents'. Commit by
 * commit, since what one adds and the next one takes away stays in the history.
 */
export async function scan(git: Git, commits: readonly CommitPaths[], limits: MirrorLimits): Promise<Scanned> {
  const changes = commits.flatMap(({ commit, paths }) =>
    paths
      .filter(each => each.after !== null && each.type !== 'submodule')
      .map(each => ({ ...each, commit: commit ?? '' })),
  )
  const known = await describe(
    git,
    changes.flatMap(each => [each.after!, ...each.before]),
  )
  const findings: SecretFinding[] = []
  const counts = new Map<string, number>()
  const seen = new Set<string>()
  let [cut, left] = [false, limits.scan_bytes]
  let batch: typeof changes = []
  let bytes = 0
  const look = async () => {
    const ids = [...new Set(batch.flatMap(each => [each.after!, ...each.before.filter(id => known.has(id))]))]
    const read = new Map<string, Buffer>()
    for (const [i, object] of (await readObjects(git, ids, batchBytes * 2 + bytes)).entries())
      if (object !== undefined) read.set(ids[i]!, object)
    for (const each of batch) {
      const after = read.get(each.after!)
      if (after === undefined) continue
      const before = each.before.flatMap(id => read.get(id) ?? [])
      for await (const { detector, line } of added(after, before)) {
        const count = (counts.get(detector) ?? 0) + 1
        counts.set(detector, count)
        if (count > limits.findings) cut = true
        else findings.push({ detector, path: each.path, line, commit: each.commit })
      }
    }
    batch = []
    bytes = 0
  }
  for (const each of changes) {
    // A file that only moved, or that several commits name, adds nothing the second time.
    const key = `${each.after} ${each.before.join(' ')} ${each.path}`
    if (seen.has(key)) continue
    seen.add(key)
    const sizes = [each.after!, ...each.before].map(id => known.get(id)?.bytes)
    const sum = sizes.reduce<number>((total, size) => total + (size ?? 0), 0)
    // What is not here is on the target already: the commits between come with the files that they bring.
    if (
      sizes[0] === undefined ||
      sizes.some(size => size === undefined || size > limits.scan_blob_bytes) ||
      sum > left
    ) {
      cut = true
      continue
    }
    left -= sum
    batch.push(each)
    bytes += sum
    if (bytes > batchBytes) await look()
  }
  if (batch.length > 0) await look()
  return { findings, cut }
}

/** What a message holds: of a commit, of a tag. */
export async function scanText(text: Buffer): Promise<{ detector: string; line: number }[]> {
  const found = []
  for await (const each of added(text, [])) found.push(each)
  return found
}

/** In UTF-16 every second byte of what a secret is made of is nothing. */
function linesOf(text: Buffer): string[] {
  const all = text.toString('latin1')
  return (all.includes('\0') ? all.replaceAll('\0', '') : all).split('\n')
}

async function* added(after: Buffer, before: readonly Buffer[]): AsyncGenerator<{ detector: string; line: number }> {
  const old = new Set(before.flatMap(linesOf))
  let [number, looked] = [0, 0]
  for (const line of linesOf(after)) {
    number++
    if (line.length < 8 || old.has(line)) continue
    looked += line.length
    if (looked > 256 << 10) {
      looked = 0
      await turn()
    }
    const found = new Set<string>()
    for (let at = 0; at === 0 || at < line.length - overlap; at += piece - overlap)
      for (const { name } of detect(line.slice(at, at + piece))) if (secrets.has(name)) found.add(name)
    for (const detector of found) yield { detector, line: number }
  }
}
