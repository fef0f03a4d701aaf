import { FieldError, type FieldReader, field, u32, u64 } from '../wire/fields.ts'

const maxExtensions = 64

export interface Attributes {
  readonly size?: bigint
  readonly owner?: { readonly uid: number; readonly gid: number }
  readonly permissions?: number
  readonly times?: { readonly accessed_s: number; readonly modified_s: number }
  readonly extended?: readonly Extension[]
}

/** Of an INIT, a VERSION or attributes. */
export interface Extension {
  readonly name: Buffer
  readonly data: Buffer
}

const has = { size: 1, owner: 2, permissions: 4, times: 8, extended: 0x80000000 } as const

export function readAttributes(fields: FieldReader): Attributes {
  const flags = fields.u32()
  const set = (flag: number) => (flags & flag) !== 0
  if ((flags & ~(has.size | has.owner | has.permissions | has.times | has.extended)) !== 0)
    throw new FieldError('attributes that nobody knows')
  return {
    ...(set(has.size) && { size: fields.u64() }),
    ...(set(has.owner) && { owner: { uid: fields.u32(), gid: fields.u32() } }),
    ...(set(has.permissions) && { permissions: fields.u32() }),
    ...(set(has.times) && { times: { accessed_s: fields.u32(), modified_s: fields.u32() } }),
    ...(set(has.extended) && { extended: readCounted(fields) }),
  }
}

function readCounted(fields: FieldReader): Extension[] {
  const count = fields.u32()
  if (count > maxExtensions) throw new FieldError(`${count} attributes`)
  return Array.from({ length: count }, () => ({ name: fields.bytes(256), data: fields.bytes() }))
}

/** To the end of the packet. */
export function readPairs(fields: FieldReader): Extension[] {
  const pairs: Extension[] = []
  while (fields.left > 0) {
    if (pairs.length === maxExtensions) throw new FieldError(`more than ${maxExtensions} extensions`)
    pairs.push({ name: fields.bytes(256), data: fields.bytes(4096) })
  }
  return pairs
}

export function encodeAttributes({ size, owner, permissions, times, extended }: Attributes): Buffer {
  let flags = 0
  const parts: Buffer[] = []
  const add = (flag: number, ...bytes: Buffer[]) => {
    flags += flag
    parts.push(...bytes)
  }
  if (size !== undefined) add(has.size, u64(size))
  if (owner !== undefined) add(has.owner, u32(owner.uid), u32(owner.gid))
  if (permissions !== undefined) add(has.permissions, u32(permissions))
  if (times !== undefined) add(has.times, u32(times.accessed_s), u32(times.modified_s))
  if (extended !== undefined) add(has.extended, u32(extended.length), ...extended.flatMap(pair))
  return Buffer.concat([u32(flags), ...parts])
}

export function pair({ name, data }: Extension): Buffer[] {
  return [field(name), field(data)]
}
