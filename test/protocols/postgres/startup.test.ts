import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { int32 } from '../../../src/protocols/postgres/messages.ts'
import { Negotiation, startupMessage } from '../../../src/protocols/postgres/startup.ts'

const ssl = Buffer.concat([int32(8), int32(80_877_103)])
const gss = Buffer.concat([int32(8), int32(80_877_104)])
const start = (parameters: Record<string, string>) => new Negotiation().step(startupMessage(parameters))

describe('what comes before a login', () => {
  test('encryption is negotiated: GSSENC declined, then TLS, then the startup message', () => {
    const negotiation = new Negotiation()
    expect(negotiation.step(gss)).toEqual({ kind: 'decline' })
    expect(negotiation.step(ssl)).toEqual({ kind: 'upgrade' })
    expect(negotiation.step(startupMessage({ user: 'tkt_1', database: 'shop' }))).toMatchObject({
      kind: 'startup',
      startup: { user: 'tkt_1', database: 'shop', settings: {} },
    })
  })

  test('byte by byte it is the same', () => {
    const negotiation = new Negotiation()
    const bytes = startupMessage({ user: 'u', application_name: 'psql', DateStyle: 'ISO, MDY' })
    const events = [...bytes].map(byte => negotiation.step(Buffer.of(byte))).filter(e => e !== undefined)
    expect(events).toHaveLength(1)
    expect(events[0]).toMatchObject({
      kind: 'startup',
      startup: { application: 'psql', settings: { DateStyle: 'ISO, MDY' } },
    })
  })

  test('PG8: bytes stuffed behind a request for encryption close the connection', () => {
    for (const request of [ssl, gss]) {
      expect(new Negotiation().step(Buffer.concat([request, Buffer.from('Q')]))).toMatchObject({ kind: 'close' })
    }
  })

  test('TLS inside of TLS, and asking for ever, close the connection', () => {
    const twice = new Negotiation()
    twice.step(ssl)
    expect(twice.step(ssl)).toMatchObject({ kind: 'close' })
    const forever = new Negotiation()
    forever.step(gss)
    forever.step(gss)
    expect(forever.step(gss)).toMatchObject({ kind: 'close' })
  })

  test('PG7: options, role, search_path and replication are refused by name', () => {
    for (const [name, value] of Object.entries({
      options: '-c role=admin',
      role: 'admin',
      search_path: 'evil',
      replication: 'database',
      session_authorization: 'x',
      'a"b': 'c',
    })) {
      const event = start({ user: 'u', [name]: value })
      expect(event, name).toMatchObject({ kind: 'refuse', sqlstate: '42501' })
    }
    expect(start({ user: 'u', options: '' })).toMatchObject({ kind: 'startup' })
  })

  test('PG16: another client_encoding than UTF8 is refused', () => {
    expect(start({ user: 'u', client_encoding: 'SJIS' })).toMatchObject({ kind: 'refuse', sqlstate: '22023' })
    for (const value of ['UTF8', 'utf-8', "'utf-8'", 'UNICODE'])
      expect(start({ user: 'u', client_encoding: value })).toMatchObject({ kind: 'startup' })
  })

  test('a value that could carry something else is refused', () => {
    expect(start({ user: 'u', TimeZone: "x'; drop" })).toMatchObject({ kind: 'refuse' })
    expect(start({ user: 'u', statement_timeout: '1s' })).toMatchObject({ kind: 'refuse' })
  })

  test('a parameter that comes twice, also in another case, is refused', () => {
    const pairs = Buffer.from('user\0a\0USER\0b\0\0')
    expect(new Negotiation().step(Buffer.concat([int32(pairs.length + 8), int32(196_608), pairs]))).toMatchObject({
      kind: 'refuse',
    })
  })

  test('a newer minor version is negotiated down to 3.0, another major version is refused', () => {
    const pairs = Buffer.from('user\0a\0_pq_.x\0y\0\0')
    const newer = new Negotiation().step(Buffer.concat([int32(pairs.length + 8), int32(196_610), pairs]))
    expect(newer).toMatchObject({ kind: 'startup' })
    expect(newer?.kind === 'startup' && newer.startup.negotiate?.toString('latin1')).toContain('_pq_.x')
    expect(new Negotiation().step(Buffer.concat([int32(9), int32(131_072), Buffer.of(0)]))).toMatchObject({
      kind: 'refuse',
      sqlstate: '0A000',
    })
  })

  test('a cancel request carries its key as it came', () => {
    const event = new Negotiation().step(Buffer.concat([int32(16), int32(80_877_102), int32(77), int32(-5)]))
    expect(event).toEqual({ kind: 'cancel', connection: 77, key: int32(-5) })
  })

  test('PG9: lengths that no first message has close the connection', () => {
    for (const length of [-1, 0, 7, 10_001, 0x47455420]) {
      expect(new Negotiation().step(Buffer.concat([int32(length), Buffer.alloc(4)]))).toMatchObject({ kind: 'close' })
    }
  })

  test('hostile bytes end in an event or wait for more, and never throw', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 100 }),
        fc.constantFrom(196_608, 80_877_102, 80_877_103, 131_072),
        (bytes, version) => {
          const body = Buffer.from(bytes)
          new Negotiation().step(Buffer.concat([int32(body.length + 8), int32(version), body]))
        },
      ),
      { numRuns: 2000 },
    )
  })
})
