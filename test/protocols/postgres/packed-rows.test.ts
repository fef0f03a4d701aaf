import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BodyError } from '../../../src/protocols/postgres/messages.ts'
import { PackedRows } from '../../../src/protocols/postgres/packed-rows.ts'
import { packEvent, unpackEvents } from '../../../src/recording/events.ts'

function dataRow(values: readonly (Buffer | null)[]): Buffer {
  const parts: Buffer[] = [Buffer.from([values.length >> 8, values.length])]
  for (const value of values) {
    const length = Buffer.alloc(4)
    length.writeInt32BE(value === null ? -1 : value.length)
    parts.push(length, ...(value === null ? [] : [value]))
  }
  return Buffer.concat(parts)
}

function kept(rows: readonly (readonly (Buffer | null)[])[], binary = false): unknown {
  const packed = new PackedRows()
  for (const row of rows) {
    const body = dataRow(row)
    packed.add(Buffer.concat([Buffer.from('xyz'), body, Buffer.from('!')]), 3, 3 + body.length, () => binary)
  }
  const event = {
    conn: 'con_1',
    kind: 'rows',
    body: { columns: ['a'] },
    packed: { name: 'values', bytes: packed.taken() },
  }
  const [read] = unpackEvents(packEvent(event, 7, 9))
  expect(read).toMatchObject({ t: 9, seq: 7, conn: 'con_1', kind: 'rows', columns: ['a'] })
  return read!['values']
}

test('rows come out of the journal as the texts that went over the wire', () => {
  const value = fc.option(fc.string({ unit: 'binary', maxLength: 300 }))
  fc.assert(
    fc.property(fc.array(fc.array(value, { maxLength: 20 }), { maxLength: 30 }), rows => {
      expect(kept(rows.map(row => row.map(text => (text === null ? null : Buffer.from(text)))))).toEqual(
        rows.map(row => row.map(text => (text === null ? null : text.toWellFormed()))),
      )
    }),
  )
})

test('a long value is cut at a character, a binary one shown in hexadecimal, and broken text with replacement marks', () => {
  const long = Buffer.from('é'.repeat(3000))
  expect(kept([[Buffer.concat([Buffer.from('x'), long])]])).toEqual([[`x${'é'.repeat(2047)}… (6001 bytes)`]])
  expect(kept([[Buffer.from([0, 255, 16])]], true)).toEqual([['\\x00ff10']])
  expect(kept([[Buffer.from([0x61, 0xff, 0x62])]])).toEqual([['a\ufffdb']])
  expect(kept([[Buffer.alloc(100, 0xff)]])).toEqual([['\ufffd'.repeat(100)]])
})

test('a row that is not whole is refused', () => {
  const body = dataRow([Buffer.from('abc')])
  for (const bad of [body.subarray(0, 1), body.subarray(0, 5), body.subarray(0, -1)]) {
    expect(() => new PackedRows().add(bad, 0, bad.length, () => false)).toThrow(BodyError)
  }
})

test('an event holds a packed member beside many others, and refuses one that stands there already', () => {
  const packed = { name: 'values', bytes: Buffer.from([0x90]) }
  const many = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`m${i}`, i]))
  const [read] = unpackEvents(packEvent({ conn: 'c', kind: 'rows', body: many, packed }, 1, 1))
  expect(read).toEqual({ ...many, values: [], conn: 'c', kind: 'rows', seq: 1, t: 1 })
  const doubled = { conn: 'c', kind: 'rows', body: { values: [] }, packed }
  expect(() => packEvent(doubled, 1, 1)).toThrow(RangeError)
})
