import { Box } from '@mantine/core'
import { Terminal } from '@xterm/headless'
import { type CSSProperties, useEffect, useRef, useState } from 'react'
import { indexAfter } from './clock.ts'

/** One frame of an asciicast: when (ms), what kind, and its data. */
export interface Frame {
  readonly at: number
  readonly code: string
  readonly data: string
}

export interface Cast {
  readonly cols: number
  readonly rows: number
  /** When it began, in milliseconds of the recording. */
  readonly from: number
  readonly frames: readonly Frame[]
}

/**
 * A terminal as it looked. The emulator has no page of its own: what it holds is drawn as text, so nothing that was
 * recorded can be anything else. What reaches it went through the server's filter.
 */
export function TerminalScreen({ cast, at }: { cast: Cast; at: number }) {
  const holder = useRef<{ terminal: Terminal; done: number; cast: Cast } | undefined>(undefined)
  const [lines, setLines] = useState<Line[]>([])
  useEffect(() => {
    let now = holder.current
    const due = indexAfter(
      cast.frames.map(frame => frame.at),
      at - cast.from,
    )
    if (now === undefined || due < now.done || now.cast.from !== cast.from || now.cast.cols !== cast.cols) {
      now?.terminal.dispose()
      const terminal = new Terminal({ cols: cast.cols, rows: cast.rows, scrollback: 0, allowProposedApi: true })
      now = { terminal, done: 0, cast }
      holder.current = now
    }
    for (; now.done < due; now.done++) {
      const frame = cast.frames[now.done]!
      if (frame.code === 'o') now.terminal.write(frame.data)
      if (frame.code === 'r') resize(now.terminal, frame.data)
    }
    const { terminal } = now
    terminal.write('', () => setLines(drawn(terminal)))
  }, [cast, at])
  useEffect(() => () => holder.current?.terminal.dispose(), [])
  return (
    <Box
      component="pre"
      m={0}
      p="sm"
      data-testid="terminal"
      style={{
        background: '#15181c',
        color: '#d7dce2',
        borderRadius: 8,
        overflowX: 'auto',
        lineHeight: 1.25,
        fontSize: 13,
        minHeight: `${cast.rows * 1.25 + 2}em`,
      }}
    >
      {lines.map((line, i) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a line of a screen is its place
        <div key={i} style={{ minHeight: '1.25em' }}>
          {line.map((run, j) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: so is a run of it
            <span key={j} style={run.style}>
              {run.text}
            </span>
          ))}
        </div>
      ))}
    </Box>
  )
}

type Line = { text: string; style: CSSProperties }[]

function resize(terminal: Terminal, size: string): void {
  const [, cols, rows] = /^(\d{1,4})x(\d{1,4})$/.exec(size) ?? []
  if (cols !== undefined && rows !== undefined)
    terminal.resize(Math.min(Number(cols), 500), Math.min(Number(rows), 200))
}

function drawn(terminal: Terminal): Line[] {
  const { active } = terminal.buffer
  const lines: Line[] = []
  for (let y = 0; y < terminal.rows; y++) {
    const from = active.getLine(active.viewportY + y)
    const line: Line = []
    let last = ''
    for (let x = 0; from !== undefined && x < terminal.cols; x++) {
      const cell = from.getCell(x)
      if (cell === undefined || cell.getWidth() === 0) continue
      const cursor = active.cursorX === x && active.cursorY === y
      const style = styleOf(cell, cursor)
      const key = JSON.stringify(style)
      const chars = cell.getChars() || ' '
      if (key === last && line.length > 0) line.at(-1)!.text += chars
      else line.push({ text: chars, style })
      last = key
    }
    lines.push(line)
  }
  return lines
}

type Cell = NonNullable<ReturnType<NonNullable<ReturnType<Terminal['buffer']['active']['getLine']>>['getCell']>>

function styleOf(cell: Cell, cursor: boolean): CSSProperties {
  const front = cell.isFgDefault() ? undefined : color(cell.getFgColor(), cell.isFgRGB() !== false)
  const back = cell.isBgDefault() ? undefined : color(cell.getBgColor(), cell.isBgRGB() !== false)
  const turned = (cell.isInverse() !== 0) !== cursor
  const style: CSSProperties = {}
  const shown = turned ? (back ?? '#15181c') : front
  const behind = turned ? (front ?? '#d7dce2') : back
  if (shown !== undefined) style.color = shown
  if (behind !== undefined) style.background = behind
  if (cell.isBold()) style.fontWeight = 700
  if (cell.isItalic()) style.fontStyle = 'italic'
  if (cell.isDim()) style.opacity = 0.6
  if (cell.isUnderline()) style.textDecoration = 'underline'
  if (cell.isInvisible()) style.visibility = 'hidden'
  return style
}

const base = [
  '#2e3436',
  '#ef5350',
  '#7cb342',
  '#fbc02d',
  '#5c9ded',
  '#ba68c8',
  '#26c6da',
  '#d7dce2',
  '#7f8c8d',
  '#ff8a80',
  '#aed581',
  '#ffe082',
  '#90caf9',
  '#e1bee7',
  '#80deea',
  '#ffffff',
]

/** Of the palette of 256, or as it is. */
function color(value: number, exact: boolean): string {
  if (exact) return `#${value.toString(16).padStart(6, '0')}`
  if (value < 16) return base[value]!
  if (value >= 232)
    return `rgb(${Array(3)
      .fill(8 + (value - 232) * 10)
      .join(' ')})`
  const step = (n: number) => (n === 0 ? 0 : 55 + n * 40)
  const n = value - 16
  return `rgb(${step(Math.floor(n / 36))} ${step(Math.floor(n / 6) % 6)} ${step(n % 6)})`
}
