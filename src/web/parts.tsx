import { Alert, Badge, Code, Loader, Stack, Text } from '@mantine/core'
import type { ReactNode } from 'react'
import type { ApiError, Loaded } from './api.ts'

/** A refusal, with the rule and the place in the policy that made it, and what to do next. */
export function Refusal({ error }: { error: ApiError }) {
  return (
    <Alert color="red" title={error.message} data-testid="refusal">
      <Stack gap={4}>
        <Text size="sm">{error.remedy}</Text>
        {error.rule !== undefined && !error.message.includes(error.rule) && (
          <Text size="sm">
            Rule <Code>{error.rule}</Code>
            {error.at !== undefined && (
              <>
                {' '}
                at <Code>{error.at}</Code>
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
}

export function StateBadge({ state }: { state: string }) {
  return (
    <Badge color={stateColors[state] ?? 'gray'} variant="light">
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

export function when(at: string | number): string {
  return new Date(at).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' })
}
