import { dataLine, flushLine, maxPayload } from './pkt-line.ts'

/** The longest line of bands, with its band: of side-band-64k, and of the older side-band. */
export const mostOfBand = { 'side-band-64k': maxPayload, 'side-band': 996 } as const

/** Bands of side-band-64k: 1 is what was asked for, 2 is for the person, 3 is the last word. */
export function banded(band: 1 | 2 | 3, bytes: Buffer, most: number = maxPayload): Buffer[] {
  const pieces: Buffer[] = []
  for (let at = 0; at < bytes.length; at += most - 1)
    pieces.push(dataLine(Buffer.concat([Buffer.of(band), bytes.subarray(at, at + most - 1)])))
  return pieces
}

/** Of bytes read as latin1: colours, control characters, and those of two bytes that some terminals read as one. */
const unfit = /\x1b\[[0-9;]{0,32}m|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]/g

/** Colours are all that a server may do to the terminal of a person: git prints what it gets (CVE-2024-52005). */
export function forTerminal(bytes: Buffer): Buffer {
  const text = bytes.toString('latin1')
  const plain = text.replace(unfit, found => {
    if (found.startsWith('\x1b[')) return found
    return found.length > 1 ? '?' : `^${String.fromCharCode(found.charCodeAt(0) ^ 64)}`
  })
  return plain === text ? bytes : Buffer.from(plain, 'latin1')
}

/** The beginning of one of those, whose rest is still to come. */
const torn = /(?:\x1b(?:\[[0-9;]{0,32})?|\xc2)$/
const mostTorn = 34

/** The same for a text that comes in pieces: git puts them together again, and so would a terminal. */
export class TerminalText {
  #torn: Buffer = Buffer.alloc(0)

  /** @returns the very same bytes where there is nothing to do. */
  clean(bytes: Buffer): Buffer {
    const all = this.#torn.length === 0 ? bytes : Buffer.concat([this.#torn, bytes])
    const kept = torn.exec(all.toString('latin1', Math.max(0, all.length - mostTorn)))?.[0].length ?? 0
    this.#torn = Buffer.from(all.subarray(all.length - kept))
    return forTerminal(kept === 0 ? all : all.subarray(0, all.length - kept))
  }

  /** Nothing more comes of it. @returns what was kept back. */
  end(): Buffer {
    const rest = this.#torn[0] === 0xc2 ? Buffer.from('?') : forTerminal(this.#torn)
    this.#torn = Buffer.alloc(0)
    return rest
  }
}

/** Says that we live while a person waits. */
export const keepAlive = dataLine(Buffer.of(2))
export { flushLine }
