import type { Registry } from '../gateway/registry.ts'
import type { Readings } from '../recording/reading.ts'
import { parseLine } from '../recording/render.ts'
import { readingOf } from '../recording/render-reading.ts'

/** A line of the outline as the replay process writes it, up to its kind: the members of the envelope come first. */
const envelope = /^\{"at_ms":[\d.]+,"part":\d+,"conn":"[^"\\]*","seq":\d+,"kind":"([^"\\]*)"/
const protocolOf = /^\{"kind":"recording",.*?"protocol":"([^"\\]*)"/
const maxLine = 64 * 1024 * 1024
/** What a page needs of an event beside its reading. */
const kept = ['at_ms', 'part', 'conn', 'seq', 'kind', 'channel', 'text'] as const

/** The outline of a replay for the page: events whose kind somebody can read carry a `reading` in the place of their facts. */
export async function* withReadings(
  chunks: AsyncIterable<Uint8Array>,
  registry: Pick<Registry, 'readingsOf'>,
): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let readings: Readings = {}
  let rest = ''
  for await (const chunk of chunks) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop()!
    if (rest.length > maxLine) throw new RangeError('a line of the replay is too long')
    const protocol = protocolOf.exec(lines[0] ?? '')?.[1]
    if (protocol !== undefined) readings = registry.readingsOf(protocol)
    if (lines.length > 0) yield lines.map(line => `${readLine(line, readings)}\n`).join('')
  }
  if (rest !== '') yield rest
}

function readLine(text: string, readings: Readings): string {
  const kind = envelope.exec(text)?.[1]
  if (kind === undefined || !Object.hasOwn(readings, kind)) return text
  const line = parseLine(text)
  const reading = readingOf(readings, line)
  if (reading === undefined) return text
  return JSON.stringify({ ...Object.fromEntries(kept.map(name => [name, line[name]])), reading })
}
