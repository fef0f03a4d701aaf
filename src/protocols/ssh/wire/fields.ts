/**
 * The data types of SSH (RFC 4251 §5): big-endian numbers, length-prefixed strings, mpints. Lengths come from strangers:
 * each is compared with what is there and with a limit before anything is taken.
 */
export class FieldError extends Error {
  override readonly name = 'FieldError'
}

/** The longest field that is read where no tighter limit is named. */
const maxField = 64 * 1024

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Bytes as they came. Most of what passes is what files hold, and every copy of it costs. */
export type Pieces = readonly Buffer[]

export function lengthOf(pieces: Pieces): number {
  let bytes = 0
  for (const piece of pieces) bytes += piece.length
  return bytes
}

/** Reads fields in order. What it gives are views into `bytes`, not copies. */
export class FieldReader {
  readonly #bytes: Buffer
  #at: number

  constructor(bytes: Buffer, at = 0) {
    this.#bytes = bytes
    this.#at = at
  }

  get at(): number {
    return this.#at
  }

  get left(): number {
    return this.#bytes.length - this.#at
  }

  u8(): number {
    return this.#bytes[this.#pass(1)]!
  }

  u32(): number {
    return this.#bytes.readUInt32BE(this.#pass(4))
  }

  u64(): bigint {
    return this.#bytes.readBigUInt64BE(this.#pass(8))
  }

  bytes(max = maxField): Buffer {
    const length = this.u32()
    if (length > max) throw new FieldError(`a field of ${length} bytes, where ${max} are the most`)
    return this.#take(length)
  }

  /** A string that must be UTF-8; nothing is replaced. INVARIANT: it holds no NUL, at which a C program's text would end. */
  text(max = 1024): string {
    const text = decodeText(this.bytes(max))
    if (text.includes('\0')) throw new FieldError('a text with a NUL in it')
    return text
  }

  /** A positive number in its shortest form, as bytes without the sign byte. */
  mpint(max: number): Buffer {
    const bytes = this.bytes(max)
    if (bytes.length === 0) throw new FieldError('a number that is zero')
    if (bytes[0]! & 0x80) throw new FieldError('a negative number')
    if (bytes[0] !== 0) return bytes
    if (bytes.length === 1 || !(bytes[1]! & 0x80)) throw new FieldError('a number with needless zeros in front')
    return bytes.subarray(1)
  }

  /** Everything that was not read yet. */
  rest(): Buffer {
    return this.#take(this.left)
  }

  /** @throws FieldError when bytes follow that nobody asked for. */
  end(): void {
    if (this.left > 0) throw new FieldError(`${this.left} bytes after the end`)
  }

  #take(length: number): Buffer {
    const at = this.#pass(length)
    return this.#bytes.subarray(at, at + length)
  }

  /** @returns where they begin: a view of every number would cost more than the number. */
  #pass(length: number): number {
    const at = this.#at
    if (length > this.left) throw new FieldError(`${length} bytes announced, ${this.left} are there`)
    this.#at = at + length
    return at
  }
}

/** @throws FieldError for what is not UTF-8. */
export function decodeText(bytes: Buffer): string {
  try {
    return utf8.decode(bytes)
  } catch {
    throw new FieldError('a text that is not UTF-8')
  }
}

export function u8(value: number): Buffer {
  return Buffer.of(value)
}

export function u32(value: number): Buffer {
  const out = Buffer.allocUnsafe(4)
  out.writeUInt32BE(value)
  return out
}

export function u64(value: bigint): Buffer {
  const out = Buffer.allocUnsafe(8)
  out.writeBigUInt64BE(value)
  return out
}

/** A length-prefixed string. */
export function field(value: Buffer | string): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value, 'utf8') : value
  return Buffer.concat([u32(bytes.length), bytes])
}

/** A positive number from its bytes, with a sign byte where the first bit is set. */
export function mpint(value: Buffer): Buffer {
  let from = 0
  while (from < value.length && value[from] === 0) from++
  const bytes = value.subarray(from)
  return field(bytes.length > 0 && bytes[0]! & 0x80 ? Buffer.concat([Buffer.of(0), bytes]) : bytes)
}
