import { Badge, Code, Group, Text } from '@mantine/core'
import type { Mark, Reading, ReadingPart, Tone } from '../../recording/reading.ts'
import { Command } from '../parts.tsx'
import { visible } from './event-text.ts'

const colors: Record<Tone, string> = { plain: 'gray', good: 'green', warn: 'yellow', bad: 'red' }
const short = 12

/** What an event says, in the words of whoever knows its kind: a line, and what belongs to it. Text from people is text. */
export function ReadingLine({ title, tone, marks }: Reading) {
  return (
    <Group gap={6} align="baseline" style={{ minWidth: 0 }}>
      <Text
        size="sm"
        fw={tone === 'plain' ? 500 : 600}
        style={{ overflowWrap: 'anywhere', ...(tone === 'bad' ? { color: 'var(--mantine-color-red-text)' } : {}) }}
      >
        {visible(title)}
      </Text>
      {marks.map((mark, i) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: they never change their places
        <MarkBadge key={i} mark={mark} />
      ))}
    </Group>
  )
}

function MarkBadge({ mark }: { mark: Mark }) {
  return (
    <Badge size="sm" variant="light" tt="none" color={colors[mark.tone]} style={{ flexShrink: 0 }}>
      {visible(mark.text)}
    </Badge>
  )
}

export function ReadingParts({ parts, command }: Reading) {
  return (
    <>
      {parts.map((part, i) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: they never change their places
        <Part key={i} part={part} />
      ))}
      {command !== undefined && (
        <div style={{ marginTop: 6, maxWidth: 760 }}>
          <Command text={visible(command)} testId="reading-command" />
        </div>
      )}
    </>
  )
}

/** One value on its line; a list under its name, folded where it is long. */
function Part({ part: { label, rows, more, tone } }: { part: ReadingPart }) {
  const name = (
    <Text span size="xs" c={tone === 'bad' ? 'red' : 'dimmed'} fw={600}>
      {visible(label)}
    </Text>
  )
  if (rows.length === 1 && rows[0]!.length === 1)
    return (
      <Group gap={8} align="baseline" wrap="nowrap" mt={2}>
        {name}
        <Text span size="xs" style={{ overflowWrap: 'anywhere' }}>
          {visible(rows[0]![0]!)}
        </Text>
      </Group>
    )
  return (
    <details open={rows.length <= short} style={{ marginTop: 4 }}>
      <summary style={{ cursor: 'pointer' }}>
        {name}{' '}
        <Text span size="xs" c="dimmed">
          {rows.length + more}
        </Text>
      </summary>
      <div style={{ overflowX: 'auto' }}>
        <table style={{ borderSpacing: '12px 2px', marginLeft: -4, fontSize: 'var(--mantine-font-size-xs)' }}>
          <tbody>
            {rows.map((cells, i) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: they never change their places
              <tr key={i}>
                {cells.map((cell, n) => (
                  // biome-ignore lint/suspicious/noArrayIndexKey: they never change their places
                  <Cell key={n} text={cell} isLast={n === cells.length - 1} />
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {more > 0 && (
        <Text size="xs" c="dimmed">{`and ${more} more, in the JSON Lines as far as they were recorded`}</Text>
      )}
    </details>
  )
}

function Cell({ text, isLast }: { text: string; isLast: boolean }) {
  return (
    <td style={{ verticalAlign: 'baseline', whiteSpace: isLast ? 'normal' : 'nowrap', minWidth: isLast ? 160 : 0 }}>
      {/^[0-9a-f]{12,64}$/.test(text) ? <Code fz="xs">{text}</Code> : visible(text)}
    </td>
  )
}
