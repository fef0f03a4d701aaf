import { setTimeout as sleep } from 'node:timers/promises'

/**
 * One line of a replay, as the API streams it (JSON Lines). The first has kind `recording`, the last kind `end`; those
 * between are events with their place in time (`at_ms`), part, connection and body, or the explicit holes (`gap`).
 */
export interface ReplayLine {
  readonly kind: string
  readonly at_ms?: number
  readonly part?: number
  readonly seq?: number
  readonly conn?: string
  readonly [member: string]: unknown
}

const maxLine = 64 * 1024 * 1024

/** JSON of an event: bytes become `{"base64": …}`, big integers text. One line, whatever the values hold. */
export function jsonLine(line: object): string {
  return JSON.stringify(line, (_, value: unknown) => {
    if (typeof value === 'bigint') return value.toString()
    if (value instanceof Uint8Array) return { base64: Buffer.from(value).toString('base64') }
    if (isBufferJson(value)) return { base64: Buffer.from(value.data).toString('base64') }
    return value
  })
}

/** @throws SyntaxError or TypeError for text that is no line of a replay. */
export function parseLine(text: string): ReplayLine {
  const value: unknown = JSON.parse(text)
  if (typeof value !== 'object' || value === null || typeof (value as ReplayLine).kind !== 'string') {
    throw new TypeError('this is no line of a replay: it has no kind')
  }
  return value as ReplayLine
}

const placed = new Set(['at_ms', 'part', 'seq', 't'])
const envelope = new Set(['kind', 'at_ms', 'part', 'seq', 'conn', 't', 'text', 'columns', 'values', 'data'])

/**
 * An event as text for a terminal, without a newline at its end. What was recorded cannot steer the terminal: control
 * characters come out as visible escapes.
 */
export function renderLine(line: ReplayLine): string {
  if (line.kind === 'recording')
    return plain(
      `session ${text(line['session_id'])}: ${text(line['subject_name'])} as ${text(line['role'])} on ${text(line['resource'])}`,
    )
  if (line.kind === 'gap') return plain(gapText(line))
  if (line.kind === 'end') return plain(endText(line))
  const facts = Object.entries(line)
    .filter(
      ([name, value]) =>
        (!envelope.has(name) || typeof value === 'number') &&
        !placed.has(name) &&
        value !== null &&
        value !== undefined &&
        value !== '',
    )
    .map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
  const head = plain([`${momentText(line)} ${line.kind}`, ...facts].join(' '))
  return head + bodyText(line) + rowsText(line)
}

/** When it was and on which connection, as a line begins. */
export function momentText({ at_ms, conn = '' }: ReplayLine): string {
  const time = typeof at_ms === 'number' ? new Date(at_ms).toISOString().slice(11, 23) : ''
  return `${time}${conn === '' ? '' : ` ${plain(conn.slice(-6))}`}`
}

/** The text of an event, or its bytes as text, indented below its line. */
export function bodyText(line: ReplayLine): string {
  return typeof line['text'] === 'string' ? indent(line['text']) : dataText(line['data'])
}

export interface Playback {
  /** Resolves when this line is due. @returns at once for a line without a time. */
  due(line: ReplayLine): Promise<void>
}

/**
 * Paces lines as they happened, `speed` times faster. Pauses are cut to `maxPauseMs`, so that an idle session does not
 * keep its viewer waiting; `Infinity` as speed plays at once.
 */
export function createPlayback(options: { speed: number; maxPauseMs?: number; signal?: AbortSignal }): Playback {
  const { speed, maxPauseMs = 3_000, signal } = options
  if (!(speed > 0)) throw new RangeError('the speed must be a number greater than 0')
  let before: number | undefined
  return {
    async due(line) {
      if (typeof line.at_ms !== 'number') return
      const pause = before === undefined ? 0 : Math.min((line.at_ms - before) / speed, maxPauseMs)
      before = line.at_ms
      if (pause >= 1) await sleep(pause, undefined, signal === undefined ? {} : { signal })
    },
  }
}

/** Bytes of a terminal or a file, as text with every control character visible. */
function dataText(data: unknown): string {
  const bytes = bytesOf(data)
  return bytes === undefined || bytes.length === 0
    ? ''
    : indent(Buffer.from(bytes).toString('utf8').replaceAll('\r\n', '\n'))
}

/** Bytes of an event: as they are in this process, or as a line of JSON carries them. */
export function bytesOf(value: unknown): Uint8Array | undefined {
  if (value instanceof Uint8Array) return value
  if (typeof value === 'string') return Buffer.from(value)
  if (typeof value !== 'object' || value === null) return undefined
  const { base64 } = value as { base64?: unknown }
  return typeof base64 === 'string' ? Buffer.from(base64, 'base64') : undefined
}

/** The lines of a streamed replay. @throws for a line that is longer than any that the replay process sends. */
export async function* replayLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<ReplayLine> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of chunks) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop()!
    if (rest.length > maxLine) throw new RangeError('a line of the replay is too long')
    for (const line of lines) if (line !== '') yield parseLine(line)
  }
  if (rest !== '') yield parseLine(rest)
}

function gapText(line: ReplayLine): string {
  const to = line['to_seq'] === null || line['to_seq'] === undefined ? 'on' : `to ${text(line['to_seq'])}`
  return `--- part ${text(line.part)}: events from ${text(line['from_seq'])} ${to} are missing ---`
}

function endText(line: ReplayLine): string {
  if (line['ok'] === false) return `--- the recording does not verify from here on: ${text(line['problem'])} ---`
  return `--- end (${text(line['state'])}) ---`
}

function rowsText(line: ReplayLine): string {
  const { columns, values: rows } = line
  const names = Array.isArray(columns) ? columns.map(name) : undefined
  if (!Array.isArray(rows)) return names === undefined ? '' : indent(names.join(' | '))
  const lines = rows.map(row => (Array.isArray(row) ? row.map(cell).join(' | ') : JSON.stringify(row)))
  return indent([...(names === undefined ? [] : [names.join(' | ')]), ...lines].join('\n'))
}

const text = (value: unknown): string => (typeof value === 'string' ? value : String(value ?? ''))
const name = (column: unknown): string =>
  typeof column === 'object' && column !== null && 'name' in column ? text(column.name) : text(column)
const cell = (value: unknown): string =>
  value === null ? '∅' : typeof value === 'object' ? JSON.stringify(value) : text(value)

function indent(block: string): string {
  return block
    .split('\n')
    .map(line => `\n    ${plain(line)}`)
    .join('')
}

/** No control, format or line-separating character gets through (RE6). */
export function plain(value: string): string {
  return value.replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, char => {
    const code = char.codePointAt(0) ?? 0
    return code > 0xffff ? `\\u{${code.toString(16)}}` : `\\u${code.toString(16).padStart(4, '0')}`
  })
}

function isBufferJson(value: unknown): value is { type: 'Buffer'; data: number[] } {
  return (
    typeof value === 'object' &&
    value !== null &&
    (value as { type?: unknown }).type === 'Buffer' &&
    Array.isArray((value as { data?: unknown }).data)
  )
}
