import { Packr, RESERVE_START_SPACE } from 'msgpackr'

/** What a caller records. Everything but the envelope is the protocol's own. */
export interface NewRecorded {
  readonly conn: string
  readonly kind: string
  readonly body: object
  /** A member of the body that is MessagePack already, one whole value: large results need not become objects first. */
  readonly packed?: PackedMember | undefined
}

export interface PackedMember {
  readonly name: string
  readonly bytes: Buffer
}

/** One event as it is kept: the envelope, and beside it the members of the body. */
export interface Recorded {
  readonly t: number // µs since the part's start
  readonly conn: string
  readonly seq: number // 1, 2, 3, … within the part
  readonly kind: string
  readonly [member: string]: unknown
}

export const maxEventBytes = 32 * 1024 * 1024

/** Plain MessagePack: no record extension, so that any MessagePack library reads it. */
const packr = new Packr({ useRecords: false, encodeUndefinedAsNil: true })

/** Asks the packer for four free bytes at the start, so that the length need not be put before a copy. */
const leaveLength = RESERVE_START_SPACE + 4
const pack = packr.pack.bind(packr) as (value: object, options: number) => Buffer

/** Four bytes of length, then MessagePack. The envelope wins over members of the body of the same name. */
export function packEvent(event: NewRecorded, seq: number, t: number): Buffer {
  const members = { ...event.body, t, conn: event.conn, seq, kind: event.kind }
  const plain = pack(members, leaveLength)
  const framed = event.packed === undefined ? plain : withMember(plain, members, event.packed)
  const length = framed.length - 4
  if (length > maxEventBytes) throw new RangeError(`an event of ${length} bytes is longer than ${maxEventBytes}`)
  framed.writeUInt32BE(length, 0)
  return framed
}

const map16 = 0xde // how the packer begins every plain object; then its number of members
const mostMembers = 0xffff

/** Puts one more member behind those of a map. */
function withMember(framed: Buffer, members: object, { name, bytes }: PackedMember): Buffer {
  const count = framed.readUInt16BE(5)
  if (framed[4] !== map16 || count === mostMembers || Object.hasOwn(members, name))
    throw new RangeError(`an event cannot hold ${name} beside its other members`)
  framed.writeUInt16BE(count + 1, 5)
  return Buffer.concat([framed, packr.pack(name), bytes])
}

/**
 * Unpacks the events of one record or segment.
 * @throws RangeError or TypeError when the bytes are not a whole number of well-formed events.
 */
export function unpackEvents(bytes: Buffer): Recorded[] {
  const events: Recorded[] = []
  for (let at = 0; at < bytes.length; ) {
    if (bytes.length - at < 4) throw new RangeError('an event is cut in its length')
    const length = bytes.readUInt32BE(at)
    at += 4
    if (length > maxEventBytes || length > bytes.length - at)
      throw new RangeError('an event is longer than what holds it')
    events.push(checked(packr.unpack(bytes.subarray(at, at + length))))
    at += length
  }
  return events
}

function checked(value: unknown): Recorded {
  const event = value as Partial<Recorded> | null
  const fits =
    typeof event === 'object' &&
    event !== null &&
    Number.isSafeInteger(event.t) &&
    Number.isSafeInteger(event.seq) &&
    typeof event.conn === 'string' &&
    typeof event.kind === 'string'
  if (!fits) throw new TypeError('an event lacks its envelope (t, conn, seq, kind)')
  return event as Recorded
}
