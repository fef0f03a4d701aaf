import { type Break, type CopyLine, openBreak } from './copy.ts'
import { FlawList } from './flaws.ts'
import { type Checkpoint, openCheckpoint, type Trust } from './note.ts'

/** What an outside place holds: the last note that it was given, and the statements that stand beside it. */
export interface OutsidePoint {
  readonly place: string
  readonly note: string
  readonly statements: readonly CopyLine[]
}

export function openBreaks(lines: readonly CopyLine[], trust: Trust): Break[] {
  return lines.flatMap(({ kind, note }) => (kind === 'break' ? (openBreak(note, trust) ?? []) : []))
}

/** Whether a signed break says that a log of this size was given up. */
export const givenUp = (breaks: readonly Break[], size: number): boolean =>
  breaks.some(b => b.resumed.size < size && size <= b.abandoned.size)

/** Compares what outside places hold with the entries. */
export class OutsideChecks {
  readonly flaws = new FlawList()
  readonly report: { place: string; size: number | null }[] = []
  readonly #size: number
  readonly #breaks: readonly Break[]
  readonly #points: { place: string; checkpoint: Checkpoint }[] = []

  constructor(points: readonly OutsidePoint[], trust: Trust, size: number, breaks: readonly Break[]) {
    this.#size = size
    this.#breaks = breaks
    for (const { place, note } of points) {
      const checkpoint = openCheckpoint(note, trust)
      if (checkpoint) this.#points.push({ place, checkpoint })
      else {
        this.report.push({ place, size: null })
        this.flaws.add('outside_unsigned', null, `what ${place} holds is not signed by ${trust.name}`)
      }
    }
    this.#points.sort((a, b) => a.checkpoint.size - b.checkpoint.size)
  }

  get next(): number {
    return this.#points[0]?.checkpoint.size ?? Number.POSITIVE_INFINITY
  }

  async reached(size: number, root: () => Buffer): Promise<void> {
    while (this.#points[0] && this.#points[0].checkpoint.size <= size) {
      const { place, checkpoint } = this.#points.shift()!
      if (root().equals(checkpoint.root)) this.report.push({ place, size })
      else if (givenUp(this.#breaks, size)) this.report.push({ place, size: null })
      else {
        this.report.push({ place, size: null })
        this.flaws.add(
          'log_rewritten',
          size,
          `the first ${size} entries are not those of the checkpoint that ${place} holds: the log was rewritten`,
        )
      }
    }
  }

  async finish(): Promise<void> {
    for (const { place, checkpoint } of this.#points.splice(0)) {
      const { size } = checkpoint
      this.report.push({ place, size: null })
      if (!givenUp(this.#breaks, size))
        this.flaws.add(
          'log_truncated',
          size,
          `${place} knows of ${size} signed entries, the database has ${this.#size}: the last ${size - this.#size} are gone`,
        )
    }
  }
}
