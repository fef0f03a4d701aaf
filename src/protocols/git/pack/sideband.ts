import { dataLine, flushLine, maxPayload } from './pkt-line.ts'

/** Bands of side-band-64k: 1 is what was asked for, 2 is for the person, 3 is the last word. */
export function banded(band: 1 | 2 | 3, bytes: Buffer): Buffer[] {
  const pieces: Buffer[] = []
  for (let at = 0; at < bytes.length; at += maxPayload - 1)
    pieces.push(dataLine(Buffer.concat([Buffer.of(band), bytes.subarray(at, at + maxPayload - 1)])))
  return pieces
}

/** Says that we live while a person waits. */
export const keepAlive = dataLine(Buffer.of(2))
export { flushLine }
