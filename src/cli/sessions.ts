import { SallyportError } from '../errors.ts'
import { createPlayback, parseLine, type ReplayLine, renderLine } from '../recording/render.ts'
import type { Client } from './client.ts'
import { instant, say, table } from './output.ts'

interface SessionAnswer {
  readonly id: string
  readonly subject: { readonly name: string }
  readonly resource: string
  readonly role: string
  readonly opened_at_ms: number
  readonly ended_at_ms: number | null
  readonly end_reason: string | null
}

export interface ReplayOptions {
  readonly speed: number
  readonly text?: boolean
  readonly json?: boolean
  readonly view?: string
  readonly reason?: string
}

/** Lists sessions, newest first, as far as policy lets the caller see them. */
export async function listSessions(client: Client, filters: Record<string, string>): Promise<void> {
  const query = new URLSearchParams(filters)
  const { items, next } = await client.get<{ items: SessionAnswer[]; next: string | null }>(`/api/sessions?${query}`)
  table(
    ['session', 'who', 'role', 'resource', 'opened', 'ended', 'why'],
    items.map(s => [
      s.id,
      s.subject.name,
      s.role,
      s.resource,
      instant(s.opened_at_ms),
      s.ended_at_ms === null ? 'live' : instant(s.ended_at_ms),
      s.end_reason ?? '',
    ]),
  )
  if (next !== null) say('… there are more: narrow it down, or raise --limit')
}

/** Ends a live session now. */
export async function endSession(client: Client, id: string, reason: string): Promise<void> {
  await client.post(`${pathOf(id, 'sessions')}/end`, { reason })
  say('Ended. Its connections are being closed.')
}

/** Replays a recording: as it happened, faster, or all at once. */
export async function replay(client: Client, id: string, options: ReplayOptions): Promise<void> {
  if (!(options.speed > 0)) throw new SallyportError('bad_request', 'the speed must be a number greater than 0')
  const playback = createPlayback({ speed: options.text || options.json ? Number.POSITIVE_INFINITY : options.speed })
  await show(client, eventsPath(id, options), options.json === true, line => playback.due(line))
}

/** Follows a live session until it ends or Ctrl-C. */
export async function tail(client: Client, id: string, options: { json?: boolean; reason?: string }): Promise<void> {
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort())
  try {
    await show(client, eventsPath(id, { ...options, follow: true }), options.json === true, async () => {}, stop.signal)
  } catch (error) {
    if (!stop.signal.aborted) throw error
  }
}

/** Sets a legal hold: the recording is not deleted while it stands. */
export async function setHold(client: Client, id: string, reason: string): Promise<void> {
  await client.post(`${pathOf(id, 'recordings')}/holds`, { reason })
  say('The recording is on hold.')
}

interface HoldAnswer {
  readonly id: string
  readonly lifted_at_ms: number | null
}

/** Lifts the legal holds that stand on a recording, each for the same reason. */
export async function liftHold(client: Client, id: string, reason: string): Promise<void> {
  const path = `${pathOf(id, 'recordings')}/holds`
  const { items } = await client.get<{ items: HoldAnswer[] }>(path)
  const standing = items.filter(hold => hold.lifted_at_ms === null)
  if (standing.length === 0) {
    throw new SallyportError('conflict', 'there is no hold on this recording', { remedy: 'nothing is to be done' })
  }
  for (const hold of standing) await client.delete(`${path}/${hold.id}?${new URLSearchParams({ reason })}`)
  say(standing.length === 1 ? 'The hold is lifted.' : `${standing.length} holds are lifted.`)
}

function pathOf(id: string, area: string): string {
  return `/api/${area}/${encodeURIComponent(id)}`
}

function eventsPath(id: string, options: { json?: boolean; view?: string; reason?: string; follow?: boolean }): string {
  const query = new URLSearchParams({ verb: options.json ? 'export' : 'open' })
  if (options.follow) query.set('follow', 'true')
  if (options.view !== undefined) query.set('view', options.view)
  if (options.reason !== undefined) query.set('reason', options.reason)
  return `${pathOf(id, 'recordings')}/events?${query}`
}

async function show(
  client: Client,
  path: string,
  json: boolean,
  due: (line: ReplayLine) => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  let whole = false
  for await (const text of client.lines(path, signal)) {
    const line = parseLine(text)
    await due(line)
    say(json ? text : renderLine(line))
    whole = line.kind === 'end' && line['ok'] !== false
  }
  if (!whole)
    throw new SallyportError('internal', 'the replay is not whole', {
      remedy: 'read its last lines: they name the part that does not verify',
    })
}
