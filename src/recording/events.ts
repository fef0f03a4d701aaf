import { Packr } from 'msgpackr'
import { EventWriter, maxEventBytes } from './format/event-writer.ts'

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
  /** Called when the journal has it: its memory may be used again. */
  readonly release?: () => void
}

/** One event as it is kept: the envelope, and beside it the members of the body. */
export interface Recorded {
  readonly t: number // µs since the part's start
  readonly conn: string
  readonly seq: number // 1, 2, 3, … within the part
  readonly kind: string
  readonly [member: string]: unknown
}

/** Plain MessagePack: no record extension. */
const packr = new Packr({ useRecords: false })

/** One event as it stands in a record: four bytes of length, then MessagePack. The envelope wins over members of the body of the same name. */
export function packEvent(event: NewRecorded, seq: number, t: number): Buffer {
  const writer = new EventWriter()
  writer.write(event, seq, t)
  return writer.written
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
