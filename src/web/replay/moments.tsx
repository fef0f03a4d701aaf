import { Badge, Code, Group, Paper, Table, Text, UnstyledButton } from '@mantine/core'
import { useEffect, useRef } from 'react'
import { timeText } from './clock.ts'
import { factsOf, type ReplayEvent, rowsOf, visible } from './event-text.ts'
import { ReadingLine, ReadingParts } from './reading.tsx'

const around = 150

/** What was asked and answered, one moment after the other; the present one is marked, if there is one, and each can be gone to. */
export function Moments({
  events,
  began,
  current,
  seek,
}: {
  events: readonly ReplayEvent[]
  began: number
  current: number | undefined
  seek: (at: number) => void
}) {
  const marked = useRef<HTMLDivElement>(null)
  // biome-ignore lint/correctness/useExhaustiveDependencies: it is the present moment that moves
  useEffect(() => {
    marked.current?.scrollIntoView({ block: 'nearest' }) // newer browsers answer with a promise, which is no clean-up
  }, [current])
  const now = current ?? -1
  const from = Math.max(0, now - around)
  const shown = events.slice(from, now + around)
  return (
    <Paper withBorder p="xs" style={{ maxHeight: '60vh', overflowY: 'auto' }} data-testid="moments">
      {from > 0 && <Text size="sm" c="dimmed">{`${from} earlier`}</Text>}
      {shown.map((event, i) => {
        const isNow = from + i === now
        return (
          <div key={`${event.part}.${event.seq}.${event.kind}`} ref={isNow ? marked : undefined}>
            <Moment
              event={event}
              at={(event.at_ms ?? began) - began}
              isNow={isNow}
              ahead={current !== undefined && from + i > now}
              seek={seek}
            />
          </div>
        )
      })}
      {events.length > now + around && <Text size="sm" c="dimmed">{`${events.length - now - around} later`}</Text>}
    </Paper>
  )
}

/** What nobody says in words: the kind and the members. */
function Facts({ event }: { event: ReplayEvent }) {
  const color =
    event.kind === 'gap' ? 'orange' : event.kind.includes('error') || event.kind.includes('den') ? 'red' : 'gray'
  return (
    <>
      <Badge size="xs" variant="light" color={color} tt="none">
        {visible(event.kind)}
      </Badge>
      <Text size="xs" c="dimmed" style={{ overflowWrap: 'anywhere' }}>
        {factsOf(event)}
      </Text>
    </>
  )
}

function Moment({
  event,
  at,
  isNow,
  ahead,
  seek,
}: {
  event: ReplayEvent
  at: number
  isNow: boolean
  ahead: boolean
  seek: (at: number) => void
}) {
  const rows = rowsOf(event, 20)
  const { text, reading } = event
  return (
    <div
      style={{
        padding: '4px 6px',
        borderRadius: 6,
        opacity: ahead ? 0.45 : 1,
        background: isNow ? 'var(--mantine-color-blue-light)' : undefined,
      }}
      aria-current={isNow ? 'step' : undefined}
    >
      <Group gap="xs" wrap="nowrap" align="baseline">
        <UnstyledButton onClick={() => seek(at)} aria-label={`Go to ${timeText(at)}`}>
          <Text size="xs" ff="monospace" c="blue" style={{ whiteSpace: 'nowrap' }}>
            {timeText(at)}
          </Text>
        </UnstyledButton>
        {reading === undefined ? <Facts event={event} /> : <ReadingLine {...reading} />}
      </Group>
      {reading !== undefined && <ReadingParts {...reading} />}
      {typeof text === 'string' && (
        <Code block mt={2} fz="sm" style={{ whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' }}>
          {visible(text)}
        </Code>
      )}
      {rows !== undefined && (rows.rows.length > 0 || rows.names.length > 0) && (
        <Table.ScrollContainer minWidth={0} type="native">
          <Table
            fz="xs"
            withTableBorder
            mt={2}
            data={{
              head: rows.names,
              body: rows.rows,
              ...(rows.more > 0 ? { caption: `and ${rows.more} more rows` } : {}),
            }}
          />
        </Table.ScrollContainer>
      )}
    </div>
  )
}
