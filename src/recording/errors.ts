import { SallyportError } from '../errors.ts'

/** The journal cannot take this event. INVARIANT: whoever gets this forwards nothing more and cuts the session. */
export class JournalLost extends SallyportError {
  constructor(reason: string, cause?: unknown) {
    super('recording_unavailable', `the recording of this session cannot go on: ${reason}`, {
      facts: { reason },
      ...(cause === undefined ? {} : { cause }),
    })
  }
}

/** A recording does not verify. It names the part and the segment (-1: the part as a whole) at which trust ends. */
export class RecordingDamaged extends SallyportError {
  readonly part: number
  readonly segment: number

  constructor(part: number, segment: number, reason: string) {
    const place = segment < 0 ? `part ${part}` : `part ${part}, segment ${segment}`
    super('internal', `the recording is damaged at ${place}: ${reason}`, {
      remedy:
        'what was shown before this place is verified; compare with the seal in the audit log and with a copy of the store',
      facts: { part, segment, reason },
    })
    this.part = part
    this.segment = segment
  }
}
