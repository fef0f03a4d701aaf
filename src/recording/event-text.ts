import type { Played } from './part-reader.ts'

/** What an event says, as it is searched. */
export interface EventText {
  readonly part: number
  readonly seq: number
  readonly at_ms: number
  readonly conn: string
  readonly kind: string
  readonly text: string
}

const mostChars = 4_096
const mostDepth = 4
/** Rows of results and bytes of terminals and files: what was answered, and not what was asked or said. */
const bulk: ReadonlySet<string> = new Set(['columns', 'data', 'values'])
const envelope: ReadonlySet<string> = new Set(['at_us', 'conn', 'kind', 'part', 'seq', 't', 'decision', 'decision_id'])

/**
 * Statements, commands, paths, requests, names of refs, error texts: every text of an event's body but the bulk, whatever
 * protocol recorded it. @returns undefined for an event that says nothing.
 */
export function textOf(event: Played): EventText | undefined {
  const said: string[] = []
  let left = mostChars
  const collect = (value: unknown, depth: number): void => {
    if (left <= 0) return
    if (typeof value === 'string') {
      // PostgreSQL holds neither NUL nor half of a character.
      const text = value.slice(0, left).toWellFormed().replaceAll('\0', '\ufffd')
      said.push(text)
      left -= text.length + 1
    } else if (typeof value === 'object' && value !== null && depth < mostDepth && !(value instanceof Uint8Array)) {
      for (const [name, member] of Object.entries(value)) if (!bulk.has(name)) collect(member, depth + 1)
    }
  }
  for (const [name, member] of Object.entries(event)) if (!envelope.has(name) && !bulk.has(name)) collect(member, 0)
  const text = said.filter(one => one !== '').join('\n')
  if (text === '') return undefined
  const { part, seq, conn, kind } = event
  const safe = (value: string) => value.slice(0, 128).toWellFormed().replaceAll('\0', '\ufffd')
  return { part, seq, at_ms: Math.round(event.at_us / 1000), conn: safe(conn), kind: safe(kind), text }
}
