import { dataLine, flushLine, maxPayload } from './pkt-line.ts'

/** Bands of side-band-64k: 1 is what was asked for, 2 is for the person, 3 is the last word. */
export function banded(band: 1 | 2 | 3, bytes: Buffer): Buffer[] {
  const pieces: Buffer[] = []
  for (let at = 0; at < bytes.length; at += maxPayload - 1)
    pieces.push(dataLine(Buffer.concat([Buffer.of(band), bytes.subarray(at, at + maxPayload - 1)])))
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

/** Says that we live while a person waits. */
export const keepAlive = dataLine(Buffer.of(2))
export { flushLine }
