import type { Readings } from '../recording/reading.ts'
import { bytesOf, type ReplayLine } from '../recording/render.ts'
import { renderRead } from '../recording/render-reading.ts'
import { TerminalFilter } from '../recording/terminal-filter.ts'
import { html, pageEnd, pageHead, time } from './html.ts'

const mostOutput = 64 * 1024
/** What the filter lets through and paper cannot do: colours and moves of the cursor. */
const moves = /\u001b(?:\[[0-9;?]*[ -/]*[@-~]|[()][A-Za-z0-9]|[78=>DEM])|[\b\v\f\u000e\u000f\u0007]/g

/**
 * A replay as one HTML page, line by line: what was asked and answered, and what terminals put out as text.
 * @param readingsOf how the events of a protocol's sessions read.
 */
export async function* replayPage(
  lines: AsyncIterable<ReplayLine>,
  readingsOf: (protocol: string) => Readings = () => ({}),
): AsyncGenerator<string> {
  let readings: Readings = {}
  let begun = false
  let whole = false
  const channels = new Map<string, { filter: TerminalFilter; decoder: InstanceType<typeof TextDecoder> }>()
  for await (const line of lines) {
    if (line.kind === 'recording') {
      const title = `${String(line['subject_name'])} as ${String(line['role'])} on ${String(line['resource'])}`
      yield pageHead(title)
      yield html`<h1>${title}</h1><p class="dim"><code>${line['session_id']}</code>, begun ${time(line['started_at_ms'])} UTC, ${line['view']} view, under decision <code>${line['decision_id']}</code></p>
<table><tr><th>when</th><th>what happened</th></tr>`.text
      readings = readingsOf(String(line['protocol']))
      begun = true
      continue
    }
    if (line.kind === 'end') whole = line['ok'] === true
    yield html`<tr><td>${time(line.at_ms)}</td><td><pre>${textOf(line, channels, readings)}</pre></td></tr>
`.text
  }
  if (!begun) yield pageHead('Replay')
  yield `</table>${whole ? '' : html`<p class="note">This is not all of it: the replay was cut off, or does not verify.</p>`.text}${pageEnd}`
}

function textOf(
  line: ReplayLine,
  channels: Map<string, { filter: TerminalFilter; decoder: InstanceType<typeof TextDecoder> }>,
  readings: Readings,
): string {
  const bytes = line.kind === 'output' ? bytesOf(line['data']) : undefined
  const { data: _, ...rest } = line
  const head = renderRead(bytes === undefined ? line : (rest as ReplayLine), readings).replace(
    /^\d\d:\d\d:\d\d\.\d{3} /,
    '',
  )
  if (bytes === undefined) return head
  const key = `${line.conn ?? ''} ${String(line['channel'])} ${String(line['stream'])}`
  let channel = channels.get(key)
  if (channel === undefined && channels.size < 256)
    channels.set(
      key,
      (channel = { filter: new TerminalFilter(), decoder: new TextDecoder('utf-8', { ignoreBOM: true }) }),
    )
  if (channel === undefined) return head
  const text = channel.filter
    .write(channel.decoder.decode(bytes, { stream: true }))
    .replace(moves, '')
    .replaceAll('\r\n', '\n')
    .replaceAll('\r', '\n')
  const more = text.length - mostOutput
  return `${head}\n${text.slice(0, mostOutput)}${more > 0 ? `\n… and ${more} more characters, in the JSON Lines` : ''}`
}
