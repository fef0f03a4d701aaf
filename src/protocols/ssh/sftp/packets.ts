import { FieldError, FieldReader, field, lengthOf, type Pieces, u8, u32, u64 } from '../wire/fields.ts'
import { type Attributes, type Extension, encodeAttributes, pair, readAttributes, readPairs } from './attributes.ts'

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
