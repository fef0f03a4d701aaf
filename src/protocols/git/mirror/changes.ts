import type { Bounds } from '../../../together.ts'
import { factBounds, type PathFacts, type SecretFinding } from '../facts.ts'
import { PushFault } from '../push.ts'
import { type FetchFiles, Files } from './files.ts'
import type { Comes } from './history.ts'
import { type MirrorLimits, tooLarge } from './limits.ts'
import type { Described } from './objects.ts'
import type { Changed, Numbers } from './paths.ts'
import { diffBytes, type Questions, type Sides } from './questions.ts'
import { Scanner } from './secrets.ts'

/** What an update changes in files. */
export interface Change {
  readonly facts: readonly PathFacts[]
  readonly total: number
  readonly found: readonly SecretFinding[]
  /** Not all of it was looked through for secrets. */
  readonly cut: boolean
}

/** Paths that differ, with their sizes and lines, and what the commits between add to them that is a secret. */
export class Changes {
  readonly #questions: Questions
  readonly #files: Files
  /** Only where somebody wants to know, and where something comes. */
  readonly #scanner: Scanner | undefined
  /** Bytes of paths that are held now. */
  #held = 0

  constructor(
    questions: Questions,
    how: Bounds & {
      readonly files: FetchFiles
      readonly limits: MirrorLimits
      /** For secrets. */
      readonly looks: boolean
    },
  ) {
    this.#questions = questions
    this.#files = new Files(questions, how.files, how)
    this.#scanner = how.looks ? new Scanner(questions, how.limits, how.signal) : undefined
  }

  /** Between two commits, of which the second one brings these. */
  async of(sides: Sides, { ids, total }: Comes): Promise<Change> {
    const [differ, perCommit] = await Promise.all([
      this.#questions.paths(sides),
      this.#scanner === undefined ? [] : this.#questions.pathsOf(ids),
    ])
    const ofCommits = perCommit.reduce((sum, each) => sum + each.bytes, 0)
    if (ofCommits > diffBytes)
      throw new PushFault('too_large', 'the push changes more paths than can be looked at', 'push in smaller parts')
    const bytes = differ.bytes + ofCommits
    this.#held += bytes
    try {
      if (this.#held > diffBytes * 4) throw tooLarge('the refs of the push change more paths than can be looked at')
      const paths = differ.paths.slice(0, factBounds.paths)
      const have = await this.#files.have([...paths, ...perCommit.flatMap(each => each.paths)])
      const [numbers, sizes, scanned] = await Promise.all([
        have ? this.#questions.numbers(sides).catch(() => undefined) : undefined,
        this.#questions.describe(paths.flatMap(each => each.after ?? [])),
        this.#scanner?.scan(perCommit),
      ])
      return {
        facts: paths.map(each => pathFacts(each, numbers, sizes)),
        total: differ.paths.length,
        found: scanned?.findings ?? [],
        cut: scanned !== undefined && (scanned.cut || total > ids.length),
      }
    } finally {
      this.#held -= bytes
    }
  }
}

function pathFacts(
  { path, change, type, after }: Changed,
  numbers: Numbers | undefined,
  sizes: ReadonlyMap<string, Described>,
): PathFacts {
  const { added = null, removed = null } = numbers?.get(path) ?? {}
  return { path, change, type, bytes: after === null ? 0 : (sizes.get(after)?.bytes ?? null), added, removed }
}
