import { FieldError, lengthOf, type Pieces } from '../wire/fields.ts'
import { extensions, type Operation, readOperation } from './operations.ts'
import { PacketReader } from './packet-reader.ts'
import { decodePacket, encodePacket, type Packet } from './packets.ts'
import { Transfer } from './transfer.ts'

/**
 * Both directions of one SFTP channel. State machine without input or output: bytes come in, requests to judge and bytes
 * to send come out.
 * INVARIANT: the target sees only requests that `pass` gave out, with the very paths that were judged; each request gets
 * exactly one answer, from the target or from `deny`.
 */
export interface Request {
  /** Null for INIT. */
  readonly id: number | null
  /** What policy must judge; null where nothing is asked that was not judged before. */
  readonly operation: Operation | null
  /** Why it cannot go on whatever policy says. Call `deny` with it. */
  readonly refused: string | null
}

/** A file that was closed, or whose channel ended before (`complete: false`). */
export interface FileEvent {
  readonly path: string
  readonly direction: 'download' | 'upload'
  readonly size: number
  /** Of the first byte that went over: not 0 where a transfer was taken up again. */
  readonly offset: number
  /** Of the bytes in the order of their offsets; of no file where `gaps`. */
  readonly sha256: string
  readonly gaps: boolean
  /** The target refused a part, or to close the file. */
  readonly failed: boolean
  readonly complete: boolean
}

interface Held extends Request {
  readonly packet: Packet
  readonly bytes: Pieces
}

/** What an answer is understood by, without the bytes that went on. */
interface Pending {
  readonly asked: Asked
  readonly path: string
}

type Asked =
  | { readonly type: 'open'; readonly flags: number }
  | { readonly type: 'read'; readonly handle: string; readonly offset: bigint; readonly length: number }
  | { readonly type: 'write' | 'close'; readonly handle: string }
  | { readonly type: 'realpath'; readonly here: boolean }
  | { readonly type: Exclude<Packet['type'], 'open' | 'read' | 'write' | 'close' | 'realpath'> }

interface Handle {
  readonly path: string
  /** The target may give its number to another file at once, so nothing more is asked of it. */
  closing: boolean
  readonly file: Record<'download' | 'upload', Transfer | null>
}

export interface TrackerLimits {
  /** Requests without an answer. */
  readonly pending: number
  readonly handles: number
}

/** Of the one request that is ours; a client may not ask anything while it is out. */
const ownId = 0xffff_ffff
const mostPathBytes = 1024 * 1024
const ok = 0
const permissionDenied = 3
const failure = 4
const replies: Partial<Record<Packet['type'], readonly Packet['type'][]>> = {
  open: ['handle'],
  opendir: ['handle'],
  read: ['data'],
  readdir: ['name'],
  realpath: ['name'],
  readlink: ['name'],
  stat: ['attrs'],
  lstat: ['attrs'],
  fstat: ['attrs'],
  extended: ['extended_reply', 'name'],
}

/** Every method throws FieldError for what no SFTP peer sends; the channel must be closed then. */
export class SftpTracker {
  readonly #fromClient = new PacketReader()
  readonly #fromTarget = new PacketReader()
  readonly #limits: TrackerLimits
  readonly #asked = new Map<number, Held>()
  readonly #pending = new Map<number, Pending>()
  /** Of the paths of what opens something and was not answered. */
  #pathBytes = 0
  readonly #handles = new Map<string, Handle>()
  #state: 'new' | 'init' | 'ready' = 'new'
  #home: string | undefined
  #asksHome = false

  constructor(limits: TrackerLimits = { pending: 4096, handles: 1024 }) {
    this.#limits = limits
  }

  /** Requests in their order. Each must be given to `pass` or to `deny` once; until then it waits, others need not. */
  fromClient(chunk: Buffer): Request[] {
    return this.#fromClient.push(chunk).map(pieces => this.#request(pieces))
  }

  #request(bytes: Pieces): Held {
    const packet = decodePacket(bytes)
    if (packet.type === 'init') {
      if (this.#state !== 'new') throw new FieldError('a second INIT')
      this.#state = 'init'
      return { id: null, operation: null, refused: null, packet, bytes }
    }
    if (this.#state === 'new') throw new FieldError('a request before INIT')
    if (packet.type === 'version') throw new FieldError('a VERSION from a client')
    if (this.#asked.has(packet.id) || this.#pending.has(packet.id)) throw new FieldError(`the id ${packet.id} twice`)
    if (this.#asked.size + this.#pending.size >= this.#limits.pending) throw new FieldError('too many requests at once')
    const asked = readOperation(packet, { home: this.#home, path: handle => this.#open(handle)?.path })
    const refused = 'refused' in asked ? asked.refused : null
    const operation = 'ask' in asked ? asked.ask : null
    const rewritten = 'rewritten' in asked ? asked.rewritten : null
    const held = {
      id: packet.id,
      operation,
      refused,
      packet: rewritten ?? packet,
      bytes: rewritten === null ? bytes : [encodePacket(rewritten)],
    }
    this.#asked.set(packet.id, held)
    if (packet.type === 'close') {
      const closed = this.#open(packet.handle)
      if (closed !== undefined) closed.closing = true
    }
    return held
  }

  #open(handle: Buffer): Handle | undefined {
    const open = this.#handles.get(key(handle))
    return open?.closing === true ? undefined : open
  }

  /** What goes on to the target. */
  pass(request: Request): Pieces {
    const held = request as Held
    if (held.refused !== null) throw new FieldError(`what was refused is not passed on: ${held.refused}`)
    if (held.id === null) return held.bytes
    if (!this.#asked.delete(held.id)) throw new FieldError('a request that is not waiting')
    const { packet } = held
    const path = packet.type === 'open' || packet.type === 'opendir' ? held.operation!.path : ''
    this.#pathBytes += path.length
    if (this.#pathBytes > mostPathBytes) throw new FieldError('too many requests at once')
    this.#pending.set(held.id, { asked: askedOf(packet), path })
    if (packet.type === 'write') {
      const file = this.#handles.get(key(packet.handle))?.file
      if (file !== undefined) {
        file.upload ??= new Transfer()
        file.upload.take(packet.offset, packet.data)
      }
    }
    if (packet.type === 'extended' && packet.name.toString('latin1') === 'copy-data') this.#copied(packet.data)
    return held.bytes
  }

  /** The target has said which version it speaks. */
  get isReady(): boolean {
    return this.#state === 'ready'
  }

  /** Asks the target where relative paths begin, so that policy sees them whole. Its answer goes to nobody. */
  askHome(): Buffer {
    const packet = { type: 'realpath', id: ownId, path: Buffer.from('.') } as const
    this.#pending.set(ownId, { asked: askedOf(packet), path: '' })
    this.#asksHome = true
    return encodePacket(packet)
  }

  get asksHome(): boolean {
    return this.#asksHome
  }

  /** What goes back to the client in place of the target's answer. */
  deny(request: Request, message: string): Buffer {
    if (request.id === null || !this.#asked.delete(request.id)) throw new FieldError('a request that is not waiting')
    return status(request.id, permissionDenied, message)
  }

  /** What goes on to the client, and the files that were closed by it. */
  fromTarget(chunk: Buffer): { readonly bytes: Buffer[]; readonly files: FileEvent[] } {
    const files: FileEvent[] = []
    const bytes = this.#fromTarget.push(chunk).flatMap(each => this.#reply(each, files))
    return { bytes, files }
  }

  #reply(bytes: Pieces, files: FileEvent[]): Pieces {
    const packet = decodePacket(bytes)
    if (packet.type === 'version') {
      if (this.#state !== 'init' || packet.version !== 3)
        throw new FieldError('a target that does not speak SFTP version 3')
      this.#state = 'ready'
      const extensions = packet.extensions.filter(({ name }) => isKnown(name.toString('latin1')))
      return [encodePacket({ ...packet, extensions })]
    }
    if (packet.type === 'init') throw new FieldError('an INIT from a target')
    const asked = this.#pending.get(packet.id)
    if (asked === undefined) throw new FieldError('an answer to what was not asked')
    if (packet.type !== 'status' && !replies[asked.asked.type]?.includes(packet.type))
      throw new FieldError(`a ${packet.type} as the answer to a ${asked.asked.type}`)
    this.#pending.delete(packet.id)
    this.#pathBytes -= asked.path.length
    this.#answered(asked, packet, files)
    if (!this.#asksHome || packet.id !== ownId) return bytes
    this.#asksHome = false
    return []
  }

  #answered({ asked, path }: Pending, reply: Packet, files: FileEvent[]): void {
    if (reply.type === 'handle') this.#opened(asked, reply, path)
    else if (asked.type === 'read' && reply.type === 'data') {
      if (lengthOf(reply.data) > asked.length) throw new FieldError('more data than was asked for')
      const file = this.#handles.get(asked.handle)?.file
      if (file === undefined) return
      file.download ??= new Transfer()
      file.download.take(asked.offset, reply.data)
    } else if (asked.type === 'write' && reply.type === 'status' && reply.code !== ok) {
      const upload = this.#handles.get(asked.handle)?.file.upload
      if (upload) upload.failed = true
    } else if (asked.type === 'close' && reply.type === 'status') {
      this.#closed(asked.handle, reply.code !== ok, true, files)
    } else if (asked.type === 'realpath' && reply.type === 'name' && this.#home === undefined) {
      const home = reply.entries[0]?.file.toString('utf8') ?? ''
      if (asked.here && home.startsWith('/')) this.#home = home
    }
  }

  #opened(asked: Asked, reply: Extract<Packet, { readonly type: 'handle' }>, path: string): void {
    const name = key(reply.handle)
    if (this.#handles.has(name)) throw new FieldError('a handle that is open already')
    if (this.#handles.size >= this.#limits.handles) throw new FieldError('too many open files')
    const flags = asked.type === 'open' ? asked.flags : 0
    this.#handles.set(name, {
      path,
      closing: false,
      // An empty file is a transfer too; of a file for both ways only what happens is.
      file: { download: flags === 1 ? new Transfer() : null, upload: (flags & 3) === 2 ? new Transfer() : null },
    })
  }

  #copied(data: Buffer): void {
    const length = data.readUInt32BE(0)
    const to = data.subarray(4 + length + 16)
    const file = this.#handles.get(key(to.subarray(4, 4 + to.readUInt32BE(0))))?.file
    if (file === undefined) return
    file.upload ??= new Transfer()
    file.upload.gaps = true // the bytes move inside the target, where nobody hashes them
  }

  #closed(name: string, failed: boolean, complete: boolean, files: FileEvent[]): void {
    const handle = this.#handles.get(name)
    this.#handles.delete(name)
    for (const direction of ['download', 'upload'] as const) {
      const end = handle?.file[direction]?.end()
      if (end !== undefined)
        files.push({ path: handle!.path, direction, ...end, failed: end.failed || failed, complete })
    }
  }

  /** The channel is over: files that were never closed. */
  end(): FileEvent[] {
    const files: FileEvent[] = []
    for (const name of [...this.#handles.keys()]) this.#closed(name, false, false, files)
    return files
  }
}

/** An answer of ours; also for what policy did not refuse but cannot be done (`failure`). */
export function status(id: number, code: number, message: string): Buffer {
  const words = { message: Buffer.from(message), language: Buffer.from('en') }
  return encodePacket({ type: 'status', id, code, words })
}

export const statusFailure = failure

function askedOf(packet: Packet): Asked {
  switch (packet.type) {
    case 'open':
      return { type: packet.type, flags: packet.flags }
    case 'read':
      return { type: packet.type, handle: key(packet.handle), offset: packet.offset, length: packet.length }
    case 'write':
    case 'close':
      return { type: packet.type, handle: key(packet.handle) }
    case 'realpath':
      return { type: packet.type, here: packet.path.length === 0 || packet.path.equals(Buffer.from('.')) }
    default:
      return { type: packet.type }
  }
}

function key(handle: Buffer): string {
  return handle.toString('latin1')
}

function isKnown(name: string): boolean {
  return (extensions as readonly string[]).includes(name)
}
