import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Flow } from '../../../src/protocols/ssh/relay/flow.ts'
import { M, readData } from '../../../src/protocols/ssh/relay/messages.ts'
import type { Transport } from '../../../src/protocols/ssh/transport.ts'
import { FieldError } from '../../../src/protocols/ssh/wire/fields.ts'

const worthSaying = 64 * 1024

/** A sender and a receiver that keep to their windows to the byte, and the flow between them. */
function between(window: number, packet: number) {
  let mayTake = window
  let unread = 0
  const taken: Buffer[] = []
  const messages: string[] = []
  const state = { maySend: window, taken, sent: 0 }
  const from = { send: (payload: Buffer) => void (state.maySend += payload.readUInt32BE(5)) }
  const to = {
    sendPieces: (pieces: readonly Buffer[], length: number) => {
      const payload = Buffer.concat(pieces)
      const { bytes, code } = readData(payload)
      if (
        payload.length !== length ||
        payload[0] !== (code === null ? M.data : M.extendedData) ||
        bytes.length > mayTake ||
        bytes.length > packet
      )
        throw new Error(`${bytes.length} bytes, where the window is ${mayTake} and a packet has ${packet}`)
      mayTake -= bytes.length
      unread += bytes.length
      taken.push(Buffer.from(bytes))
      messages.push(`${code ?? 'data'}: ${bytes}`)
    },
  }
  const flow = new Flow(from as unknown as Transport, to as unknown as Transport)
  flow.terms(window, packet)
  flow.ids(1, 2)
  const read = (bytes: number) => {
    const now = Math.min(bytes, unread)
    if (now === 0) return
    unread -= now
    mayTake += now
    flow.adjusted(now)
  }
  return { flow, state, messages, read, readAll: () => read(unread), unread: () => unread }
}

function inPieces(bytes: number): Buffer[] {
  const first = bytes >>> 2
  return [Buffer.alloc(first), Buffer.alloc(0), Buffer.alloc(bytes - first)]
}

const step = fc.oneof(
  fc.record({ what: fc.constant('send' as const), bytes: fc.nat(5000), becomes: fc.nat(6000) }),
  fc.record({ what: fc.constant('inject' as const), bytes: fc.nat(500) }),
  fc.record({ what: fc.constant('read' as const), bytes: fc.nat(8000) }),
)

describe('the windows of a direction', () => {
  test('nothing is lost, nothing is sent beyond a window, and in the end the sender has what it had', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 500, max: 200_000 }),
        fc.integer({ min: 200, max: 5000 }),
        fc.array(step),
        (window, packet, steps) => {
          const { flow, state, read, readAll, unread } = between(window, packet)
          let expected = 0
          for (const each of steps) {
            if (each.what === 'read') read(each.bytes)
            else if (each.what === 'inject') {
              flow.inject(Buffer.alloc(each.bytes))
              expected += each.bytes
            } else {
              const sent = Math.min(each.bytes, state.maySend)
              state.maySend -= sent
              flow.received(sent)
              flow.change(sent, inPieces(each.becomes))
              expected += each.becomes
            }
          }
          while (unread() > 0) readAll()
          expect(state.taken.reduce((sum, bytes) => sum + bytes.length, 0)).toBe(expected)
          // Less what is not worth a message yet; that never stops a sender.
          expect(state.maySend).toBeLessThanOrEqual(window)
          if (window <= worthSaying) expect(state.maySend).toBe(window)
          else expect(state.maySend).toBeGreaterThan(window - worthSaying)
        },
      ),
      { numRuns: 200 },
    )
  })

  test('a whole packet of 256 KiB passes a window of 1 KiB, though none of it goes on before its end', () => {
    const { flow, state, readAll, unread } = between(1024, 512)
    const whole = 256 * 1024
    for (let sent = 0; sent < whole; ) {
      const now = Math.min(state.maySend, whole - sent)
      expect(now).toBeGreaterThan(0)
      state.maySend -= now
      sent += now
      flow.received(now)
      flow.change(now, sent === whole ? [Buffer.alloc(whole)] : [])
    }
    while (unread() > 0) readAll()
    expect(state.taken.reduce((sum, bytes) => sum + bytes.length, 0)).toBe(whole)
    expect(state.maySend).toBe(1024)
  })

  test('pieces go on in messages as large as the receiver takes, in order, each of one stream', () => {
    const { flow, messages, readAll } = between(8, 5)
    flow.change(0, [Buffer.from('abc'), Buffer.from('defg')])
    flow.inject(Buffer.from('!!'), 1)
    flow.change(0, [Buffer.from('hi')])
    expect(messages).toEqual(['data: abcde', 'data: fg', '1: !'])
    readAll()
    expect(messages.slice(3)).toEqual(['1: !', 'data: hi'])
  })

  test('who sends more than was granted is cut', () => {
    const { flow } = between(1024, 512)
    flow.received(1000)
    expect(() => flow.received(25)).toThrow(FieldError)
  })

  test('what waits for a receiver that takes nothing is bounded', () => {
    const { flow } = between(0, 512)
    expect(() => {
      for (let i = 0; i < 100; i++) flow.inject(Buffer.alloc(100_000))
    }).toThrow('more was to be sent than the receiver takes')
  })

  test('neither messages without a byte nor requests pile up behind bytes that wait', () => {
    const { flow, messages, readAll } = between(10, 10)
    flow.inject(Buffer.alloc(15), 1) // words of ours, to who reads nothing
    const payload = Buffer.concat([Buffer.of(M.data), Buffer.alloc(8)])
    for (let i = 0; i < 100_000; i++) flow.pass(payload, Buffer.alloc(0), null)
    let told = 0
    const ask = () => flow.after(() => void told++)
    for (let i = 0; i < 65_535; i++) ask()
    expect(ask).toThrow(FieldError)
    readAll()
    expect(messages).toHaveLength(2)
    expect(told).toBe(65_535)
  })

  test('what comes behind bytes that wait stays behind them: an end is never earlier than what it ends', () => {
    const { flow, state, readAll } = between(100, 512)
    flow.inject(Buffer.alloc(250))
    let seen: number | undefined
    flow.after(() => {
      seen = state.taken.reduce((sum, bytes) => sum + bytes.length, 0)
    })
    readAll()
    expect(seen).toBeUndefined()
    readAll()
    expect(seen).toBe(250)
  })

  test('a receiver that was told CLOSE gets nothing more, and a sender that was told so no window', () => {
    const { flow, state } = between(100, 512)
    flow.inject(Buffer.alloc(150))
    let over = 0
    flow.after(() => over++)
    flow.receiverIsClosed()
    flow.inject(Buffer.alloc(10))
    flow.adjusted(1000)
    expect([over, state.taken.length]).toEqual([1, 1])
    const before = state.maySend
    flow.senderIsClosed()
    flow.adjusted(1000)
    expect(state.maySend).toBe(before)
  })

  test('a sender is lent a few bytes before its receiver takes any, once, and is granted so much less later', () => {
    const given: number[] = []
    const sent: number[] = []
    const from = { send: (payload: Buffer) => void given.push(payload.readUInt32BE(5)) }
    const to = { sendPieces: (_: readonly Buffer[], length: number) => void sent.push(length - 9) }
    const flow = new Flow(from as unknown as Transport, to as unknown as Transport)
    flow.terms(0, 512)
    flow.ids(1, 2)
    flow.lend(100)
    flow.lend(100)
    flow.received(60)
    flow.forward(Buffer.alloc(60))
    expect([given, sent]).toEqual([[100], []])
    flow.adjusted(200)
    expect([given, sent]).toEqual([[100, 100], [60]])
    expect(() => flow.received(141)).toThrow(FieldError)
    const open = between(1024, 512)
    open.flow.lend(100) // it has something to send with
    expect(open.state.maySend).toBe(1024)
  })

  test('a window beyond what there may be is refused', () => {
    const { flow } = between(1024, 512)
    expect(() => flow.adjusted(0xffff_ffff)).toThrow('a window larger than there may be')
  })
})
