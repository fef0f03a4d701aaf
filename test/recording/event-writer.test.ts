import { Packr } from 'msgpackr'
import { describe, expect, test } from 'vitest'
import { packEvent, unpackEvents } from '../../src/recording/events.ts'
import { EventWriter, maxEventBytes } from '../../src/recording/format/event-writer.ts'

const packr = new Packr({ useRecords: false, encodeUndefinedAsNil: true })

const bodies: [string, object][] = [
  ['nothing', {}],
  [
    'texts of every size of head',
    {
      a: '',
      b: 'x'.repeat(31),
      c: 'x'.repeat(32),
      d: 'x'.repeat(64),
      e: 'x'.repeat(65),
      f: 'x'.repeat(255),
      g: 'x'.repeat(256),
      h: 'x'.repeat(65_535),
      i: 'x'.repeat(65_536),
    },
  ],
  [
    'text whose head grows with its bytes',
    {
      a: 'é'.repeat(16),
      b: 'é'.repeat(31),
      c: '€'.repeat(90),
      d: '🙂'.repeat(64),
      e: 'é'.repeat(40_000),
      f: `${'x'.repeat(30)}é`,
    },
  ],
  [
    'whole numbers at each border',
    {
      n: [
        0,
        1,
        127,
        128,
        255,
        256,
        65_535,
        65_536,
        2 ** 32 - 1,
        2 ** 32,
        2 ** 53 - 1,
        -1,
        -32,
        -33,
        -128,
        -129,
        -32_768,
        -32_769,
        -(2 ** 31),
        -(2 ** 31) - 1,
      ],
    },
  ],
  ['fractions, and what is no number', { n: [0.5, -0.1, 1e300, Number.NaN, Number.POSITIVE_INFINITY] }],
  ['null, undefined, true and false', { a: null, b: undefined, c: true, d: false }],
  [
    'lists and objects inside of each other',
    {
      a: [],
      b: [[1], ['x', { y: null }]],
      c: { d: { e: {} } },
      f: Array.from({ length: 15 }, (_, i) => i),
      g: Array.from({ length: 16 }, (_, i) => i),
      h: Array.from({ length: 70_000 }, () => 0),
    },
  ],
  [
    'bytes, dates, sets and whole numbers past all borders',
    {
      a: Buffer.from('bytes'),
      b: new Uint8Array(300),
      c: new Date(1_700_000_000_000),
      d: new Set([1]),
      e: new Map([['k', 1]]),
      f: 2n ** 60n,
    },
  ],
]

describe('how an event is written', () => {
  test.each(bodies)('%s: the very bytes of a MessagePack library', (_, body) => {
    const map = { ...body, t: 5_000_000_000, conn: 'con_1', seq: 70_000, kind: 'statement' }
    const packed = packEvent({ conn: 'con_1', kind: 'statement', body }, 70_000, 5_000_000_000)
    expect(packed.readUInt32BE(0)).toBe(packed.length - 4)
    expect(packed.subarray(4).equals(packr.pack(map))).toBe(true)
  })

  test('the envelope wins over members of the body with its names', () => {
    const body = { t: 'x', kind: 'forged', seq: -1, conn: 'con_2', text: 'kept' }
    const [event] = unpackEvents(packEvent({ conn: 'con_1', kind: 'statement', body }, 1, 2))
    expect(event).toEqual({ t: 2, conn: 'con_1', seq: 1, kind: 'statement', text: 'kept' })
  })

  test('an event that is too long leaves nothing behind, and the next one stands where it would have stood', () => {
    const writer = new EventWriter()
    writer.write({ conn: 'c', kind: 'a', body: {} }, 1, 1)
    const { length } = writer
    const long = { conn: 'c', kind: 'b', body: { text: 'x'.repeat(maxEventBytes) } }
    expect(() => writer.write(long, 2, 1)).toThrow(RangeError)
    expect(writer.length).toBe(length)
    writer.write({ conn: 'c', kind: 'c', body: {} }, 2, 1)
    expect(unpackEvents(writer.written).map(event => event.kind)).toEqual(['a', 'c'])
  })

  test('a text with half of a surrogate pair is still a text', () => {
    const [event] = unpackEvents(packEvent({ conn: 'c', kind: 'k', body: { text: `a${'\ud800'}b` } }, 1, 1))
    expect(event!['text']).toBe('a\ufffdb')
  })
})
