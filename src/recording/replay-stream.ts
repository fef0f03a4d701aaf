import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { Database } from '../db/database.ts'
import { SallyportError } from '../errors.ts'
import { logger } from '../log.ts'
import type { Decision } from '../policy/decision.ts'
import { containerLines } from './container.ts'
import { RecordingDamaged } from './errors.ts'
import type { Reader, RecordingRow } from './reader.ts'
import { jsonLine } from './render.ts'
import type { ReplayDoor, ReplayRequest } from './replay-door.ts'
import { lineOf, outlineOf } from './replay-line.ts'
import { type Follower, Watch } from './watches.ts'

const log = logger('recording')
/** Each second, as a session is: revoked, disabled or out of the group, nobody sees more than a second of it. */
const decideAgainMs = 1_000
/** A follower that takes nothing for so long is not watching. */
const stalledMs = 3_000

export interface ReplayStream {
  readonly reader: Reader
  readonly database: Database
  readonly row: RecordingRow
  readonly request: ReplayRequest
  readonly opened: Decision<'replay'>
  readonly door: ReplayDoor
  readonly stop: AbortController
  /** The events, the events without what terminals put out, or the sealed container for an outsider. */
  readonly what: 'events' | 'outline' | 'container'
  /** Of this process, in the row that says who watches. */
  readonly process_id: string
}

/**
 * Streams a recording as JSON Lines: a line of facts, the events, and a line that says whether all of it verified. A
 * stream without that last line was cut. Nothing is read ahead of a client that does not take it.
 */
export async function streamReplay(response: ServerResponse, stream: ReplayStream): Promise<void> {
  const { row, request, opened, stop } = stream
  response.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' })
  let again = performance.now() + decideAgainMs
  let ending: { ok: boolean; problem: string | null } = { ok: true, problem: null }
  const line = new Line(response, stop)
  let watch: Watch | undefined
  const redecide = async () => {
    if (performance.now() < again) return true
    again = performance.now() + decideAgainMs
    return stream.door.stillAllowed(row, request)
  }
  // An idle live session gives no event for minutes: a revoked viewer is sent away all the same.
  const guard = setInterval(() => {
    void redecide().then(
      allowed => allowed || stop.abort('policy'),
      () => stop.abort('policy'),
    )
  }, decideAgainMs)
  try {
    if (request.follow) watch = await Watch.begin(stream.database, followerOf(stream), () => line.stalledMs < stalledMs)
    await line.send(header(row, request, opened))
    for await (const said of linesOf(stream)) {
      if (stop.signal.aborted) break
      if (!(await redecide())) {
        stop.abort('policy')
        break
      }
      await line.send(said)
    }
    if (stop.signal.aborted) ending = { ok: false, problem: cutBecause(stop.signal) }
  } catch (error) {
    if (!(error instanceof RecordingDamaged) && !(error instanceof SallyportError)) throw error
    log.warn({ err: error, recording: row.id }, 'a replay ended early')
    ending = { ok: false, problem: error.message }
  } finally {
    clearInterval(guard)
    await watch?.end()
  }
  if (response.destroyed) return
  const now = await stream.reader.find(row.session_id)
  response.end(
    `${jsonLine({ kind: 'end', state: now?.state ?? row.state, seal_hash: now?.seal_hash ?? null, ...ending })}\n`,
  )
}

async function* linesOf({ reader, row, request, what, stop }: ReplayStream): AsyncGenerator<object> {
  const { view, follow, verb } = request
  if (what === 'container') return yield* containerLines(reader, row, verb === 'export')
  const events = reader.events(row.session_id, { view, ...(follow ? { follow: stop.signal } : {}) })
  for await (const event of events) yield what === 'outline' ? outlineOf(event) : lineOf(event)
}

const cutBecause = (signal: AbortSignal): string =>
  signal.reason === 'policy' ? 'policy no longer allows this replay' : 'the replay process is stopping'

function header(row: RecordingRow, request: ReplayRequest, opened: Decision<'replay'>): object {
  const { session_id, subject_id, subject_name, resource, role, protocol, state } = row
  const facts = { session_id, subject_id, subject_name, resource, role, protocol, state }
  return {
    kind: 'recording',
    recording_id: row.id,
    ...facts,
    started_at_ms: row.started_at.getTime(),
    view: request.view,
    decision_id: opened.id,
  }
}

/** What goes to the client, one line after the other, and for how long it has taken none. */
class Line {
  readonly #response: ServerResponse
  readonly #stop: AbortController
  #stalledAt: number | undefined

  constructor(response: ServerResponse, stop: AbortController) {
    this.#response = response
    this.#stop = stop
  }

  get stalledMs(): number {
    return this.#stalledAt === undefined ? 0 : performance.now() - this.#stalledAt
  }

  async send(value: object): Promise<void> {
    if (this.#response.destroyed || this.#response.write(`${jsonLine(value)}\n`)) return
    this.#stalledAt = performance.now()
    await once(this.#response, 'drain', { signal: this.#stop.signal }).catch(() => {})
    this.#stalledAt = undefined
  }
}

function followerOf({ row, request, opened, process_id }: ReplayStream): Follower {
  const { subject_id, on_behalf_of } = request.call
  return { decision_id: opened.id, session_id: row.session_id, subject_id, on_behalf_of, process_id }
}
