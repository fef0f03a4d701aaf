import { FieldError, FieldReader, field, lengthOf, type Pieces, u8, u32, u64 } from '../wire/fields.ts'

/**
 * SFTP version 3 (draft-ietf-secsh-filexfer-02) as OpenSSH speaks it: `uint32 length`, one byte type, fields. Decoding
 * loses nothing: what is encoded again is the same bytes. Names of files are bytes, not texts.
 */
export const types = {
  init: 1,
  version: 2,
  open: 3,
  close: 4,
  read: 5,
  write: 6,
  lstat: 7,
  fstat: 8,
  setstat: 9,
  fsetstat: 10,
  opendir: 11,
  readdir: 12,
  remove: 13,
  mkdir: 14,
  rmdir: 15,
  realpath: 16,
  stat: 17,
  rename: 18,
  readlink: 19,
  symlink: 20,
  status: 101,
  handle: 102,
  data: 103,
  name: 104,
  attrs: 105,
  extended: 200,
  extended_reply: 201,
} as const

export type TypeName = keyof typeof types

/** OpenSSH takes no longer packet either (SFTP_MAX_MSG_LENGTH). */
export const maxPacketBytes = 256 * 1024
const maxHandleBytes = 256
const maxPathBytes = 16 * 1024
const maxNames = 16 * 1024
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

type With<T extends TypeName, F> = T extends TypeName ? { readonly type: T; readonly id: number } & F : never
type PathOnly = 'lstat' | 'opendir' | 'remove' | 'rmdir' | 'realpath' | 'stat' | 'readlink'

export type Packet =
  | { readonly type: 'init'; readonly version: number; readonly extensions: readonly Extension[] }
  | { readonly type: 'version'; readonly version: number; readonly extensions: readonly Extension[] }
  | With<'open', { readonly path: Buffer; readonly flags: number; readonly attributes: Attributes }>
  | With<'read', { readonly handle: Buffer; readonly offset: bigint; readonly length: number }>
  | With<'write', { readonly handle: Buffer; readonly offset: bigint; readonly data: Pieces }>
  | With<'close' | 'fstat' | 'readdir' | 'handle', { readonly handle: Buffer }>
  | With<PathOnly, { readonly path: Buffer }>
  | With<'setstat' | 'mkdir', { readonly path: Buffer; readonly attributes: Attributes }>
  | With<'fsetstat', { readonly handle: Buffer; readonly attributes: Attributes }>
  | With<'rename', { readonly path: Buffer; readonly target: Buffer }>
  /** OpenSSH's order, not the draft's: what the link says, then where it is made. */
  | With<'symlink', { readonly target: Buffer; readonly path: Buffer }>
  | With<'extended', { readonly name: Buffer; readonly data: Buffer }>
  | With<
      'status',
      { readonly code: number; readonly words: { readonly message: Buffer; readonly language: Buffer } | null }
    >
  | With<'data', { readonly data: Pieces }>
  | With<
      'name',
      { readonly entries: readonly { readonly file: Buffer; readonly line: Buffer; readonly attributes: Attributes }[] }
    >
  | With<'attrs', { readonly attributes: Attributes }>
  | With<'extended_reply', { readonly data: Buffer }>

const names = new Map(Object.entries(types).map(([name, number]) => [number as number, name as TypeName]))

/** Cuts a stream into whole packets, each with its length in front, in the pieces in which it came. Copies nothing but a length in pieces. */
export class PacketReader {
  #parts: Buffer[] = []
  #held = 0

  get held(): number {
    return this.#held
  }

  /** @throws FieldError for a length that no packet has; the stream is over then. */
  push(chunk: Buffer): Pieces[] {
    const packets: Pieces[] = []
    let at = 0
    if (this.#held > 0) {
      const missing = this.#missing(chunk)
      at = Math.min(missing, chunk.length)
      this.#parts.push(chunk.subarray(0, at))
      this.#held += at
      if (at < missing) return packets
      packets.push(this.#parts)
      this.#parts = []
      this.#held = 0
    }
    while (chunk.length - at >= 4) {
      const end = at + 4 + lengthAt(chunk, at)
      if (end > chunk.length) break
      packets.push([chunk.subarray(at, end)])
      at = end
    }
    if (at < chunk.length) this.#parts = [chunk.subarray(at)]
    this.#held = chunk.length - at
    return packets
  }

  /** How many bytes of `chunk` and what follows it belong to the packet that has begun; its length alone is put together. */
  #missing(chunk: Buffer): number {
    if (this.#parts[0]!.length >= 4) return 4 + lengthAt(this.#parts[0]!, 0) - this.#held
    const begun = Buffer.concat([...this.#parts, chunk.subarray(0, 4 - this.#held)])
    return begun.length < 4 ? chunk.length + 1 : 4 + lengthAt(begun, 0) - this.#held
  }
}

function lengthAt(bytes: Buffer, at: number): number {
  const length = bytes.readUInt32BE(at)
  if (length < 1 || length > maxPacketBytes) throw new FieldError(`a packet of ${length} bytes`)
  return length
}

/** Where the bytes of a file begin in a packet that carries some, at the latest. */
const mostBeforeData = 4 + 1 + 4 + (4 + maxHandleBytes) + 8 + 4

/** @throws FieldError for anything but exactly one packet of a known type. */
export function decodePacket(pieces: Pieces): Packet {
  const [first, ...more] = pieces
  if (first === undefined) throw new FieldError('no packet')
  const carries = first.length >= mostBeforeData && (first[4] === types.write || first[4] === types.data)
  return more.length === 0 || carries ? decodeFramed(first, more) : decodeFramed(Buffer.concat(pieces), [])
}

/** `more`: what follows `framed`, of the bytes of a file. */
function decodeFramed(framed: Buffer, more: Pieces): Packet {
  const fields = new FieldReader(framed)
  const after = lengthOf(more)
  if (fields.u32() !== framed.length + after - 4) throw new FieldError('a length that is not that of the packet')
  const number = fields.u8()
  const type = names.get(number)
  if (type === undefined) throw new FieldError(`a packet of the type ${number}`)
  const packet = decode(type, fields, more)
  fields.end()
  return packet
}

function decode(type: TypeName, fields: FieldReader, more: Pieces): Packet {
  if (type === 'init' || type === 'version') return { type, version: fields.u32(), extensions: readPairs(fields) }
  const id = fields.u32()
  const path = () => fields.bytes(maxPathBytes)
  const handle = () => fields.bytes(maxHandleBytes)
  const bytes = () => fields.bytes(maxPacketBytes)
  switch (type) {
    case 'open':
      return { type, id, path: path(), flags: fields.u32(), attributes: readAttributes(fields) }
    case 'read':
      return { type, id, handle: handle(), offset: fields.u64(), length: fields.u32() }
    case 'write':
      return { type, id, handle: handle(), offset: fields.u64(), data: readData(fields, more) }
    case 'close':
    case 'fstat':
    case 'readdir':
    case 'handle':
      return { type, id, handle: handle() }
    case 'setstat':
    case 'mkdir':
      return { type, id, path: path(), attributes: readAttributes(fields) }
    case 'fsetstat':
      return { type, id, handle: handle(), attributes: readAttributes(fields) }
    case 'rename':
      return { type, id, path: path(), target: path() }
    case 'symlink':
      return { type, id, target: path(), path: path() }
    case 'extended':
      return { type, id, name: fields.bytes(256), data: fields.rest() }
    case 'status':
      return { type, id, code: fields.u32(), words: fields.left === 0 ? null : { message: bytes(), language: bytes() } }
    case 'data':
      return { type, id, data: readData(fields, more) }
    case 'name':
      return { type, id, entries: readNames(fields) }
    case 'attrs':
      return { type, id, attributes: readAttributes(fields) }
    case 'extended_reply':
      return { type, id, data: fields.rest() }
    default:
      return { type, id, path: path() }
  }
}

/** The last field of a packet, with what follows it. */
function readData(fields: FieldReader, more: Pieces): Pieces {
  const length = fields.u32()
  const there = fields.left + lengthOf(more)
  if (length !== there) throw new FieldError(`${length} bytes announced, ${there} are there`)
  return [fields.rest(), ...more]
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

function readPairs(fields: FieldReader): Extension[] {
  const pairs: Extension[] = []
  while (fields.left > 0) {
    if (pairs.length === maxExtensions) throw new FieldError(`more than ${maxExtensions} extensions`)
    pairs.push({ name: fields.bytes(256), data: fields.bytes(4096) })
  }
  return pairs
}

function readNames(fields: FieldReader) {
  const count = fields.u32()
  if (count > maxNames) throw new FieldError(`${count} names`)
  return Array.from({ length: count }, () => ({
    file: fields.bytes(maxPathBytes),
    line: fields.bytes(maxPacketBytes),
    attributes: readAttributes(fields),
  }))
}

/** The whole packet, its length in front. */
export function encodePacket(packet: Packet): Buffer {
  const body = Buffer.concat([u8(types[packet.type]), ...encode(packet)])
  return Buffer.concat([u32(body.length), body])
}

function encode(packet: Packet): Buffer[] {
  if (packet.type === 'init' || packet.type === 'version')
    return [u32(packet.version), ...packet.extensions.flatMap(pair)]
  const id = u32(packet.id)
  switch (packet.type) {
    case 'open':
      return [id, field(packet.path), u32(packet.flags), encodeAttributes(packet.attributes)]
    case 'read':
      return [id, field(packet.handle), u64(packet.offset), u32(packet.length)]
    case 'write':
      return [id, field(packet.handle), u64(packet.offset), field(Buffer.concat(packet.data))]
    case 'close':
    case 'fstat':
    case 'readdir':
    case 'handle':
      return [id, field(packet.handle)]
    case 'setstat':
    case 'mkdir':
      return [id, field(packet.path), encodeAttributes(packet.attributes)]
    case 'fsetstat':
      return [id, field(packet.handle), encodeAttributes(packet.attributes)]
    case 'rename':
      return [id, field(packet.path), field(packet.target)]
    case 'symlink':
      return [id, field(packet.target), field(packet.path)]
    case 'extended':
      return [id, field(packet.name), packet.data]
    case 'status':
      return [
        id,
        u32(packet.code),
        ...(packet.words === null ? [] : [field(packet.words.message), field(packet.words.language)]),
      ]
    case 'data':
      return [id, field(Buffer.concat(packet.data))]
    case 'name': {
      const each = packet.entries.flatMap(({ file, line, attributes }) => [
        field(file),
        field(line),
        encodeAttributes(attributes),
      ])
      return [id, u32(packet.entries.length), ...each]
    }
    case 'attrs':
      return [id, encodeAttributes(packet.attributes)]
    case 'extended_reply':
      return [id, packet.data]
    default:
      return [id, field(packet.path)]
  }
}

function encodeAttributes({ size, owner, permissions, times, extended }: Attributes): Buffer {
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

function pair({ name, data }: Extension): Buffer[] {
  return [field(name), field(data)]
}
