import { describe, expect, test } from 'vitest'
import {
  dataLine,
  encode,
  maxPayload,
  type Pkt,
  PktReader,
  WireError,
} from '../../../src/protocols/git/pack/pkt-line.ts'

const lines: readonly Pkt[] = [
  { kind: 'data', payload: Buffer.from('want 1\n') },
  { kind: 'delim' },
  { kind: 'data', payload: Buffer.alloc(0) },
  { kind: 'data', payload: Buffer.alloc(maxPayload, 7) },
  { kind: 'end' },
  { kind: 'flush' },
]
const wire = Buffer.concat(lines.map(encode))

function readAll(...chunks: Buffer[]): Pkt[] {
  const reader = new PktReader()
  const found: Pkt[] = []
  for (const chunk of chunks) reader.read(chunk, pkt => void found.push(pkt))
  expect(reader.isBetween).toBe(true)
  return found
}

describe('pkt-line', () => {
  test('what was written is read again, and written again the same', () => {
    expect(readAll(wire)).toEqual(lines)
    expect(Buffer.concat(readAll(wire).map(encode)).equals(wire)).toBe(true)
  })

  test('a split at any byte gives the same lines', () => {
    const short = Buffer.concat([
      dataLine('a\n'),
      encode({ kind: 'flush' }),
      dataLine(''),
      dataLine('bcd'),
      encode({ kind: 'delim' }),
    ])
    const whole = readAll(short)
    for (let at = 0; at <= short.length; at++) expect(readAll(short.subarray(0, at), short.subarray(at))).toEqual(whole)
    expect(readAll(...[...short].map(byte => Buffer.of(byte)))).toEqual(whole)
  })

  test('what follows the line where reading stops is handed back untouched', () => {
    const reader = new PktReader()
    const behind = reader.read(Buffer.concat([dataLine('x'), encode({ kind: 'flush' }), Buffer.from('PACK\0')]), pkt =>
      pkt.kind === 'flush' ? 'stop' : undefined,
    )
    expect(behind?.toString()).toBe('PACK\0')
  })

  test.each(['0003', 'fff1', 'ffff', 'xyz1', '-001', '+004', ' 004', '0x0a', '\0\0\0\0'])(
    'a length that is none, or too long, is refused: %j',
    digits => {
      expect(() => new PktReader().read(Buffer.from(digits), () => undefined)).toThrow(WireError)
    },
  )
})
