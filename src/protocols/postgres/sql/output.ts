import { compileTransform, defaultKept, hashOf, keepLastAscii, type Transform } from '../../../masking/transforms.ts'
import { mapArray, mapArrayText } from './arrays.ts'
import type { Field, RowMask } from './contract.ts'
import { RowWriter } from './row-writer.ts'

/** One value of a column as it is on the wire → what may be shown, in the same type and format; null is NULL. */
export interface ValueMask {
  (value: Buffer): Buffer | null
  /** The same for every value. */
  readonly constant?: Buffer | null
  /** The same from bytes to bytes, never longer than the value; −1 where only the function can tell. */
  readonly bytes?: (source: Buffer, from: number, end: number, target: Buffer, at: number) => number
}

const text = new Set([25, 1043, 1042, 19, 705, 142])
const textArrays = new Set([1009, 1015, 1014, 1003])
const integers: ReadonlyMap<number, number> = new Map([
  [21, 2],
  [23, 4],
  [20, 8],
])
const floats: ReadonlyMap<number, number> = new Map([
  [700, 4],
  [701, 8],
])
const JSON_TEXT = 114
const JSONB = 3802
const BYTEA = 17
const UUID = 2950
const BOOL = 16

/**
 * INVARIANT: the result is a value of the type that the client was told, in the format that it asked for. A type that
 * cannot carry the masked value becomes NULL.
 */
export function maskValue(transform: Transform, hashKey: Uint8Array, typeOid: number, format: number): ValueMask {
  const toNull = constant(null)
  if (transform.kind === 'null' || (format !== 0 && format !== 1)) return toNull
  const apply = compileTransform(transform, hashKey)
  const onText: ValueMask = value => encode(apply(value.toString('utf8')))
  if (text.has(typeOid)) return quickly(onText, transform)
  if (textArrays.has(typeOid))
    return format === 1
      ? value => mapArray(value, onText)
      : value => encode(mapArrayText(value.toString('utf8'), apply))
  if (typeOid === JSON_TEXT) return value => encode(json(value.toString('utf8'), apply))
  if (typeOid === JSONB) {
    if (format === 0) return value => encode(json(value.toString('utf8'), apply))
    return value => (value[0] === 1 ? prefixed(1, encode(json(value.toString('utf8', 1), apply))) : null)
  }
  if (typeOid === BYTEA) return bytea(transform, hashKey, format, apply)
  const size = integers.get(typeOid)
  if (size !== undefined) return integer(transform, hashKey, format, size)
  const float = floats.get(typeOid)
  if (float !== undefined && transform.kind === 'fixed') return fixedFloat(transform.value ?? '', format, float)
  if (typeOid === UUID) return uuid(transform, hashKey, format)
  if (typeOid === BOOL && transform.kind === 'fixed' && /^(true|false)$/.test(transform.value ?? '')) {
    const yes = transform.value === 'true'
    return () => (format === 1 ? Buffer.from([yes ? 1 : 0]) : Buffer.from(yes ? 't' : 'f'))
  }
  return toNull
}

const constant = (value: Buffer | null): ValueMask => Object.assign(() => value, { constant: value })

/** The transforms of text that need not make a string of each value. */
function quickly(mask: ValueMask, transform: Transform): ValueMask {
  if (transform.kind === 'hash') return mask
  if (transform.kind !== 'partial') return constant(mask(Buffer.alloc(0)))
  const keep = transform.keep_last ?? defaultKept
  const bytes: ValueMask['bytes'] = (source, from, end, target, at) =>
    keepLastAscii(source, from, end, keep, target, at)
  return Object.assign(mask, { bytes })
}

const encode = (value: string | null): Buffer | null => (value === null ? null : Buffer.from(value, 'utf8'))
const prefixed = (byte: number, value: Buffer | null): Buffer | null =>
  value === null ? null : Buffer.concat([Buffer.from([byte]), value])

/** A JSON string is masked inside its quotes, anything else as its text. The result is always a JSON string. */
function json(value: string, apply: (value: string) => string | null): string | null {
  let inner = value
  try {
    const parsed: unknown = JSON.parse(value)
    if (typeof parsed === 'string') inner = parsed
  } catch {
    // a json column holds valid JSON; what JavaScript cannot read is masked as text
  }
  const masked = apply(inner)
  return masked === null ? null : JSON.stringify(masked)
}

function bytea(
  transform: Transform,
  hashKey: Uint8Array,
  format: number,
  apply: (value: string) => string | null,
): ValueMask {
  const show = (bytes: Buffer): Buffer => (format === 1 ? bytes : Buffer.from(`\\x${bytes.toString('hex')}`))
  return value => {
    if (transform.kind === 'partial') return null
    if (transform.kind !== 'hash') {
      const shown = encode(apply(''))
      return shown === null ? null : show(shown)
    }
    if (format === 1) return Buffer.from(hashOf(value, hashKey))
    const hex = value.toString('latin1')
    return /^\\x(?:[0-9a-f]{2})*$/.test(hex)
      ? show(Buffer.from(hashOf(Buffer.from(hex.slice(2), 'hex'), hashKey)))
      : null
  }
}

function integer(transform: Transform, hashKey: Uint8Array, format: number, size: number): ValueMask {
  const max = 2n ** BigInt(size * 8 - 1)
  const write = (n: bigint): Buffer | null => {
    if (n >= max || n < -max) return null
    if (format === 0) return Buffer.from(n.toString())
    const out = Buffer.alloc(8)
    out.writeBigInt64BE(n)
    return out.subarray(8 - size)
  }
  const read = (value: Buffer): bigint | null => {
    if (format === 1)
      return value.length === size ? BigInt.asIntN(size * 8, BigInt(`0x${value.toString('hex')}`)) : null
    const shown = value.toString('latin1')
    return /^-?\d{1,19}$/.test(shown) ? BigInt(shown) : null
  }
  if (transform.kind === 'fixed') {
    const fixed = /^-?\d{1,18}$/.test(transform.value ?? '') ? write(BigInt(transform.value ?? '0')) : null
    return () => fixed
  }
  if (transform.kind === 'hash') {
    return value => {
      const n = read(value)
      return n === null ? null : write(BigInt(`0x${hashOf(n.toString(), hashKey).slice(0, 16)}`) % max)
    }
  }
  if (transform.kind === 'partial') {
    const keep = transform.keep_last ?? 4
    return value => {
      const n = read(value)
      if (n === null) return null
      const digits = (n < 0n ? -n : n).toString()
      const shown = Math.min(keep, Math.floor(digits.length / 2))
      return write(shown === 0 ? 0n : BigInt(digits.slice(-shown)))
    }
  }
  return () => null
}

function fixedFloat(value: string, format: number, size: number): ValueMask {
  if (!/^-?\d{1,15}(?:\.\d{1,15})?$/.test(value)) return () => null
  if (format === 0) return () => Buffer.from(value)
  const out = Buffer.alloc(size)
  if (size === 4) out.writeFloatBE(Number(value))
  else out.writeDoubleBE(Number(value))
  return () => out
}

function uuid(transform: Transform, hashKey: Uint8Array, format: number): ValueMask {
  const show = (hex: string): Buffer =>
    format === 1
      ? Buffer.from(hex, 'hex')
      : Buffer.from(`${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`)
  if (transform.kind === 'fixed') {
    const hex = (transform.value ?? '').toLowerCase().replaceAll('-', '')
    return () => (/^[0-9a-f]{32}$/.test(hex) ? show(hex) : null)
  }
  if (transform.kind !== 'hash') return () => null
  return value => {
    const hex = format === 1 ? value.toString('hex') : value.toString('latin1').replaceAll('-', '')
    if (!/^[0-9a-f]{32}$/.test(hex)) return null
    const hash = hashOf(Buffer.from(hex, 'hex'), hashKey)
    // version 8: a value of our own making (RFC 9562 §5.8)
    return show(`${hash.slice(0, 12)}8${hash.slice(13, 16)}a${hash.slice(17)}`)
  }
}

/** @param masks one for each field; undefined passes the value as it is */
export function rowMask(
  fields: readonly Field[],
  masks: readonly (ValueMask | undefined)[],
  transforms: readonly string[],
): RowMask {
  return {
    masked: fields.flatMap((_, index) =>
      masks[index] === undefined ? [] : [{ index, transform: transforms[index] ?? '' }],
    ),
    rewrite(body) {
      const out = new RowWriter(body.length + 64)
      write(body, 0, body.length, masks, out)
      return out.taken()
    },
    write: (source, from, end, out) => write(source, from, end, masks, out),
  }
}

/** INVARIANT: bytes of a masked value are never copied, and a row that is not what was described throws. */
function write(
  source: Buffer,
  from: number,
  end: number,
  masks: readonly (ValueMask | undefined)[],
  out: RowWriter,
): void {
  if (end - from < 2 || source.readInt16BE(from) !== masks.length)
    throw new RangeError('a DataRow does not have the described number of fields')
  let kept = from
  let at = from + 2
  for (let i = 0; i < masks.length; i++) {
    if (at + 4 > end) throw new RangeError('a DataRow ends inside a field')
    const length = source.readInt32BE(at)
    const start = at + 4
    const next = start + (length > 0 ? length : 0)
    if (length < -1 || next > end) throw new RangeError('a DataRow holds a field of impossible length')
    const mask = masks[i]
    if (mask !== undefined && length >= 0) {
      out.reserve(next - kept)
      out.copy(source, kept, at)
      writeMasked(source, start, next, mask, out)
      kept = next
    }
    at = next
  }
  if (at !== end) throw new RangeError('a DataRow is longer than its fields')
  out.reserve(end - kept)
  out.copy(source, kept, end)
}

function writeMasked(source: Buffer, from: number, end: number, mask: ValueMask, out: RowWriter): void {
  if (mask.bytes !== undefined) {
    out.reserve(4 + end - from)
    const head = out.at
    const length = mask.bytes(source, from, end, out.bytes, head + 4)
    if (length >= 0) {
      out.int32(length)
      out.at = head + 4 + length
      return
    }
  }
  const value = mask.constant !== undefined ? mask.constant : mask(source.subarray(from, end))
  const length = value === null ? 0 : value.length
  out.reserve(4 + length)
  out.int32(value === null ? -1 : length)
  if (value !== null) out.copy(value, 0, length)
}
