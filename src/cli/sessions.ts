import { open } from 'node:fs/promises'
import { SallyportError } from '../errors.ts'
import { asciicast } from '../recording/asciicast.ts'
import { createPlayback, parseLine, type ReplayLine } from '../recording/render.ts'
import { type ChannelAddress, channelAddress } from '../recording/terminal.ts'
import type { Client } from './client.ts'
import { instant, say, table } from './output.ts'
import { readingsOf } from './readings.ts'
import { ChannelScreen, JsonScreen, type Screen, TerminalScreen, TextScreen } from './screens.ts'

interface SessionAnswer {
  readonly id: string
  readonly subject: { readonly name: string }
  readonly resource: string
  readonly role: string
  readonly opened_at_ms: number
  readonly ended_at_ms: number | null
  readonly end_reason: string | null
  readonly open_connections: number
  readonly recording: {
    readonly state: string
    readonly deleted_at_ms: number | null
    readonly deleted_by: string | null
  } | null
}

export interface ShowOptions {
  readonly text?: boolean
  readonly json?: boolean
  readonly terminal?: boolean
  /** `CHANNEL` or `CONNECTION:CHANNEL`. */
  readonly channel?: string | undefined
  readonly channels?: boolean
  readonly reason?: string
}

export interface ReplayOptions extends ShowOptions {
  readonly speed: number
  readonly max_pause_s?: number
  readonly asciicast?: boolean
  readonly html?: boolean
  readonly output?: string
  readonly view?: string
}

/** Lists sessions, newest first, as far as policy lets the caller see them. */
export async function listSessions(client: Client, filters: Record<string, string>): Promise<void> {
  const query = new URLSearchParams(filters)
  const { items, next } = await client.get<{ items: SessionAnswer[]; next: string | null }>(`/api/sessions?${query}`)
  table(
    ['session', 'who', 'role', 'resource', 'opened', 'ended', 'recording', 'why'],
    items.map(s => [
      s.id,
      s.subject.name,
      s.role,
      s.resource,
      instant(s.opened_at_ms),
      s.ended_at_ms === null ? liveness(s.open_connections) : instant(s.ended_at_ms),
      recordingOf(s),
      s.end_reason ?? '',
    ]),
    'No sessions.',
  )
  if (next !== null) say('… there are more: narrow it down, or raise --limit')
}

/** What is left of it: a receipt says when it went and by whose word. */
function recordingOf({ recording }: SessionAnswer): string {
  if (recording === null) return 'none'
  if (recording.deleted_at_ms === null) return recording.state
  return `deleted ${instant(recording.deleted_at_ms)} by ${recording.deleted_by}`
}

/** A session outlives its connections for a while, so that a client can come back. */
function liveness(connections: number): string {
  if (connections === 0) return 'live, not connected'
  return `live, ${connections} connection${connections === 1 ? '' : 's'}`
}

/** Ends a live session now. */
export async function endSession(client: Client, id: string, reason: string): Promise<void> {
  await client.post(`${pathOf(id, 'sessions')}/end`, { reason })
  say('Ended. Its connections are being closed.')
}

/** Replays a recording: as it happened, faster, or all at once. */
export async function replay(client: Client, id: string, options: ReplayOptions): Promise<void> {
  const { speed, max_pause_s = 3 } = options
  if (!(speed > 0))
    throw new SallyportError('bad_request', 'the speed must be a number greater than 0', {
      remedy: 'write it as --speed 4 or --speed 0.5',
    })
  if (!(max_pause_s > 0)) throw new SallyportError('bad_request', 'the longest pause must be longer than 0 seconds')
  if (options.asciicast) return await exportAsciicast(client, id, options)
  if (options.html) return await exportPage(client, id, options)
  const atOnce = options.text === true || options.json === true || options.channels === true
  const playback = createPlayback({
    speed: atOnce ? Number.POSITIVE_INFINITY : speed,
    maxPauseMs: max_pause_s * 1000,
  })
  await show(client, eventsPath(id, options), screenOf(options), line => playback.due(line))
}

/** Writes one channel as asciicast v2, to a file or to standard output. */
async function exportAsciicast(client: Client, id: string, options: ReplayOptions): Promise<void> {
  const lines = async function* () {
    for await (const text of client.lines(eventsPath(id, { ...options, json: true }))) yield parseLine(text)
  }
  const channel = addressOf(options)
  const file = options.output === undefined ? undefined : await open(options.output, 'w', 0o600)
  try {
    for await (const line of asciicast(lines(), { channel })) {
      if (file === undefined) process.stdout.write(line)
      else await file.write(line)
    }
  } finally {
    await file?.close()
  }
  if (options.output !== undefined) say(`written to ${options.output}`)
}

async function exportPage(client: Client, id: string, { view, reason, output }: ReplayOptions): Promise<void> {
  const query = new URLSearchParams({
    ...(view === undefined ? {} : { view }),
    ...(reason === undefined ? {} : { reason }),
  })
  const file = output === undefined ? undefined : await open(output, 'w', 0o600)
  try {
    for await (const chunk of client.stream(`${pathOf(id, 'recordings')}/html?${query}`))
      if (file === undefined) process.stdout.write(chunk)
      else await file.write(chunk)
  } finally {
    await file?.close()
  }
  if (output !== undefined) say(`written to ${output}`)
}

function addressOf({ channel }: ShowOptions): ChannelAddress | undefined {
  return channel === undefined ? undefined : channelAddress(channel)
}

/** How it is shown: as JSON Lines, as text, or as the terminal that it was. */
function screenOf(options: ShowOptions): Screen {
  const { json, text, terminal } = options
  const channel = addressOf(options)
  if (json) return new JsonScreen()
  if (options.channels) return new ChannelScreen()
  if (terminal && !process.stdout.isTTY)
    throw new SallyportError('bad_request', 'this is no terminal: --terminal has nothing to play to', {
      remedy: 'use --text, --json or --asciicast',
    })
  return text || !process.stdout.isTTY ? new TextScreen() : new TerminalScreen(process.stdout, { terminal, channel })
}

/** Follows a live session until it ends or Ctrl-C. */
export async function tail(client: Client, id: string, options: ShowOptions): Promise<void> {
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort())
  try {
    await show(client, eventsPath(id, { ...options, follow: true }), screenOf(options), async () => {}, stop.signal)
  } catch (error) {
    if (!stop.signal.aborted) throw error
  }
}

/** Sets a legal hold on each of these sessions, for a case where one is named. */
export async function setHold(
  client: Client,
  ids: readonly string[],
  options: { readonly reason: string; readonly case?: string },
): Promise<void> {
  for (const id of ids) await client.post(`${pathOf(id, 'recordings')}/holds`, options)
  say(ids.length === 1 ? 'The recording is on hold.' : `${ids.length} recordings are on hold.`)
}

interface HoldAnswer {
  readonly id: string
  readonly session_id: string
  readonly case: string | null
  readonly reason: string
  readonly set_by: string
  readonly set_at_ms: number
  readonly lifted_at_ms: number | null
}

/** Lifts the legal holds that stand on recordings or for a case, each for the same reason. */
export async function liftHold(
  client: Client,
  ids: readonly string[],
  options: { readonly reason: string; readonly case?: string },
): Promise<void> {
  const { reason, case: of } = options
  if (of === undefined && ids.length === 0)
    throw new SallyportError('bad_request', 'which hold?', { remedy: 'name sessions, or a case with --case' })
  const standing = ids.length === 0 ? await heldFor(client, of) : []
  for (const id of ids) {
    const { items } = await client.get<{ items: HoldAnswer[] }>(`${pathOf(id, 'recordings')}/holds`)
    standing.push(...items.filter(hold => hold.lifted_at_ms === null && (of === undefined || hold.case === of)))
  }
  if (standing.length === 0) {
    throw new SallyportError('conflict', 'no such hold stands', {
      remedy: 'nothing is to be done; see `sallyport holds`',
    })
  }
  for (const hold of standing)
    await client.delete(`${pathOf(hold.session_id, 'recordings')}/holds/${hold.id}?${new URLSearchParams({ reason })}`)
  say(standing.length === 1 ? 'The hold is lifted.' : `${standing.length} holds are lifted.`)
}

async function heldFor(client: Client, of: string | undefined): Promise<HoldAnswer[]> {
  const query = new URLSearchParams(of === undefined ? {} : { case: of })
  return (await client.get<{ items: HoldAnswer[] }>(`/api/holds?${query}`)).items
}

/** Lists the holds that stand. */
export async function listHolds(client: Client, options: { readonly case?: string }): Promise<void> {
  table(
    ['session', 'case', 'since', 'by', 'reason'],
    (await heldFor(client, options.case)).map(h => [
      h.session_id,
      h.case ?? '',
      instant(h.set_at_ms),
      h.set_by,
      h.reason,
    ]),
    'No legal hold stands.',
  )
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
  screen: Screen,
  due: (line: ReplayLine) => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  let whole = false
  try {
    for await (const text of client.lines(path, signal)) {
      const line = parseLine(text)
      await due(line)
      if (line.kind === 'recording') screen.reads?.(await readingsOf(line['protocol']))
      screen.show(line, text)
      whole = line.kind === 'end' && line['ok'] !== false
    }
  } finally {
    screen.restore()
  }
  if (!whole)
    throw new SallyportError('internal', 'the replay is not whole', {
      remedy: 'read its last lines: they name the part that does not verify',
    })
}
