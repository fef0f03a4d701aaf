import type { NewRecorded } from '../recording/events.ts'
import type { SessionRecorder } from '../recording/recorder.ts'
import type { LiveSession } from './live-session.ts'
import type { Forwarding } from './protocol.ts'

/** Long results go to the journal as they come, so that memory stays flat whatever one turn reads. */
const mostBytes = 256 * 1024

/**
 * What the connections of one session recorded in this turn of the event loop: it becomes one record of the journal, for
 * a seal and a write each would cost more than everything else about a short statement.
 *
 * INVARIANT: nothing that waits is forwarded before all that was recorded until then is in the journal; where that fails,
 * or the session has ended, it is never forwarded.
 */
export class Turn {
  readonly #session: LiveSession
  #events: NewRecorded[] = []
  #originals: NewRecorded[] = []
  #bytes = 0
  #waiting: Forwarding[] = []
  #scheduled = false
  /** Syncs under way: what somebody waits for may stand in the record of one of them. */
  #syncs = 0
  readonly #end = () => {
    this.#scheduled = false
    if (this.#waiting.length > 0) this.commit()
  }

  constructor(session: LiveSession) {
    this.#session = session
  }

  record(event: NewRecorded): void {
    this.#events.push(event)
    if (event.packed === undefined) return
    this.#bytes += event.packed.bytes.length
    const { recorder } = this.#session
    if (this.#bytes > mostBytes && recorder !== null && !recorder.strict) this.#append(recorder)
  }

  recordOriginal(event: NewRecorded): void {
    this.#originals.push(event)
  }

  /** `forwarding` goes on when what was recorded is in the journal: of more than one connection when this turn of the event loop is over. */
  whenRecorded(forwarding: Forwarding): void {
    this.#waiting.push(forwarding)
    if (this.#session.connections.size < 2) {
      this.commit() // there is nobody to share a record with
      return
    }
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(this.#end)
  }

  /** The same at once. @returns as `Gate.commit` says. */
  commit(): boolean | Promise<boolean> {
    const waiting = this.#waiting
    if (waiting.length > 0) this.#waiting = []
    const session = this.#session
    if (session.isEnded) return false
    const { recorder } = session
    if (recorder === null && this.#isEmpty) return forward(waiting)
    if (recorder === null) return session.lostRecorder('it was closed')
    const strict = recorder.strict && (!this.#isEmpty || this.#syncs > 0)
    if (!this.#append(recorder)) return false
    for (const each of waiting) each.take()
    if (!strict) {
      forward(waiting)
      recorder.prepare()
      return true
    }
    this.#syncs++
    return recorder
      .flush()
      .finally(() => this.#syncs--)
      .then(
        () => !session.isEnded && forward(waiting),
        (error: Error) => session.lostRecorder(error.message),
      )
  }

  /** The last of a connection, also where the session has ended: how it ended belongs into its recording. */
  finish(): void {
    const { recorder } = this.#session
    if (recorder !== null) this.#append(recorder)
  }

  get #isEmpty(): boolean {
    return this.#events.length === 0 && this.#originals.length === 0
  }

  #append(recorder: SessionRecorder): boolean {
    const events = this.#events
    const originals = this.#originals
    this.#bytes = 0
    try {
      if (originals.length > 0) {
        this.#originals = []
        // INVARIANT: originals that policy asks for and nobody keeps are a lost recording.
        if (recorder.originals === null) throw new Error('its layer of originals is not there')
        recorder.originals.append(originals)
      }
      if (events.length > 0) {
        this.#events = []
        recorder.append(events)
        for (const { packed } of events) packed?.release?.()
      }
      return true
    } catch (error) {
      return this.#session.lostRecorder((error as Error).message)
    }
  }
}

function forward(waiting: readonly Forwarding[]): true {
  for (const each of waiting) each.forward()
  return true
}
