import { type Break, type CheckpointCopy, type CopyLine, openBreak } from './copy.ts'
import { FlawList } from './flaws.ts'
import { openHandover } from './handover.ts'
import { type Checkpoint, openCheckpoint, type Trust } from './note.ts'

type NumberedLine = CopyLine & { readonly number: number }

/** What the copy says besides checkpoints, and how long it was when we looked. */
export interface FirstLook {
  readonly lines: readonly NumberedLine[]
  /** Lines that are looked at: what is appended meanwhile is ahead of the database's snapshot. */
  readonly until: number
  breaks(trust: Trust): (Break & { readonly number: number })[]
}

const maxLines = 10_000

export async function firstLook(copy: CheckpointCopy): Promise<FirstLook> {
  const lines: NumberedLine[] = []
  let until = 0
  for await (const line of copy.lines()) {
    if (line.kind !== 'checkpoint' && lines.length < maxLines) lines.push(line)
    until = line.number
  }
  const breaks = (trust: Trust) =>
    lines.flatMap(({ kind, note, number }) => {
      const broken = kind === 'break' ? openBreak(note, trust) : null
      return broken ? [{ ...broken, number }] : []
    })
  return { lines, until, breaks }
}

/** Follows the checkpoints of the copy along the entries: one reading of the file, in step with the log. */
export class CopyChecks {
  readonly flaws = new FlawList()
  fits = 0
  readonly #copy: CheckpointCopy
  readonly #trust: Trust
  readonly #size: number
  readonly #steps: AsyncGenerator<Checkpoint>
  #waiting: Checkpoint | null = null
  #beyond: Checkpoint | null = null
  #any = false

  constructor(copy: CheckpointCopy, look: FirstLook, trust: Trust, size: number) {
    this.#copy = copy
    this.#trust = trust
    this.#size = size
    this.#steps = this.#standing(look)
  }

  get next(): number {
    return this.#waiting?.size ?? Number.POSITIVE_INFINITY
  }

  async reached(size: number, root: () => Buffer): Promise<void> {
    let computed: Buffer | undefined
    for (;;) {
      if (this.#waiting?.size === size) {
        computed ??= root()
        if (computed.equals(this.#waiting.root)) this.fits++
        else
          this.flaws.add(
            'log_rewritten',
            size,
            `the first ${size} entries are not those of the checkpoint kept outside: the log was rewritten`,
          )
      }
      const { value, done } = await this.#steps.next()
      this.#waiting = done === true ? null : value
      if (this.#waiting === null || this.#waiting.size > size) return
    }
  }

  async finish(): Promise<void> {
    for (; this.#waiting !== null; ) {
      if (this.#waiting.size > (this.#beyond?.size ?? this.#size)) this.#beyond = this.#waiting
      const { value, done } = await this.#steps.next()
      this.#waiting = done === true ? null : value
    }
    if (this.#beyond)
      this.flaws.add(
        'log_truncated',
        this.#beyond.size,
        `the copy knows of ${this.#beyond.size} signed entries, the database has ${this.#size}: the last ${this.#beyond.size - this.#size} are gone`,
      )
    if (!this.#any && this.#size > 0)
      this.flaws.add(
        'copy_missing',
        null,
        'there is no copy of the checkpoints: nothing can be said against the owner of the database',
      )
  }

  /** The checkpoints that no later break gave up, and that go on where the one before stood. */
  async *#standing(look: FirstLook): AsyncGenerator<Checkpoint> {
    const breaks = look.breaks(this.#trust)
    const limits = breaks.map((_, i) => Math.min(...breaks.slice(i).map(b => b.resumed.size)))
    let passed = 0 // breaks
    let before = -1
    let end = -1 // of what was given on
    for await (const { kind, note, number } of this.#copy.lines()) {
      if (number > look.until) return
      if (kind === 'break' && breaks[passed]?.number === number) {
        passed++
        before = -1
        continue
      }
      const checkpoint = kind === 'checkpoint' ? openCheckpoint(note, this.#trust) : null
      if (checkpoint === null) {
        if (kind !== 'handover' || openHandover(note) === null)
          this.flaws.add(
            'copy_unsigned',
            number,
            `line ${number} of ${this.#copy.path} is not signed by ${this.#trust.name}`,
          )
        continue
      }
      this.#any = true
      if (checkpoint.size < before)
        this.flaws.add(
          'copy_went_back',
          before,
          `the copy goes back from ${before} to ${checkpoint.size} entries without a signed break`,
        )
      before = checkpoint.size
      if (checkpoint.size > (limits[passed] ?? Number.POSITIVE_INFINITY) || checkpoint.size < end) continue
      end = checkpoint.size
      yield checkpoint
    }
  }
}
