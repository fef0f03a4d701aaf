import type { Reading, Readings } from './reading.ts'
import { bodyText, momentText, plain, type ReplayLine, renderLine } from './render.ts'

/** @returns what the readings make of a line. A recording may hold anything: what cannot be read is shown as it is. */
export function readingOf(readings: Readings, line: ReplayLine): Reading | undefined {
  if (!Object.hasOwn(readings, line.kind)) return undefined
  try {
    return readings[line.kind]!(line)
  } catch {
    return undefined
  }
}

/** An event as text for a terminal, as `renderLine`, in the words of whoever knows its kind. */
export function renderRead(line: ReplayLine, readings: Readings): string {
  const reading = readingOf(readings, line)
  if (reading === undefined) return renderLine(line)
  return `${plain(momentText(line))} ${readingText(reading)}${bodyText(line)}`
}

/** A reading as text: the first line, and the others indented. */
export function readingText({ title, marks, parts, command }: Reading): string {
  const head = [title, ...marks.map(mark => `[${mark.text}]`)].join('  ')
  const lines = parts.flatMap(({ label, rows, more }) =>
    rows.length === 1 && rows[0]!.length === 1 && more === 0
      ? [`    ${label}: ${rows[0]![0]}`]
      : [
          `    ${label}`,
          ...aligned(rows).map(row => `      ${row}`),
          ...(more > 0 ? [`      … and ${more} more`] : []),
        ],
  )
  return [head, ...lines, ...(command === undefined ? [] : [`    $ ${command}`])].map(plain).join('\n')
}

const widest = 48

/** Cells under each other, as far as they are short. */
function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = []
  for (const row of rows)
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, Math.min(plain(cell).length, widest))
  return rows.map(row =>
    row
      .map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i]!)))
      .join('  ')
      .trimEnd(),
  )
}
