const mostKept = 1024
const mostLines = 256
const newline = 10
const escapeByte = 27

/** Bytes of what was typed into a terminal, from the first to before the last, counted from the channel's begin. */
export interface Span {
  readonly from: number
  readonly to: number
}

interface Line {
  readonly from: number
  to: number
  readonly typed: number[]
  /** How many of these the target has shown. */
  shown: number
  entered: boolean
}

/**
 * Which of the lines that a person typed the target did not show: passwords. A line counts as shown when each of its
 * characters came back in order before the end of line that answers it; in doubt it was hidden. Pure.
 */
export class Echo {
  #lines: Line[] = []
  #at = 0
  #escape: 'no' | 'begun' | 'long' = 'no'

  /** What the person typed. @returns hidden lines that nobody can wait for any longer. */
  typed(bytes: Buffer): Span[] {
    const hidden: Span[] = []
    for (const byte of bytes) {
      this.#at++
      if (this.#escapes(byte)) continue
      const ends = byte === 13 || byte === newline || byte === 3 || byte === 4 || byte === 26
      if (!ends && (byte < 32 || byte === 127)) continue
      const line = this.#open()
      line.to = this.#at
      if (ends) line.entered = true
      else if (line.typed.length < mostKept) line.typed.push(byte)
      if (this.#lines.length > mostLines) hidden.push(...this.#decide())
    }
    return hidden
  }

  /** Arrows and the like are typed, but not shown. */
  #escapes(byte: number): boolean {
    if (this.#escape === 'no') {
      if (byte === escapeByte) this.#escape = 'begun'
      return byte === escapeByte
    }
    const long = this.#escape === 'begun' ? byte === 0x5b || byte === 0x4f : byte < 0x40 || byte > 0x7e
    this.#escape = long ? 'long' : 'no'
    return true
  }

  #open(): Line {
    const last = this.#lines.at(-1)
    if (last !== undefined && !last.entered) return last
    const line = { from: this.#at - 1, to: this.#at, typed: [], shown: 0, entered: false }
    this.#lines.push(line)
    return line
  }

  /** What the target showed. @returns the lines that it did not. */
  shown(bytes: Buffer): Span[] {
    const hidden: Span[] = []
    for (const byte of bytes) {
      const line = this.#lines[0]
      if (line === undefined) break
      if (byte === line.typed[line.shown]) line.shown++
      else if (byte === newline && line.entered) hidden.push(...this.#decide())
    }
    return hidden
  }

  /** The channel is over. */
  end(): Span[] {
    const hidden: Span[] = []
    while (this.#lines.length > 0) hidden.push(...this.#decide())
    return hidden
  }

  #decide(): Span[] {
    const { from, to, typed, shown } = this.#lines.shift()!
    return shown < typed.length ? [{ from, to }] : []
  }
}
