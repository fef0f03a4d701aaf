import { FieldReader } from '../wire/fields.ts'
import { type Attributes, readAttributes } from './attributes.ts'
import type { Packet } from './packets.ts'
import { readPath } from './paths.ts'

/** What a client asks of the files, in a policy's terms. */
export interface Operation {
  readonly id: number
  /** The name on the wire: `open`, `remove`, `posix-rename` … */
  readonly operation: string
  readonly verb: 'read' | 'write' | 'admin'
  readonly path: string
  /** The other path of a rename, a link or a copy. */
  readonly target_path: string | null
  readonly direction: 'download' | 'upload' | 'both' | null
  /** `read write append create truncate exclusive` of an open; what a setstat sets. */
  readonly flags: readonly string[]
}

export type Asked =
  | { readonly ask: Operation; readonly rewritten: Packet | null }
  /** Belongs to a handle that was judged when it was opened. */
  | { readonly ask: null }
  | { readonly refused: string }

export interface Known {
  readonly home: string | undefined
  readonly path: (handle: Buffer) => string | undefined
}

const openFlags: readonly [number, string][] = [
  [1, 'read'],
  [2, 'write'],
  [4, 'append'],
  [8, 'create'],
  [16, 'truncate'],
  [32, 'exclusive'],
]
const setIds = 0o6000
const noHandle = { refused: 'a handle that is not open' } as const

/** What a request asks. Extensions that are not here are refused: nobody could say what they do. */
export function readOperation(packet: Packet, known: Known): Asked {
  switch (packet.type) {
    case 'open':
      return onPath(packet, known, {
        flags: openFlags.filter(([bit]) => (packet.flags & bit) !== 0).map(([, name]) => name),
        attributes: packet.attributes, // a file that is created has them from the begin
      })
    case 'lstat':
    case 'stat':
    case 'opendir':
    case 'readlink':
    case 'remove':
    case 'rmdir':
      return onPath(packet, known, {})
    case 'realpath':
      // The first question of every client, by which it learns where it is: it goes on as it is.
      return onPath(packet, known, {}, true)
    case 'setstat':
    case 'mkdir':
      return onPath(packet, known, { flags: settings(packet.attributes), attributes: packet.attributes })
    case 'rename':
    case 'symlink':
      return onTwo(packet, known, packet.type)
    case 'fsetstat': {
      const path = known.path(packet.handle)
      if (path === undefined) return noHandle
      return asking(packet.id, 'fsetstat', path, null, settings(packet.attributes), packet.attributes)
    }
    case 'read':
    case 'write':
    case 'close':
    case 'fstat':
    case 'readdir':
      return known.path(packet.handle) === undefined ? noHandle : { ask: null }
    case 'extended':
      return extended(packet, known)
    default:
      return { refused: `a ${packet.type} is no request` }
  }
}

type OnPath = Extract<Packet, { readonly path: Buffer; readonly id: number }>
interface More {
  readonly flags?: readonly string[]
  readonly attributes?: Attributes
}

function onPath(packet: OnPath, known: Known, { flags = [], attributes = {} }: More, asIs = false): Asked {
  const read = readPath(packet.path, known.home)
  if ('refused' in read) return read
  const same = asIs || packet.path.equals(Buffer.from(read.path))
  const rewritten = same ? null : { ...packet, path: Buffer.from(read.path) }
  return { ...asking(packet.id, packet.type, read.path, null, flags, attributes), rewritten }
}

function onTwo(packet: Extract<Packet, { readonly target: Buffer }>, known: Known, name: string): Asked {
  const path = readPath(packet.path, known.home)
  if ('refused' in path) return path
  // What a symbolic link says is no path yet: it is judged as it is written, from the link's own folder on.
  const target = readPath(packet.target, name === 'symlink' ? folderOf(path.path) : known.home)
  if ('refused' in target) return target
  const asWritten = name === 'symlink' && !climbs.test(packet.target.toString())
  // Through other links, `..` leads elsewhere than it is written: such a link says from / on what was judged.
  if (name === 'symlink' && !asWritten && !target.path.startsWith('/'))
    return { refused: 'a link with `..` in it: write it from / on' }
  const rewritten: Packet = {
    ...packet,
    path: Buffer.from(path.path),
    target: asWritten ? packet.target : Buffer.from(target.path),
  }
  return { ...asking(packet.id, name, path.path, target.path), rewritten }
}

const climbs = /(?:^|\/)\.\.(?:\/|$)/

function folderOf(path: string): string | undefined {
  const at = path.lastIndexOf('/')
  return at < 0 ? undefined : path.slice(0, at) || '/'
}

const reads = new Set(
  'lstat stat opendir readlink realpath statvfs fstatvfs limits expand-path home-directory'.split(' '),
)

function asking(
  id: number,
  operation: string,
  path: string,
  target_path: string | null,
  flags: readonly string[] = [],
  attributes: Attributes = {},
): { readonly ask: Operation; readonly rewritten: null } {
  const writes = flags.some(flag => flag !== 'read')
  const opened = flags.includes('read') ? (writes ? 'both' : 'download') : 'upload'
  const direction = operation === 'open' ? opened : null
  const changes = operation === 'open' ? writes || !flags.includes('read') : !reads.has(operation)
  // To give files away or to let programs run as their owner is more than to write.
  const admin = attributes.owner !== undefined || ((attributes.permissions ?? 0) & setIds) !== 0
  const verb = !changes ? 'read' : admin ? 'admin' : 'write'
  return { ask: { id, operation, verb, path, target_path, direction, flags }, rewritten: null }
}

function settings(attributes: Attributes): string[] {
  return Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([name]) => name)
}

/** OpenSSH's extensions (OpenSSH PROTOCOL §4). Their names without `@openssh.com` are the operations' names. */
export const extensions = [
  'posix-rename@openssh.com',
  'hardlink@openssh.com',
  'statvfs@openssh.com',
  'fstatvfs@openssh.com',
  'fsync@openssh.com',
  'lsetstat@openssh.com',
  'limits@openssh.com',
  'expand-path@openssh.com',
  'copy-data',
  'home-directory',
  'users-groups-by-id@openssh.com',
] as const

function extended(packet: Extract<Packet, { readonly type: 'extended' }>, known: Known): Asked {
  const full = packet.name.toString('latin1')
  if (!(extensions as readonly string[]).includes(full))
    return { refused: `the extension ${JSON.stringify(full)} is not known here` }
  const name = full.replace(/@openssh\.com$/, '')
  const fields = new FieldReader(packet.data)
  const asked = inside(packet, name, fields, known)
  fields.end()
  return asked
}

function inside(
  packet: Extract<Packet, { readonly type: 'extended' }>,
  name: string,
  fields: FieldReader,
  known: Known,
): Asked {
  const { id } = packet
  const path = () => readPath(fields.bytes(16 * 1024), known.home)
  switch (name) {
    case 'posix-rename':
    case 'hardlink': {
      const [from, to] = [path(), path()]
      if ('refused' in from) return from
      if ('refused' in to) return to
      return { ...asking(id, name, from.path, to.path), rewritten: rewrite(packet, from.path, to.path) }
    }
    case 'statvfs': {
      const at = path()
      return 'refused' in at ? at : { ...asking(id, name, at.path, null), rewritten: rewrite(packet, at.path) }
    }
    case 'lsetstat': {
      const at = path()
      const attributesFrom = fields.at
      const attributes = readAttributes(fields)
      if ('refused' in at) return at
      const rest = packet.data.subarray(attributesFrom)
      return {
        ...asking(id, name, at.path, null, settings(attributes), attributes),
        rewritten: rewrite(packet, at.path, rest),
      }
    }
    case 'fstatvfs':
    case 'fsync':
      return known.path(fields.bytes(256)) === undefined ? noHandle : { ask: null }
    case 'copy-data': {
      const from = known.path(fields.bytes(256))
      fields.u64()
      fields.u64()
      const to = known.path(fields.bytes(256))
      fields.u64()
      return from === undefined || to === undefined ? noHandle : asking(id, name, from, to)
    }
    case 'expand-path':
    case 'home-directory':
      return { ...asking(id, name, fields.text(16 * 1024), null) }
    case 'users-groups-by-id':
      fields.bytes()
      fields.bytes()
      return { ask: null }
    default:
      return { ask: null } // limits: it names nothing
  }
}

function rewrite(
  packet: Extract<Packet, { readonly type: 'extended' }>,
  ...parts: readonly (string | Buffer)[]
): Packet {
  const data = parts.flatMap(part => {
    if (typeof part !== 'string') return [part]
    const bytes = Buffer.from(part)
    const length = Buffer.alloc(4)
    length.writeUInt32BE(bytes.length)
    return [length, bytes]
  })
  return { ...packet, data: Buffer.concat(data) }
}
