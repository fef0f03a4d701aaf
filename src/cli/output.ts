import { SallyportError } from '../errors.ts'

/** What a person sees. Text from elsewhere passes `plain`, so that it cannot move the cursor or forge a line. */
export function plain(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, c => (c === '\n' ? '⏎' : '\ufffd'))
}

/** The same for a text whose lines are meant. */
function plainLines(text: string): string {
  return text.split('\n').map(plain).join('\n')
}

/** JSON as `--json` prints it. */
export function jsonText(value: unknown, indent?: number): string {
  return inertJson(JSON.stringify(value, null, indent))
}

/** The same JSON: what a terminal would obey, and JSON itself leaves as it is, is written as an escape. */
export function inertJson(json: string): string {
  return json.replace(
    /[\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g,
    c => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

export function say(line = ''): void {
  process.stdout.write(line + '\n')
}

/** Prints rows under headings, each column as wide as its widest cell; `none` is said where there are no rows. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[], none?: string): void {
  if (rows.length === 0 && none !== undefined) {
    say(none)
    return
  }
  const cells = [headings.map(h => h.toUpperCase()), ...rows.map(row => row.map(plain))]
  const widths = headings.map((_, i) => Math.max(...cells.map(row => (row[i] ?? '').length)))
  for (const row of cells)
    say(
      row
        .map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i]!)))
        .join('  ')
        .trimEnd(),
    )
}

/** Prints a refusal: what, which rule, where it stands, what to do next. */
export function complain(error: unknown): void {
  if (!(error instanceof SallyportError)) {
    process.stderr.write(`sallyport: ${plainLines(error instanceof Error ? error.message : String(error))}\n`)
    return
  }
  process.stderr.write(`sallyport: ${plainLines(error.message)}\n`)
  const { rule, at, decision_id } = error.facts
  if (typeof rule === 'string' && !error.message.includes(rule))
    process.stderr.write(`  rule: ${plain(rule)}${typeof at === 'string' ? ` (${plain(at)})` : ''}\n`)
  if (typeof decision_id === 'string') process.stderr.write(`  decision: ${plain(decision_id)}\n`)
  process.stderr.write(`  next: ${plainLines(error.remedy)}\n`)
}

const units: Record<string, number> = { s: 1, m: 60, min: 60, h: 3600, d: 86_400 }

/** Seconds of `90`, `45m`, `2h`, `1d`. @throws SallyportError for anything else. */
export function seconds(text: string): number {
  const match = /^(\d{1,7})\s*(s|m|min|h|d)?$/.exec(text.trim())
  if (match === null) {
    throw new SallyportError('bad_request', `'${plain(text)}' is no duration`, { remedy: 'write it as 45m, 2h or 1d' })
  }
  return Number(match[1]) * units[match[2] ?? 's']!
}

export function span(totalSeconds: number): string {
  const minutes = Math.max(0, Math.round(totalSeconds / 60))
  const hours = Math.floor(minutes / 60)
  if (hours === 0) return `${minutes} min`
  return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`
}

export function instant(ms: number): string {
  return new Date(ms).toISOString().replace('T', ' ').slice(0, 19) + 'Z'
}
