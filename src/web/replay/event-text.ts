import type { Reading } from '../../recording/reading.ts'

/** A line of a replay, as the API streams it. */
export interface ReplayEvent {
  readonly kind: string
  readonly at_ms?: number
  readonly part?: number
  readonly seq?: number
  readonly conn?: string
  /** How it reads, where somebody knows its kind. */
  readonly reading?: Reading
  readonly [member: string]: unknown
}

const placed: ReadonlySet<string> = new Set([
  'kind',
  'at_ms',
  'part',
  'seq',
  'conn',
  'text',
  'columns',
  'values',
  'data',
])
const mostChars = 20_000

/** Recorded text: what would be obeyed, or turn the line around, is shown as an escape. */
export function visible(text: string, most = mostChars): string {
  return text
    .slice(0, most)
    .replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, char =>
      char === '\n' || char === '\t' ? char : `\\u${char.codePointAt(0)!.toString(16).padStart(4, '0')}`,
    )
}

/** The members of an event that have no place of their own. */
export function factsOf(event: ReplayEvent): string {
  return Object.entries(event)
    .filter(([name, value]) => !placed.has(name) && value !== null && value !== undefined && value !== '')
    .map(([name, value]) => `${name}=${typeof value === 'string' ? visible(value) : visible(JSON.stringify(value))}`)
    .join(' ')
}

/** Rows of a result, where there are some: at most `most` of them. */
export function rowsOf(
  event: ReplayEvent,
  most: number,
): { names: string[]; rows: string[][]; more: number } | undefined {
  const { columns, values } = event
  if (!Array.isArray(columns) && !Array.isArray(values)) return undefined
  const names = (Array.isArray(columns) ? columns : []).map(column =>
    visible(String((column as { name?: unknown } | null)?.name ?? column)),
  )
  const all = (Array.isArray(values) ? values : []) as unknown[]
  const cell = (value: unknown) =>
    visible(value === null ? '∅' : typeof value === 'object' ? JSON.stringify(value) : String(value))
  const rows = all.slice(0, most).map(row => (Array.isArray(row) ? row.map(cell) : [cell(row)]))
  return { names, rows, more: all.length - rows.length }
}

/** Whether it is something that was asked or said, and not the traffic of a terminal or a file. */
export const isMoment = (event: ReplayEvent): boolean =>
  event.at_ms !== undefined && event.kind !== 'output' && event.kind !== 'resize' && event.kind !== 'input'

/** Channels that put something out, as they are asked for. */
export function channelsOf(events: readonly ReplayEvent[]): string[] {
  const found = new Set<string>()
  for (const event of events)
    if (event.kind === 'output' && typeof event['channel'] === 'number' && found.size < 100)
      found.add(`${(event.conn ?? '').slice(-6)}:${event['channel']}`)
  return [...found]
}
