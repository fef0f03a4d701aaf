/** pkt-line (gitprotocol-common(5)): four hexadecimal digits of the length, themselves counted, then the payload. */

/** The longest line, with its four digits. */
export const maxLine = 65_520
export const maxPayload = maxLine - 4

export const flushLine = Buffer.from('0000')
export const delimLine = Buffer.from('0001')
export const endLine = Buffer.from('0002')

export type Pkt = { readonly kind: 'data'; readonly payload: Buffer } | { readonly kind: 'flush' | 'delim' | 'end' }

/** What a peer sent makes no sense: the words complete `the client sent …`. */
export class WireError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'WireError'
  }
}

const special: readonly Pkt[] = [{ kind: 'flush' }, { kind: 'delim' }, { kind: 'end' }]

/** Cuts a stream into lines, split wherever it is; keeps less than one line. Stops when told, for what follows may be no line. */
export class PktReader {
  #rest: Buffer = Buffer.alloc(0)

  /** Hands over each whole line until `take` answers `stop`. @returns what lies behind it then, which is kept nowhere. @throws WireError */
  read(chunk: Buffer, take: (pkt: Pkt) => 'stop' | undefined): Buffer | undefined {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    this.#rest = Buffer.alloc(0)
    while (bytes.length >= 4) {
      const length = lengthOf(bytes)
      if (length > bytes.length) break
      const pkt = length < 4 ? special[length]! : ({ kind: 'data', payload: bytes.subarray(4, length) } as const)
      bytes = bytes.subarray(Math.max(length, 4))
      if (take(pkt) === 'stop') return bytes
    }
    this.#rest = Buffer.from(bytes) // a copy: what it was cut from may be large
    return undefined
  }

  /** The stream may end here: nothing was begun. */
  get isBetween(): boolean {
    return this.#rest.length === 0
  }
}

/** Of the line that begins here, in all. @throws WireError */
export function lengthOf(bytes: Buffer): number {
  let length = 0
  for (let at = 0; at < 4; at++) {
    const digit = hex(bytes[at]!)
    if (digit === -1) throw new WireError('a line whose length is no number')
    length = length * 16 + digit
  }
  if (length === 3) throw new WireError('a line of length 3')
  if (length > maxLine) throw new WireError(`a line of ${length} bytes`)
  return length
}

function hex(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48
  const letter = byte | 32
  return letter >= 97 && letter <= 102 ? letter - 87 : -1
}

export function dataLine(payload: Buffer | string): Buffer {
  const bytes = typeof payload === 'string' ? Buffer.from(payload) : payload
  if (bytes.length > maxPayload) throw new RangeError(`a line of ${bytes.length + 4} bytes`)
  return Buffer.concat([Buffer.from((bytes.length + 4).toString(16).padStart(4, '0')), bytes])
}

export function encode(pkt: Pkt): Buffer {
  switch (pkt.kind) {
    case 'data':
      return dataLine(pkt.payload)
    case 'flush':
      return flushLine
    case 'delim':
      return delimLine
    case 'end':
      return endLine
  }
}
