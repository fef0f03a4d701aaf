import { setImmediate as turn } from 'node:timers/promises'
import { detect } from '../../../masking/detectors.ts'
import { Together } from '../../../together.ts'
import type { SecretFinding } from '../facts.ts'
import type { MirrorLimits } from './limits.ts'
import type { PathsOf } from './paths.ts'
import type { Questions } from './questions.ts'

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

/** Files of a push that were looked through are remembered, so many. */
const mostRemembered = 100_000

interface Found {
  readonly detector: string
  readonly line: number
}

interface Change {
  readonly after: string
  readonly before: readonly string[]
  readonly bytes: number
}

/**
 * Looks at each line that a commit adds: that stands in a file as the commit has it and in none of its parents'. Commit by
 * commit, since what one adds and the next one takes away stays in the history; each change of a file once in a push.
 */
export class Scanner {
  readonly #questions: Questions
  readonly #limits: MirrorLimits
  readonly #known = new Map<string, Promise<readonly Found[]>>()
  readonly #looks: Together<Change, readonly Found[]>

  constructor(questions: Questions, limits: MirrorLimits, signal: AbortSignal | undefined) {
    this.#questions = questions
    this.#limits = limits
    this.#looks = new Together(all => this.#look(all), { most: 1_000, again: 'halves', signal })
  }

  async scan(commits: readonly PathsOf[]): Promise<Scanned> {
    const changes = commits.flatMap(({ of, paths }) =>
      paths.filter(each => each.after !== null && each.type !== 'submodule').map(each => ({ ...each, commit: of })),
    )
    const known = await this.#questions.describe(changes.flatMap(each => [each.after!, ...each.before]))
    const seen = new Set<string>()
    let [cut, left] = [false, this.#limits.scan_bytes]
    const looks = changes.map(each => {
      // A file that only moved, or that several commits name, adds nothing the second time.
      const what = `${each.after} ${each.before.join(' ')}`
      const key = `${what} ${each.path}`
      if (seen.has(key)) return []
      seen.add(key)
      const sizes = [each.after!, ...each.before].map(id => known.get(id)?.bytes)
      const bytes = sizes.reduce<number>((total, size) => total + (size ?? 0), 0)
      // What is not here is on the target already: the commits between come with the files that they bring.
      if (
        sizes[0] === undefined ||
        sizes.some(size => size === undefined || size > this.#limits.scan_blob_bytes) ||
        bytes > left
      ) {
        cut = true
        return []
      }
      left -= bytes
      return this.#once(what, { after: each.after!, before: each.before, bytes })
    })
    const findings: SecretFinding[] = []
    const counts = new Map<string, number>()
    for (const [i, found] of (await Promise.all(looks)).entries())
      for (const { detector, line } of found) {
        const count = (counts.get(detector) ?? 0) + 1
        counts.set(detector, count)
        if (count > this.#limits.findings) cut = true
        else findings.push({ detector, path: changes[i]!.path, line, commit: changes[i]!.commit })
      }
    return { findings, cut }
  }

  #once(what: string, change: Change): Promise<readonly Found[]> {
    let look = this.#known.get(what)
    if (look !== undefined) return look
    look = this.#looks.ask(change)
    if (this.#known.size < mostRemembered) this.#known.set(what, look)
    return look
  }

  async #look(all: readonly Change[]): Promise<readonly (readonly Found[])[]> {
    const found: (readonly Found[])[] = []
    for (let at = 0; at < all.length; ) {
      const begin = at
      let bytes = 0
      while (at < all.length && (at === begin || bytes < batchBytes)) bytes += all[at++]!.bytes
      const batch = all.slice(begin, at)
      const ids = [...new Set(batch.flatMap(each => [each.after, ...each.before]))]
      const objects = await this.#questions.read(ids, batchBytes + bytes)
      const read = new Map(ids.map((id, i) => [id, objects[i]]))
      for (const { after, before } of batch) {
        const text = read.get(after)
        const old = before.flatMap(id => read.get(id) ?? [])
        const here: Found[] = []
        if (text !== undefined) for await (const each of added(text, old)) here.push(each)
        found.push(here.length === 0 ? none : here)
      }
    }
    return found
  }
}

const none: readonly Found[] = []

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
