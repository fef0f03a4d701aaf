import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { unpackEvents } from '../../src/recording/events.ts'
import {
  clearFrame,
  frameKind,
  journalMagic,
  openRecord,
  parseFrame,
  payloadOf,
} from '../../src/recording/format/frames.ts'
import { type Seal, sealHash } from '../../src/recording/format/seal.ts'
import { hashOf, openEvents, parseSegment } from '../../src/recording/format/segment.ts'
import { buildPart, fixedEvent, fixedKey, fixedPart, fixedRecord } from './built-part.ts'

const folder = join(import.meta.dirname, '../vectors/recording')

/** The vectors are the format: what differs from them is a break of what is stored already. Key: 32 bytes of 7. */
const vector = (name: string): Buffer => readFileSync(join(folder, name))

const journal = () =>
  Buffer.concat([
    journalMagic,
    clearFrame(frameKind.part, fixedPart, 1, Buffer.from('{"v":1}')),
    fixedRecord(0, 1, 2),
    fixedRecord(1, 3, 1),
    clearFrame(frameKind.end, fixedPart, 4, Buffer.from('{"ending":"clean"}')),
  ])

describe('the formats that outlive the program', () => {
  test('an event is four bytes of length and plain MessagePack', () => {
    expect(fixedEvent(1).toString('hex')).toBe(readFileSync(join(folder, 'event.hex'), 'utf8').trim())
  })

  test('a journal is byte for byte what the vector says', () => {
    expect(journal().toString('hex')).toBe(vector('journal.bin').toString('hex'))
  })

  test('the frames of the journal vector open with its key', () => {
    const bytes = vector('journal.bin')
    let at = journalMagic.length
    const kinds: number[] = []
    const texts: unknown[] = []
    while (at < bytes.length) {
      const parsed = parseFrame(bytes, at)
      if (!('frame' in parsed)) throw new Error('no frame')
      kinds.push(parsed.frame.kind)
      if (parsed.frame.kind === frameKind.record)
        texts.push(...unpackEvents(openRecord(fixedKey, parsed.frame)).map(e => e['text']))
      else expect(payloadOf(parsed.frame).toString()).toMatch(/^\{/)
      at += parsed.frame.bytes.length
    }
    expect(kinds).toEqual([1, 2, 2, 3])
    expect(texts).toEqual(['select 1', 'select 2', 'select 3'])
  })

  test('a sealed segment of the vector opens with its key, whatever this brotli would write', async () => {
    const bytes = vector('events.seg')
    const segment = parseSegment(bytes)
    expect(segment).toMatchObject({ kind: 'events', n: 1, first_seq: 3, last_seq: 4, nonce: 1 })
    expect(segment.prev).toMatch(/^[0-9a-f]{64}$/)
    expect(unpackEvents(await openEvents(fixedKey, segment)).map(event => event.seq)).toEqual([3, 4])
  })

  test('a segment of the originals layer says so in its header, which its key covers', async () => {
    const bytes = vector('originals.seg')
    const segment = parseSegment(bytes)
    expect(segment).toMatchObject({ kind: 'events', layer: 'originals', n: 0, first_seq: 1, last_seq: 2, prev: '' })
    expect(unpackEvents(await openEvents(fixedKey, segment)).map(event => event.seq)).toEqual([1, 2])
    const masked = Buffer.from(bytes)
    masked[11] = 0
    await expect(openEvents(fixedKey, parseSegment(masked))).rejects.toThrow()
    masked[11] = 2
    expect(() => parseSegment(masked)).toThrow('unknown layer')
  })

  test('a segment of copied records is byte for byte what the vector says, but for the chain', async () => {
    const part = await buildPart()
    const made = part.segments[3]!.stored
    const bytes = vector('records.seg')
    expect(Buffer.concat([bytes.subarray(0, 56), bytes.subarray(88)])).toEqual(
      Buffer.concat([made.subarray(0, 56), made.subarray(88)]),
    )
  })

  test('a seal has the hash that the vector says', () => {
    const { seal, seal_hash } = JSON.parse(readFileSync(join(folder, 'seal.json'), 'utf8')) as {
      seal: Seal
      seal_hash: string
    }
    expect(sealHash(seal)).toBe(seal_hash)
    expect(sealHash({ ...seal, former: hashOf(Buffer.alloc(0)) })).not.toBe(seal_hash)
  })
})
