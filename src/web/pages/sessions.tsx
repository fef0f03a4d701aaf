import { Button, Code, Flex, Group, Paper, Stack, Text } from '@mantine/core'
import { Link } from 'wouter'
import { call, useAct, useLoaded } from '../api.ts'
import { fromNow, Nothing, Page, Refusal, Shown, StateBadge, when } from '../parts.tsx'
import type { Page as List, Me, SessionEntry } from '../types.ts'

/** Sessions that policy lets this person see: their own at least. */
export function SessionsPage({ me }: { me: Me }) {
  const sessions = useLoaded<List<SessionEntry>>('/api/sessions', 5_000)
  return (
    <Page title="Sessions">
      <Shown from={sessions}>
        {({ items }) =>
          items.length === 0 ? (
            <Nothing title="No session yet">One begins when somebody connects under a grant.</Nothing>
          ) : (
            <Stack gap="xs">
              {items.map(session => (
                <SessionCard key={session.id} session={session} me={me} reload={sessions.reload} />
              ))}
            </Stack>
          )
        }
      </Shown>
      <Text size="sm" c="dimmed">
        Policy says who may watch which. In a terminal: <Code>npx sallyport replay SESSION</Code>.
      </Text>
    </Page>
  )
}

function SessionCard({ session, me, reload }: { session: SessionEntry; me: Me; reload: () => void }) {
  const { busy, refusal, act } = useAct()
  const own = session.subject.id === me.subject.id
  const live = session.ended_at_ms === null
  const end = () =>
    act('end', () => call('POST', `/api/sessions/${session.id}/end`, { reason: 'ended in the browser' })).finally(
      reload,
    )
  return (
    <Paper withBorder p="md">
      <Group justify="space-between" wrap="nowrap" align="flex-start" gap="xs">
        <div style={{ minWidth: 0 }}>
          <Text fw={600}>
            {own ? 'You' : session.subject.name} as {session.role} on {session.resource}
          </Text>
          <Text size="sm" c="dimmed">
            Opened {when(session.opened_at_ms)}, {fromNow(session.opened_at_ms)}
            {session.ended_at_ms !== null && `; ended ${when(session.ended_at_ms)}: ${session.end_reason ?? ''}`}
            {live && `; ${connections(session.open_connections)}`}
          </Text>
          <Text size="xs" c="dimmed" ff="monospace" style={{ overflowWrap: 'anywhere' }}>
            {session.id}
          </Text>
        </div>
        <Flex direction="column" align="flex-end" gap="xs" style={{ flexShrink: 0 }}>
          <StateBadge state={live ? 'live' : 'ended'} />
          <Button size="compact-sm" variant="light" component={Link} href={`/sessions/${session.id}`}>
            {live ? 'Watch' : 'Replay'}
          </Button>
          {live && own && (
            <Button size="compact-sm" variant="default" loading={busy !== undefined} onClick={() => void end()}>
              End
            </Button>
          )}
        </Flex>
      </Group>
      {refusal !== undefined && <Refusal error={refusal} />}
    </Paper>
  )
}

function connections(count: number): string {
  if (count === 0) return 'nothing is connected now'
  return count === 1 ? '1 connection' : `${count} connections`
}
