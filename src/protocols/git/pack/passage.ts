import { isError } from './lines.ts'
import { dataLine, flushLine, lengthOf, maxPayload } from './pkt-line.ts'
import { banded, forTerminal, TerminalText } from './sideband.ts'

/** How the answer that is under way is read. */
export interface Reading {
  /** The longest line of bands that its client takes; null where nothing comes in bands. */
  readonly bands: number | null
  /** A pack may come by itself, without lines: it then lasts to the end. */
  readonly isRaw?: boolean
  /** Each line that is of no band. */
  readonly line?: (payload: Buffer) => void
}

/**
 * What a server answers, on its way to the client: the pack goes through as it comes, uncopied, and what is for the person is
 * made fit for a terminal. Without input or output.
 */
export class Passage {
  readonly #said: (words: Buffer) => void
  readonly #words = new TerminalText()
  /** Bytes of a pack that are still to come. */
  #left = 0
  /** The beginning of a line, and how much of it must be there to go on. */
  #held: Buffer[] = []
  #heldBytes = 0
  #wanted = 0
  /** The answer comes in bands. */
  isBanded = false

  /** `said` hears what the person reads, as the server wrote it. */
  constructor(said: (words: Buffer) => void) {
    this.#said = said
  }

  /** Reads to the next flush; `out` gets what goes on. @returns what lies behind the flush, or undefined where none was. @throws WireError */
  read(bytes: Buffer, reading: Reading, out: (piece: Buffer) => void): Buffer | undefined {
    let [at, from] = [0, 0]
    const cut = () => {
      if (at > from) out(bytes.subarray(from, at))
    }
    try {
      while (at < bytes.length) {
        if (this.#left > 0) {
          const step = Math.min(this.#left, bytes.length - at)
          this.#left -= step
          at += step
          continue
        }
        const isHeld = this.#heldBytes > 0
        let line: Buffer
        if (isHeld) {
          const step = Math.min(this.#wanted - this.#heldBytes, bytes.length - at)
          this.#hold(bytes.subarray(at, at + step))
          from = at += step
          if (this.#heldBytes < this.#wanted) break
          line = Buffer.concat(this.#held)
          this.#held = []
          this.#heldBytes = 0
        } else line = bytes.subarray(at)
        const wanted = wantedOf(line, reading)
        if (line.length < wanted) {
          if (!isHeld) cut()
          if (!isHeld) from = at = bytes.length
          this.#hold(line)
          this.#wanted = wanted
          continue
        }
        const length = line.toString('latin1', 0, 4) === 'PACK' ? Number.POSITIVE_INFINITY : lengthOf(line)
        const isPack = length > 4 && (length === Number.POSITIVE_INFINITY || (reading.bands !== null && line[4] === 1))
        if (isPack) {
          this.isBanded ||= reading.bands !== null
          this.#left = length - (isHeld ? line.length : 0)
          if (isHeld) out(line)
          continue
        }
        const own = line.subarray(0, Math.max(length, 4))
        const fit = this.#fit(own, length, reading)
        if (isHeld) out(fit)
        else if (fit === own) at += own.length
        else {
          cut()
          out(fit)
          from = at += own.length
        }
        if (length > 0) continue
        this.isBanded = false
        return bytes.subarray(at)
      }
      return undefined
    } finally {
      cut()
    }
  }

  #hold(bytes: Buffer): undefined {
    this.#held.push(Buffer.from(bytes)) // a copy: what it was cut from may be large
    this.#heldBytes += bytes.length
  }

  #fit(line: Buffer, length: number, { bands, line: take }: Reading): Buffer {
    if (length === 0) return this.#ended(line, bands)
    if (length <= 4) return line
    const payload = line.subarray(4)
    const band = payload[0]!
    if (bands !== null && (band === 2 || band === 3)) return this.#band(line, band, bands)
    if (isError(payload)) this.#said(payload.subarray(4))
    else take?.(payload)
    const fit = forTerminal(payload)
    return fit === payload ? line : dataLine(fit.subarray(0, maxPayload))
  }

  #band(line: Buffer, band: 2 | 3, most: number): Buffer {
    this.isBanded = true
    const words = line.subarray(5)
    if (words.length === 0) return line
    this.#said(words)
    const fit = this.#words.clean(words)
    if (band === 3) return Buffer.concat(banded(3, Buffer.concat([fit, this.#words.end()]), most))
    return fit === words ? line : Buffer.concat(banded(2, fit, most))
  }

  #ended(line: Buffer, bands: number | null): Buffer {
    const rest = this.#words.end()
    return rest.length === 0 || bands === null ? line : Buffer.concat([...banded(2, rest, bands), flushLine])
  }
}

/** How much of the line that begins here must be there to know what becomes of it. @throws WireError */
function wantedOf(line: Buffer, { bands, isRaw }: Reading): number {
  if (line.length < 4) return 4
  if (isRaw === true && line.toString('latin1', 0, 4) === 'PACK') return 4
  const length = lengthOf(line)
  if (length <= 4) return 4
  if (bands !== null && (line.length < 5 || line[4] === 1)) return 5
  return length
}
