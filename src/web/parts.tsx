import { Alert, Badge, Button, Code, CopyButton, Group, Loader, Paper, Stack, Text, Title } from '@mantine/core'
import { type ReactNode, useEffect } from 'react'
import type { ApiError, Loaded } from './api.ts'

/** A page: its title, also in the browser's tab, what may be done there, and the rest. */
export function Page({ title, aside, children }: { title: string; aside?: ReactNode; children: ReactNode }) {
  useEffect(() => {
    document.title = `${title} · Sallyport`
  }, [title])
  return (
    <Stack>
      <Group justify="space-between" align="center" gap="xs">
        <Title order={2} size="h3">
          {title}
        </Title>
        {aside}
      </Group>
      {children}
    </Stack>
  )
}

/** Where there is nothing yet: what would stand here, and how it comes. */
export function Nothing({ title, children }: { title: string; children: ReactNode }) {
  return (
    <Paper withBorder p="xl" ta="center">
      <Text fw={600}>{title}</Text>
      <Text size="sm" c="dimmed" mt={4}>
        {children}
      </Text>
    </Paper>
  )
}

/** A command to type, with a button that copies it. */
export function Command({ text, testId }: { text: string; testId?: string }) {
  return (
    <Group gap="xs" wrap="nowrap" align="stretch">
      <Code
        block
        fz="sm"
        style={{ flex: 1, minWidth: 0, whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' }}
        data-testid={testId}
      >
        {text}
      </Code>
      <CopyButton value={text}>
        {({ copied, copy }) => (
          <Button variant="default" onClick={copy} h="auto" px="sm" miw={82} style={{ flexShrink: 0 }}>
            {copied ? 'Copied' : 'Copy'}
          </Button>
        )}
      </CopyButton>
    </Group>
  )
}

/** A refusal, with the rule and the place in the policy that made it, and what to do next. */
export function Refusal({ error }: { error: ApiError }) {
  return (
    <Alert color="red" title={capital(error.message)} data-testid="refusal" role="alert">
      <Stack gap={4}>
        <Text size="sm">{capital(error.remedy)}.</Text>
        {error.rule !== undefined && !error.message.includes(error.rule) && (
          <Text size="sm">
            Rule <Code>{error.rule}</Code>
            {error.at !== undefined && (
              <>
                {' '}
                at <Code style={{ overflowWrap: 'anywhere' }}>{shortCommit(error.at)}</Code>
              </>
            )}
          </Text>
        )}
        {error.decision_id !== undefined && (
          <Text size="xs" c="dimmed">
            Decision {error.decision_id}
          </Text>
        )}
      </Stack>
    </Alert>
  )
}

/** Shows what was loaded, the refusal, or that it is on its way. */
export function Shown<Value>({ from, children }: { from: Loaded<Value>; children: (value: Value) => ReactNode }) {
  if (from.value !== undefined) return <>{children(from.value)}</>
  if (from.error !== undefined) return <Refusal error={from.error} />
  return <Loader size="sm" />
}

const stateColors: Record<string, string> = {
  pending: 'yellow',
  approved: 'green',
  denied: 'red',
  expired: 'gray',
  cancelled: 'gray',
  live: 'green',
  open: 'yellow',
  overdue: 'red',
  accepted: 'green',
  flagged: 'red',
  confirmed: 'green',
  refused: 'gray',
}

export function StateBadge({ state }: { state: string }) {
  return (
    <Badge color={stateColors[state] ?? 'gray'} variant="light" style={{ flexShrink: 0 }}>
      {state}
    </Badge>
  )
}

/** Seconds as a person says them: `45 min`, `2 h`, `1 h 30 min`. */
export function duration(seconds: number): string {
  const minutes = Math.round(seconds / 60)
  const hours = Math.floor(minutes / 60)
  if (hours === 0) return `${minutes} min`
  return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`
}

/** Long times: `12 h`, `30 days`. */
export const days = (seconds: number): string =>
  seconds < 86_400 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`

/** `8:35 PM` for today, with the date for every other day. */
export function when(at: number): string {
  const date = new Date(at)
  const today = date.toDateString() === new Date().toDateString()
  return date.toLocaleString(undefined, today ? { timeStyle: 'short' } : { dateStyle: 'medium', timeStyle: 'short' })
}

/** `just now`, `5 min ago`, `in 2 h`. */
export function fromNow(at: number): string {
  const seconds = Math.round((at - Date.now()) / 1000)
  if (Math.abs(seconds) < 45) return seconds > 0 ? 'in less than a minute' : 'just now'
  return seconds > 0 ? `in ${duration(seconds)}` : `${duration(-seconds)} ago`
}

export const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1)

/** `file:line@commit` with as much of the commit as people read. */
const shortCommit = (at: string) => at.replace(/@([0-9a-f]{12})[0-9a-f]+$/, '@$1')
