import { isUtf8 } from 'node:buffer'

/** Encoding and decoding of the messages' bodies (PostgreSQL manual, 55.7). Decoders are strict: a body is read to its end. */
export const code = (char: string) => char.charCodeAt(0)

/** Client messages. */
export const C = {
  bind: code('B'),
  close: code('C'),
  copyData: code('d'),
  copyDone: code('c'),
  copyFail: code('f'),
  describe: code('D'),
  execute: code('E'),
  flush: code('H'),
  functionCall: code('F'),
  parse: code('P'),
  password: code('p'),
  query: code('Q'),
  sync: code('S'),
  terminate: code('X'),
} as const

/** Server messages. */
export const S = {
  authentication: code('R'),
  backendKeyData: code('K'),
  bindComplete: code('2'),
  closeComplete: code('3'),
  commandComplete: code('C'),
  copyBoth: code('W'),
  copyData: code('d'),
  copyDone: code('c'),
  copyIn: code('G'),
  copyOut: code('H'),
  dataRow: code('D'),
  emptyQuery: code('I'),
  error: code('E'),
  functionCallResponse: code('V'),
  negotiateVersion: code('v'),
  noData: code('n'),
  notice: code('N'),
  notification: code('A'),
  parameterDescription: code('t'),
  parameterStatus: code('S'),
  parseComplete: code('1'),
  portalSuspended: code('s'),
  readyForQuery: code('Z'),
  rowDescription: code('T'),
} as const

export class BodyError extends Error {
  override readonly name = 'BodyError'
}

/** Reads a body to its end; every read is checked. */
export class Body {
  readonly #buffer: Buffer
  readonly #end: number
  #at: number

  constructor(buffer: Buffer, from: number, end: number) {
    this.#buffer = buffer
    this.#at = from
    this.#end = end
  }

  get left(): number {
    return this.#end - this.#at
  }

  byte(): number {
    return this.#buffer[this.#take(1)]!
  }

  int16(): number {
    return this.#buffer.readInt16BE(this.#take(2))
  }

  int32(): number {
    return this.#buffer.readInt32BE(this.#take(4))
  }

  uint32(): number {
    return this.#buffer.readUInt32BE(this.#take(4))
  }

  bytes(length: number): Buffer {
    if (length < 0) throw new BodyError('a field has a negative length')
    const from = this.#take(length)
    return this.#buffer.subarray(from, from + length)
  }

  rest(): Buffer {
    return this.bytes(this.left)
  }

  /** The bytes of a zero-terminated string, without the zero. */
  cstring(): Buffer {
    const zero = this.#buffer.indexOf(0, this.#at)
    if (zero < 0 || zero >= this.#end) throw new BodyError('a string has no end')
    const from = this.#at
    this.#at = zero + 1
    return this.#buffer.subarray(from, zero)
  }

  text(): string {
    return utf8(this.cstring())
  }

  done(): void {
    if (this.#at !== this.#end) throw new BodyError(`${this.left} bytes too many`)
  }

  #take(length: number): number {
    const from = this.#at
    if (this.#end - from < length) throw new BodyError('the message ends too early')
    this.#at = from + length
    return from
  }
}

/** PG16: what is not UTF-8 is refused; the parser and the server must see the same characters. */
export function utf8(bytes: Buffer): string {
  if (!isUtf8(bytes)) throw new BodyError('text that is not valid UTF-8')
  return bytes.toString('utf8')
}

/** A frame of a type and parts of its body. */
export function frame(type: number, ...parts: readonly (Buffer | string | number)[]): Buffer {
  let length = 4
  for (const part of parts)
    length += typeof part === 'number' ? 1 : typeof part === 'string' ? Buffer.byteLength(part) : part.length
  const out = Buffer.allocUnsafe(1 + length)
  out[0] = type
  out.writeInt32BE(length, 1)
  let at = 5
  for (const part of parts) {
    if (typeof part === 'number') out[at++] = part
    else if (typeof part === 'string') at += out.write(part, at)
    else {
      part.copy(out, at)
      at += part.length
    }
  }
  return out
}

export function int16(value: number): Buffer {
  const out = Buffer.allocUnsafe(2)
  out.writeInt16BE(value)
  return out
}

export function int32(value: number): Buffer {
  const out = Buffer.allocUnsafe(4)
  out.writeInt32BE(value)
  return out
}

/** ErrorResponse and NoticeResponse: the one-letter fields of the manual's 55.8. */
export type ErrorFields = ReadonlyMap<string, string>

export function encodeError(type: number, fields: ErrorFields): Buffer {
  const parts: (string | number)[] = []
  for (const [letter, value] of fields) parts.push(letter.charCodeAt(0), value.replaceAll('\0', ''), 0)
  return frame(type, ...parts, 0)
}

/** An ErrorResponse of ours. */
export function errorResponse(
  severity: 'ERROR' | 'FATAL',
  sqlstate: string,
  message: string,
  detail = '',
  hint = '',
): Buffer {
  const fields = new Map([
    ['S', severity],
    ['V', severity],
    ['C', sqlstate],
    ['M', message],
  ])
  if (detail !== '') fields.set('D', detail)
  if (hint !== '') fields.set('H', hint)
  return encodeError(S.error, fields)
}

/** Words of ours for the person, which change nothing. */
export function noticeResponse(message: string): Buffer {
  return encodeError(
    S.notice,
    new Map([
      ['S', 'NOTICE'],
      ['V', 'NOTICE'],
      ['C', '00000'],
      ['M', message],
    ]),
  )
}

/** Fields of an error or notice; text that is not UTF-8 is shown with replacement characters. */
export function decodeError(buffer: Buffer, start: number, end: number): Map<string, string> {
  const body = new Body(buffer, start + 5, end)
  const fields = new Map<string, string>()
  for (;;) {
    const letter = body.byte()
    if (letter === 0) break
    fields.set(String.fromCharCode(letter), body.cstring().toString('utf8'))
  }
  body.done()
  return fields
}

export function readyForQuery(status: number): Buffer {
  return frame(S.readyForQuery, status)
}

/** What a RowDescription says about one column. */
export interface Field {
  readonly name: string
  readonly tableOid: number
  readonly attnum: number
  readonly typeOid: number
  readonly format: number
}

export function decodeRowDescription(buffer: Buffer, start: number, end: number): Field[] {
  const body = new Body(buffer, start + 5, end)
  const count = body.int16()
  if (count < 0) throw new BodyError('a row description has a negative count')
  const fields: Field[] = []
  for (let i = 0; i < count; i++) {
    const name = body.cstring().toString('utf8')
    const tableOid = body.uint32()
    const attnum = body.int16()
    const typeOid = body.uint32()
    body.int16() // size of the type
    body.int32() // its modifier
    fields.push({ name, tableOid, attnum, typeOid, format: body.int16() })
  }
  body.done()
  return fields
}
