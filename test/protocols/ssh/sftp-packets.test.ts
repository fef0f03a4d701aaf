import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { PacketReader } from '../../../src/protocols/ssh/sftp/packet-reader.ts'
import { decodePacket, encodePacket, maxPacketBytes } from '../../../src/protocols/ssh/sftp/packets.ts'
import { FieldError, u8, u32 } from '../../../src/protocols/ssh/wire/fields.ts'
import { somePacket } from './sftp-kit.ts'

describe('SFTP packets', () => {
  test('decode ∘ encode is the identity, and encode ∘ decode gives the same bytes', () => {
    fc.assert(
      fc.property(somePacket, packet => {
        const bytes = encodePacket(packet)
        expect(decodePacket([bytes])).toEqual(packet)
        expect(encodePacket(decodePacket([bytes])).equals(bytes)).toBe(true)
      }),
      { numRuns: 500 },
    )
  })

  test('split at every byte, the packets are the same', () => {
    fc.assert(
      fc.property(fc.array(somePacket, { minLength: 1, maxLength: 4 }), packets => {
        const frames = packets.map(encodePacket)
        const all = Buffer.concat(frames)
        for (let cut = 0; cut <= all.length; cut++) {
          const reader = new PacketReader()
          const got = [...reader.push(all.subarray(0, cut)), ...reader.push(all.subarray(cut))]
          expect(got.map(each => Buffer.concat(each).toString('hex'))).toEqual(frames.map(each => each.toString('hex')))
          expect(reader.held).toBe(0)
        }
      }),
      { numRuns: 15 },
    )
  })

  test('byte by byte, nothing is lost', () => {
    fc.assert(
      fc.property(fc.array(somePacket, { minLength: 1, maxLength: 3 }), packets => {
        const all = Buffer.concat(packets.map(encodePacket))
        const reader = new PacketReader()
        const got = [...all].flatMap(byte => reader.push(Buffer.of(byte)))
        expect(got.map(decodePacket)).toEqual(packets)
      }),
      { numRuns: 30 },
    )
  })

  test('what a file holds stays in the pieces in which it came, and is not copied', () => {
    const data = Buffer.alloc(32_768, 'x')
    for (const packet of [
      { type: 'write', id: 1, handle: Buffer.from('h'), offset: 7n, data: [data] },
      { type: 'data', id: 1, data: [data] },
    ] as const) {
      const all = encodePacket(packet)
      for (const cut of [3, 5, 20, 285, 300, all.length - 1]) {
        const reader = new PacketReader()
        const [pieces] = [...reader.push(all.subarray(0, cut)), ...reader.push(all.subarray(cut))]
        const decoded = decodePacket(pieces!) as typeof packet
        expect(Buffer.concat(decoded.data).equals(data)).toBe(true)
        expect({ ...decoded, data: [] }).toEqual({ ...packet, data: [] })
        if (cut >= 285) expect(decoded.data.every(piece => piece.buffer === all.buffer)).toBe(true)
      }
      const short = [all.subarray(0, 300), all.subarray(300, all.length - 1)]
      expect(() => decodePacket(short)).toThrow(FieldError)
      expect(() => decodePacket([...short, Buffer.from('xy')])).toThrow(FieldError)
    }
  })

  test('a length of zero and one beyond the limit are refused before anything is kept', () => {
    for (const length of [0, maxPacketBytes + 1, 0xffffffff])
      expect(() => new PacketReader().push(u32(length))).toThrow(FieldError)
    const reader = new PacketReader()
    reader.push(Buffer.of(0xff, 0xff))
    expect(() => reader.push(Buffer.of(0xff, 0xff))).toThrow(FieldError)
  })

  test('unknown types, unknown attributes and trailing bytes are refused', () => {
    const packet = (...body: Buffer[]) => {
      const bytes = Buffer.concat(body)
      return Buffer.concat([u32(bytes.length), bytes])
    }
    for (const wrong of [
      packet(u8(21), u32(1)),
      packet(u8(0)),
      packet(u8(202), u32(1)),
      packet(u8(4), u32(1), u32(1), u8(9), u8(9)),
      packet(u8(105), u32(1), u32(0x10)),
      packet(u8(104), u32(1), u32(0xffffffff)),
      packet(u8(17), u32(1), u32(0xffffffff)),
      packet(u8(3), u32(1)),
    ])
      expect(() => decodePacket([wrong])).toThrow(FieldError)
  })
})
