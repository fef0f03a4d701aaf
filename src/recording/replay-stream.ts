import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { Database } from '../db/database.ts'
import { SallyportError } from '../errors.ts'
import { logger } from '../log.ts'
import type { Decision } from '../policy/decision.ts'
import { RecordingDamaged } from './errors.ts'
import type { Played } from './part-reader.ts'
import type { Reader, RecordingRow } from './reader.ts'
import { jsonLine } from './render.ts'
import type { ReplayDoor, ReplayRequest } from './replay-door.ts'
import { watchChannel } from './watchers.ts'

const log = logger('recording')
const decideAgainMs = 15_000
const watchMs = 5_000

export interface ReplayStream {
  readonly reader: Reader
  readonly database: Database
  readonly row: RecordingRow
  readonly request: ReplayRequest
  readonly opened: Decision<'replay'>
  readonly door: ReplayDoor
  readonly stop: AbortController
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
  const watching = request.follow ? setInterval(() => void watch(stream), watchMs) : undefined
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
    if (request.follow) await watch(stream)
    await send(response, stop, header(row, request, opened))
    const { view, follow } = request
    const events = stream.reader.events(row.session_id, { view, ...(follow ? { follow: stop.signal } : {}) })
    for await (const event of events) {
      if (stop.signal.aborted) break
      if (!(await redecide())) {
        stop.abort('policy')
        break
      }
      await send(response, stop, line(event))
    }
    if (stop.signal.aborted) ending = { ok: false, problem: cutBecause(stop.signal) }
  } catch (error) {
    if (!(error instanceof RecordingDamaged) && !(error instanceof SallyportError)) throw error
    log.warn({ err: error, recording: row.id }, 'a replay ended early')
    ending = { ok: false, problem: error.message }
  } finally {
    clearInterval(watching)
    clearInterval(guard)
  }
  if (response.destroyed) return
  const now = await stream.reader.find(row.session_id)
  response.end(
    `${jsonLine({ kind: 'end', state: now?.state ?? row.state, seal_hash: now?.seal_hash ?? null, ...ending })}\n`,
  )
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

/** The body of an event may hold members of any name; the envelope wins. */
function line({ at_us, t: _t, at_ms: _at, part, conn, seq, kind, ...body }: Played): object {
  return { at_ms: at_us / 1000, part, conn, seq, kind, ...body }
}

async function send(response: ServerResponse, stop: AbortController, value: object): Promise<void> {
  if (response.destroyed || response.write(`${jsonLine(value)}\n`)) return
  await once(response, 'drain', { signal: stop.signal }).catch(() => {})
}

/** Tells the gateways that somebody follows, so that they ship sooner. */
async function watch(stream: ReplayStream): Promise<void> {
  await stream.database.sql`select pg_notify(${watchChannel}, ${stream.row.session_id})`.catch((error: unknown) => {
    log.warn({ err: error }, 'the gateways could not be told that somebody follows')
  })
}
