import { SallyportError } from '../errors.ts'
import { plain, type ReplayLine } from './render.ts'
import { type ChannelAddress, type Shown, type Size, TerminalChannel } from './terminal.ts'

const usual: Size = { cols: 80, rows: 24 }
const codes = { output: 'o', input: 'i', resize: 'r', note: 'm' } as const

/**
 * One channel of a replay as asciicast v2 (JSON Lines: a header, then `[seconds, code, data]`), which asciinema's player
 * takes. Output has gone through the terminal filter; the bytes as they were are in the JSON Lines export.
 * @throws SallyportError `not_found` when the channel put nothing out, and, after a marker that says so, for a replay that
 * is not whole.
 */
export async function* asciicast(
  lines: AsyncIterable<ReplayLine>,
  options: { readonly channel?: ChannelAddress | undefined } = {},
): AsyncGenerator<string> {
  const terminal = new TerminalChannel(options.channel)
  let facts: ReplayLine | undefined
  let began: number | undefined
  let last = 0
  let whole = false
  for await (const line of lines) {
    if (line.kind === 'recording') facts = line
    if (line.kind === 'end') whole = line['ok'] !== false
    const shown = terminal.take(line)
    if (shown === undefined) continue
    if (began === undefined && (shown.what === 'resize' || shown.what === 'note')) continue // the header says the size
    if (began === undefined) {
      began = line.at_ms ?? 0
      yield `${JSON.stringify(header(facts, terminal, began))}\n`
    }
    // Lines without a time of their own are those of the moment before; time never goes back.
    last = Math.max(last, line.at_ms === undefined ? last : line.at_ms - began)
    const data = dataOf(shown)
    if (data !== '') yield `${JSON.stringify([Math.round(last * 1000) / 1e6, codes[shown.what], data])}\n`
  }
  if (began === undefined || !terminal.hasOutput) throw nothing(options.channel, terminal.others)
  if (!whole)
    throw new SallyportError('internal', 'the replay is not whole', {
      remedy: 'read its last marker: it names the part that does not verify',
    })
}

function header(facts: ReplayLine | undefined, terminal: TerminalChannel, began: number): object {
  const { cols, rows } = terminal.size ?? usual
  const said = (name: string) => String(facts?.[name] ?? '')
  return {
    version: 2,
    width: cols,
    height: rows,
    timestamp: Math.floor(began / 1000),
    title: plain(`${said('subject_name')} as ${said('role')} on ${said('resource')}, ${said('session_id')}`),
    env: { TERM: plain(terminal.term ?? 'xterm-256color') },
  }
}

function dataOf(shown: Shown): string {
  if (shown.what === 'resize') return `${shown.size.cols}x${shown.size.rows}`
  return shown.what === 'note' ? plain(shown.text) : shown.text
}

function nothing(asked: ChannelAddress | undefined, others: readonly string[]): SallyportError {
  const place = asked?.conn === undefined ? '' : `${asked.conn}:`
  const which =
    asked === undefined ? 'no channel of this recording' : `channel ${place}${asked.channel} of this recording`
  return new SallyportError('not_found', `${which} has terminal output`, {
    remedy: others.length > 0 ? `ask for one of the channels ${others.join(', ')}` : 'replay it as text or JSON Lines',
  })
}
