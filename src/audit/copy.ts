import type { KeyObject } from 'node:crypto'
import { type FileHandle, mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { openHandover, parsePoint, pointText } from './handover.ts'
import { type Checkpoint, linksOf, openCheckpoint, openNote, signNote, type Trust } from './note.ts'

/**
 * The copy of the checkpoints at a second path: JSON Lines `{kind, note}`, only ever appended to, each append flushed to
 * the disk. It should lie where the owner of the database cannot write. A line cut off by a crash is passed over.
 */
export type CopyLine = { readonly kind: 'checkpoint' | 'break' | 'handover'; readonly note: string }

/** A signed break: the log went on at `resumed` although `abandoned` had been signed. */
export interface Break {
  readonly origin: string
  readonly abandoned: Checkpoint
  readonly resumed: Checkpoint
  readonly at_ms: number
}

const tailBytes = 65_536
const breakTitle = 'sallyport log break' // holds spaces, so that no checkpoint's origin can read the same

export function signBreak(broken: Break, key: KeyObject): string {
  return signNote(
    `${breakTitle}\n${broken.origin}\n${pointText(broken.abandoned)}\n${pointText(broken.resumed)}\n${broken.at_ms}\n`,
    broken.origin,
    key,
  )
}

/** The break of a note with a good signature, or null. */
export function openBreak(note: string, trust: Trust): Break | null {
  for (const { verifier, until } of linksOf(trust)) {
    const broken = parseBreak(openNote(note, verifier) ?? '', verifier.name)
    if (broken !== null && broken.abandoned.size <= until) return broken
  }
  return null
}

function parseBreak(text: string, name: string): Break | null {
  const [title, origin, abandoned, resumed, at] = text.split('\n')
  if (title !== breakTitle || origin !== name || !/^\d{1,16}$/.test(at ?? '')) return null
  const [from, to] = [parsePoint(origin, abandoned), parsePoint(origin, resumed)]
  return from && to ? { origin, abandoned: from, resumed: to, at_ms: Number(at) } : null
}

/** Where the log stands according to one line, or null where none of these keys signed it. */
export function standsAt(line: CopyLine, trust: Trust): Checkpoint | null {
  if (line.kind === 'checkpoint') return openCheckpoint(line.note, trust)
  if (line.kind === 'break') return openBreak(line.note, trust)?.resumed ?? null
  const handover = openHandover(line.note)
  const known = handover && linksOf(trust).some(link => link.verifier.keyId.equals(handover.to.keyId))
  return known ? handover.at : null
}

export class CheckpointCopy {
  readonly path: string

  constructor(path: string) {
    this.path = path
  }

  /** The last whole line, or null where there is none yet. @throws when the file is there and cannot be read. */
  async latest(): Promise<CopyLine | null> {
    const file = await this.#open('r')
    if (!file) return null
    try {
      const { size } = await file.stat()
      const tail = Buffer.alloc(Math.min(size, tailBytes))
      await file.read(tail, 0, tail.length, size - tail.length)
      const lines = tail.toString('utf8').split('\n')
      for (const text of lines.reverse()) {
        const line = parseLine(text)
        if (line) return line
      }
      if (size > 0) throw new Error(`no checkpoint can be read at the end of ${this.path}`)
      return null
    } finally {
      await file.close()
    }
  }

  /** Appends lines and waits until they are on the disk. */
  async append(lines: readonly CopyLine[]): Promise<void> {
    if (lines.length === 0) return
    await mkdir(dirname(this.path), { recursive: true })
    const file = await open(this.path, 'a+', 0o600)
    try {
      const { size } = await file.stat()
      const last = Buffer.alloc(1)
      if (size > 0) await file.read(last, 0, 1, size - 1)
      const mend = size > 0 && last[0] !== 0x0a ? '\n' : ''
      await file.appendFile(mend + lines.map(line => `${JSON.stringify(line)}\n`).join(''))
      await file.sync()
    } finally {
      await file.close()
    }
  }

  /** All whole lines, first to last, with their line numbers. */
  async *lines(): AsyncGenerator<CopyLine & { readonly number: number }> {
    const file = await this.#open('r')
    if (!file) return
    let number = 0
    for await (const text of file.readLines({ encoding: 'utf8' })) {
      number++
      const line = parseLine(text)
      if (line) yield { ...line, number }
    }
  }

  async #open(flags: string): Promise<FileHandle | null> {
    try {
      return await open(this.path, flags)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
      throw error
    }
  }
}

function parseLine(text: string): CopyLine | null {
  try {
    const line = JSON.parse(text) as Partial<CopyLine> | null
    if (
      (line?.kind === 'checkpoint' || line?.kind === 'break' || line?.kind === 'handover') &&
      typeof line.note === 'string'
    )
      return { kind: line.kind, note: line.note }
  } catch {
    // a line that a crash cut off
  }
  return null
}
