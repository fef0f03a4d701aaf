import fc from 'fast-check'
import type { Packet } from '../../../src/protocols/ssh/sftp/packets.ts'

const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map(each => Buffer.from(each))
const number = fc.nat(2 ** 32 - 1)
const large = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })
const id = number
const path = fc.oneof(
  bytes(20),
  fc.constantFrom('/srv/a', '../x', '.', '', '/a//b/../c').map(each => Buffer.from(each)),
)
const handle = bytes(8)
const extension = fc.record({ name: bytes(12), data: bytes(12) })

/** Attributes with any of their parts; one that is not there has no member. */
const attributes = fc.record(
  {
    size: large,
    owner: fc.record({ uid: number, gid: number }),
    permissions: number,
    times: fc.record({ accessed_s: number, modified_s: number }),
    extended: fc.array(extension, { maxLength: 2 }),
  },
  { requiredKeys: [] },
)

const kind = <T extends Packet['type']>(type: T) => fc.constant(type)

export const somePacket: fc.Arbitrary<Packet> = fc.oneof(
  fc.record({ type: kind('init'), version: number, extensions: fc.array(extension, { maxLength: 3 }) }),
  fc.record({ type: kind('version'), version: number, extensions: fc.array(extension, { maxLength: 3 }) }),
  fc.record({ type: kind('open'), id, path, flags: number, attributes }),
  fc.record({ type: kind('read'), id, handle, offset: large, length: number }),
  fc.record({ type: kind('write'), id, handle, offset: large, data: bytes(60).map(each => [each]) }),
  ...(['close', 'fstat', 'readdir', 'handle'] as const).map(type => fc.record({ type: kind(type), id, handle })),
  ...(['lstat', 'opendir', 'remove', 'rmdir', 'realpath', 'stat', 'readlink'] as const).map(type =>
    fc.record({ type: kind(type), id, path }),
  ),
  ...(['setstat', 'mkdir'] as const).map(type => fc.record({ type: kind(type), id, path, attributes })),
  fc.record({ type: kind('fsetstat'), id, handle, attributes }),
  ...(['rename', 'symlink'] as const).map(type => fc.record({ type: kind(type), id, path, target: path })),
  fc.record({ type: kind('extended'), id, name: bytes(20), data: bytes(30) }),
  fc.record({
    type: kind('status'),
    id,
    code: number,
    words: fc.option(fc.record({ message: bytes(20), language: bytes(5) })),
  }),
  fc.record({ type: kind('data'), id, data: bytes(60).map(each => [each]) }),
  fc.record({
    type: kind('name'),
    id,
    entries: fc.array(fc.record({ file: path, line: bytes(20), attributes }), { maxLength: 3 }),
  }),
  fc.record({ type: kind('attrs'), id, attributes }),
  fc.record({ type: kind('extended_reply'), id, data: bytes(30) }),
)
