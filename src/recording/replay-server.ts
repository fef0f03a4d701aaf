import type { KeyObject } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SallyportError } from '../errors.ts'
import { logger } from '../log.ts'
import { type CallFacts, CallVerifier } from './calls.ts'
import type { Reader } from './reader.ts'
import { ReplayDoor, type ReplayDoorOptions, type ReplayRequest } from './replay-door.ts'
import { streamReplay } from './replay-stream.ts'
import { searchTexts, type TextHit, type TextQuery } from './text-search.ts'

const log = logger('recording')
const maxStreams = 16
const maxStreamsOfOne = 4

export interface ReplayServerOptions extends Omit<ReplayDoorOptions, 'opensOriginals'> {
  readonly reader: Reader
  /** Control's public key for calls (`public_keys.replay_calls`). */
  readonly callKey: KeyObject
  readonly process_id: string
}

/**
 * Serves control's calls on an internal address: `GET /sessions/:id/` and `events`, `outline`, `container` or `verify`; `GET /search`.
 * INVARIANT: the first byte of a recording goes out after the decision and its event are in the database.
 */
export class ReplayServer {
  readonly #options: ReplayServerOptions
  readonly #door: ReplayDoor
  readonly #calls: CallVerifier
  readonly #server: Server
  readonly #streams = new Map<AbortController, string>()

  constructor(options: ReplayServerOptions) {
    this.#options = options
    this.#door = new ReplayDoor({ ...options, opensOriginals: options.reader.opensOriginals })
    this.#calls = new CallVerifier(options.callKey, options.now)
    this.#server = createServer(
      { requestTimeout: 10_000, headersTimeout: 10_000, maxHeaderSize: 32_768 },
      (request, response) => {
        this.#serve(request, response).catch(error => this.#fail(response, error))
      },
    )
  }

  async listen(address: { host: string; port: number }): Promise<{ host: string; port: number }> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(address.port, address.host, () => {
        this.#server.off('error', reject)
        resolve()
      })
    })
    const bound = this.#server.address() as AddressInfo
    return { host: bound.address, port: bound.port }
  }

  async close(): Promise<void> {
    for (const stream of this.#streams.keys()) stream.abort()
    await new Promise<void>(resolve => {
      this.#server.close(() => resolve())
      this.#server.closeIdleConnections()
      setTimeout(() => this.#server.closeAllConnections(), 1_000).unref()
    })
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? ''
    const call = this.#calls.check(request.method ?? '', path, request.headers.authorization)
    if ('refused' in call)
      throw new SallyportError('unauthenticated', `this call is refused: ${call.refused}`, {
        remedy: 'call the control plane, which forwards to here',
      })
    const url = new URL(path, 'http://replay')
    if (url.pathname === '/search') return await this.#search(response, call, url.searchParams)
    const [, session, what] =
      /^\/sessions\/(ses_[0-9a-z]{26})\/(events|outline|container|verify)$/.exec(url.pathname) ?? []
    if (session === undefined) throw new SallyportError('not_found', 'there is no such call here')
    if (what === 'verify') return this.#verify(response, call, session)
    const asked = { call, session, ...viewOf(url.searchParams) }
    if (what === 'container' && (asked.verb === 'open' || asked.view !== 'masked' || asked.follow))
      throw new SallyportError('bad_request', 'a container is downloaded or exported, masked and as it is now')
    await this.#replay(response, asked, what as 'events' | 'outline' | 'container')
  }

  /** Control decided `admin` for it; nothing of what was recorded is in the report. */
  async #verify(response: ServerResponse, call: CallFacts, session: string): Promise<void> {
    const release = this.#take(call, new AbortController())
    try {
      sendJson(response, 200, await this.#options.reader.verify(session))
    } finally {
      release()
    }
  }

  async #search(response: ServerResponse, call: CallFacts, asked: URLSearchParams): Promise<void> {
    const release = this.#take(call, new AbortController())
    try {
      const finding = this.#door.finding(call)
      const query = textQueryOf(asked)
      const { hits, next } = await searchTexts(this.#options.database, query, finding.sees)
      await finding.shown(
        query.text,
        hits.map(hit => hit.recording.id),
      )
      sendJson(response, 200, { items: hits.map(hit => shownHit(hit, call)), next })
    } finally {
      release()
    }
  }

  async #replay(
    response: ServerResponse,
    request: ReplayRequest,
    what: 'events' | 'outline' | 'container',
  ): Promise<void> {
    const row = await this.#options.reader.find(request.session)
    if (row === undefined) throw new SallyportError('not_found', `there is no recording of session ${request.session}`)
    const stop = new AbortController()
    const release = this.#take(request.call, stop)
    try {
      response.once('close', () => stop.abort())
      const opened = await this.#door.open(row, request)
      await streamReplay(response, { ...this.#options, row, request, opened, what, door: this.#door, stop })
    } finally {
      release()
    }
  }

  #take(call: CallFacts, stop: AbortController): () => void {
    const own = [...this.#streams.values()].filter(subject => subject === call.subject_id).length
    if (this.#streams.size >= maxStreams || own >= maxStreamsOfOne) {
      throw new SallyportError('rate_limited', 'too many replays are open', {
        remedy: 'close one, or wait until it ends',
      })
    }
    this.#streams.set(stop, call.subject_id)
    return () => this.#streams.delete(stop)
  }

  #fail(response: ServerResponse, error: unknown): void {
    const known =
      error instanceof SallyportError
        ? error
        : new SallyportError('internal', 'something went wrong in the replay process', { cause: error })
    if (known.status >= 500) log.error({ err: error }, known.message)
    if (response.headersSent) return void response.destroy()
    const { code, message, remedy, facts, status } = known
    sendJson(response, status, { error: { ...facts, code, message, remedy } })
  }
}

function viewOf(query: URLSearchParams): Pick<ReplayRequest, 'follow' | 'view' | 'verb' | 'reason'> {
  const one = <T extends string>(name: string, allowed: readonly T[], otherwise: T): T => {
    const value = query.get(name) ?? otherwise
    const found = allowed.find(item => item === value)
    if (found === undefined) throw new SallyportError('bad_request', `${name} is one of ${allowed.join(', ')}`)
    return found
  }
  const view = one('view', ['masked', 'clear'], 'masked')
  const reason = query.get('reason')?.trim().slice(0, 500) || null
  if (view === 'clear' && reason === null)
    throw new SallyportError('bad_request', 'the clear view needs a reason', { remedy: 'say why, with --reason' })
  return {
    follow: one('follow', ['true', 'false'], 'false') === 'true',
    view,
    verb: one('verb', ['open', 'download', 'export'], 'open'),
    reason,
  }
}

function textQueryOf(asked: URLSearchParams): TextQuery {
  const number = (name: string): number | undefined => {
    const text = asked.get(name)
    if (text === null) return undefined
    const value = Number(text)
    if (!Number.isSafeInteger(value) || value < 0) throw new SallyportError('bad_request', `${name} is no whole number`)
    return value
  }
  return {
    text: (asked.get('text') ?? '').slice(0, 500),
    session: asked.get('session') ?? undefined,
    subject_id: asked.get('subject_id') ?? undefined,
    resource: asked.get('resource') ?? undefined,
    from_ms: number('from_ms'),
    to_ms: number('to_ms'),
    before: number('before'),
    limit: Math.min(Math.max(number('limit') ?? 25, 1), 100),
  }
}

function shownHit({ recording, excerpt, part, seq, at_ms, conn, kind }: TextHit, call: CallFacts): object {
  const { session_id, subject_id, subject_name, resource, role, protocol } = recording
  return {
    session_id,
    subject: { id: subject_id, name: subject_name },
    own: subject_id === call.subject_id,
    resource,
    role,
    protocol,
    started_at_ms: recording.started_at.getTime(),
    at_ms,
    part,
    seq,
    conn,
    kind,
    excerpt,
  }
}

function sendJson(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
  response.end(JSON.stringify(body))
}
