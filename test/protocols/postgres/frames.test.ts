import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FrameError, FrameReader, HeldBytes } from '../../../src/protocols/postgres/frames.ts'
import {
  Body,
  decodeError,
  decodeRowDescription,
  encodeError,
  errorResponse,
  frame,
  int16,
  int32,
} from '../../../src/protocols/postgres/messages.ts'

const limit = 1000

function collector(streamed = 0) {
  const frames: string[] = []
  const pieces: Buffer[] = []
  let refuse = 0
  const reader = new FrameReader(
    {
      frame: (_type, buffer, start, end) => {
        if (refuse-- > 0) return false
        frames.push(buffer.toString('hex', start, end))
        return true
      },
      piece: (_type, buffer, start, end) => void pieces.push(Buffer.from(buffer.subarray(start, end))),
      streams: type => type === streamed,
      drained: () => {},
    },
    limit,
  )
  return { reader, frames, pieces, refuseNext: (n: number) => void (refuse = n) }
}

const someFrames = fc.array(
  fc
    .tuple(fc.integer({ min: 0x41, max: 0x7a }), fc.uint8Array({ maxLength: 300 }))
    .map(([t, b]) => frame(t, Buffer.from(b))),
  { minLength: 1, maxLength: 6 },
)

describe('frames', () => {
  test('split at every byte, the frames are the same', () => {
    fc.assert(
      fc.property(someFrames, frames => {
        const all = Buffer.concat(frames)
        for (let cut = 0; cut <= all.length; cut++) {
          const { reader, frames: got } = collector()
          reader.push(all.subarray(0, cut))
          reader.push(all.subarray(cut))
          expect(got).toEqual(frames.map(f => f.toString('hex')))
        }
      }),
      { numRuns: 20 },
    )
  })

  test('in chunks of any size, with stops in between, nothing is lost or doubled', () => {
    fc.assert(
      fc.property(
        someFrames,
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 50 }),
        fc.nat(3),
        (frames, sizes, stops) => {
          const all = Buffer.concat(frames)
          const { reader, frames: got, refuseNext } = collector()
          refuseNext(stops)
          for (let at = 0, i = 0; at < all.length; i++) {
            const size = sizes[i % sizes.length]!
            reader.push(all.subarray(at, at + size))
            at += size
          }
          for (let i = 0; i <= stops; i++) reader.resume()
          expect(got).toEqual(frames.map(f => f.toString('hex')))
          expect(reader.held).toBe(0)
        },
      ),
    )
  })

  test('a length below four, a negative one and one beyond the limit are refused', () => {
    for (const length of [-2147483648, -1, 0, 3, limit + 1, 2147483647]) {
      const { reader } = collector()
      expect(() => reader.push(Buffer.concat([Buffer.of(0x51), int32(length)]))).toThrow(FrameError)
    }
  })

  test('a whole frame beyond the limit is refused as well', () => {
    expect(() => collector().reader.push(frame(0x51, Buffer.alloc(limit + 1)))).toThrow(FrameError)
  })

  test('a type that streams may be longer than the limit, and its bytes stay the same', () => {
    const long = frame(0x64, Buffer.alloc(limit * 5, 7))
    const { reader, pieces, frames } = collector(0x64)
    for (let at = 0; at < long.length; at += 333) reader.push(long.subarray(at, at + 333))
    reader.push(frame(0x51, 'x'))
    expect(Buffer.concat(pieces).equals(long)).toBe(true)
    expect(frames).toHaveLength(1)
    expect(reader.streaming).toBe(false)
  })

  test('hostile bytes either give frames or a FrameError, and never run out of bounds', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), bytes => {
        try {
          collector(0x64).reader.push(Buffer.from(bytes))
        } catch (error) {
          expect(error).toBeInstanceOf(FrameError)
        }
      }),
      { numRuns: 2000 },
    )
  })
})

describe('bodies', () => {
  test('decode ∘ encode of errors is the identity', () => {
    const letter = fc.constantFrom(...'SVCMDHPpqWstcdnFLR')
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.tuple(letter, fc.string({ unit: 'grapheme' })), { selector: e => e[0] }),
        entries => {
          const fields = new Map(entries.map(([k, v]) => [k, v.replaceAll('\0', '').toWellFormed()]))
          const encoded = encodeError(0x45, fields)
          expect(decodeError(encoded, 0, encoded.length)).toEqual(fields)
        },
      ),
    )
  })

  test('a row description is read to its end, and refused when cut at any place', () => {
    const whole = frame(0x54, int16(1), 'ssn', 0, int32(16_400), int16(3), int32(25), int16(-1), int32(-1), int16(1))
    expect(decodeRowDescription(whole, 0, whole.length)).toEqual([
      { name: 'ssn', tableOid: 16_400, attnum: 3, typeOid: 25, format: 1 },
    ])
    for (let cut = 5; cut < whole.length; cut++) expect(() => decodeRowDescription(whole, 0, cut)).toThrow()
  })

  test('a string without an end, a negative length and bytes left over are refused', () => {
    const body = (...parts: Buffer[]) => new Body(Buffer.concat(parts), 0, Buffer.concat(parts).length)
    expect(() => body(Buffer.from('abc')).cstring()).toThrow('no end')
    expect(() => body(Buffer.alloc(4)).bytes(-1)).toThrow('negative')
    expect(() => body(Buffer.alloc(4)).bytes(5)).toThrow('too early')
    expect(() => body(Buffer.alloc(1)).done()).toThrow('too many')
    expect(() => body(Buffer.from([0x95, 0x5c, 0])).text()).toThrow('UTF-8')
  })

  test('an error of ours cannot be cut short by a zero byte in it', () => {
    const bytes = errorResponse('ERROR', '42501', 'a\0b', 'c')
    expect(decodeError(bytes, 0, bytes.length).get('M')).toBe('ab')
    expect(decodeError(bytes, 0, bytes.length).get('D')).toBe('c')
  })
})

describe('frames that are not complete', () => {
  const sink = { frame: () => true, piece: () => {}, streams: () => false, drained: () => {} }
  const begun = (bytes: number) => {
    const head = Buffer.alloc(bytes)
    head[0] = 0x51
    head.writeInt32BE(16 * 1024 * 1024, 1)
    return head
  }

  test('keep no more than a budget in a process; short ones are not counted, and room comes back', () => {
    const budget = new HeldBytes(1024 * 1024)
    const readers = Array.from({ length: 4 }, () => new FrameReader(sink, 32 * 1024 * 1024, budget))
    for (const reader of readers.slice(0, 3)) reader.push(begun(300 * 1024))
    expect(() => readers[3]!.push(begun(300 * 1024))).toThrow('too many long messages')
    new FrameReader(sink, 32 * 1024 * 1024, budget).push(begun(60 * 1024))
    readers[0]!.release()
    new FrameReader(sink, 32 * 1024 * 1024, budget).push(begun(300 * 1024))
    const whole = new FrameReader(sink, 32 * 1024 * 1024, new HeldBytes(400 * 1024))
    const short = Buffer.alloc(300 * 1024 + 1)
    short[0] = 0x51
    short.writeInt32BE(300 * 1024, 1)
    for (let i = 0; i < 5; i++) {
      whole.push(short.subarray(0, 200 * 1024))
      whole.push(short.subarray(200 * 1024))
    }
    expect(whole.held).toBe(0)
  })
})
