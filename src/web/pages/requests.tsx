import { Flex, Group, Paper, ScrollArea, SegmentedControl, Stack, Text } from '@mantine/core'
import { useState } from 'react'
import { Link } from 'wouter'
import { waitsForMe, whoAnswers } from '../answering.ts'
import { useLoaded } from '../api.ts'
import { capital, duration, fromNow, Nothing, Page, Shown, StateBadge } from '../parts.tsx'
import type { Page as List, Me, RequestEntry } from '../types.ts'

const states = ['pending', 'approved', 'denied', 'expired', 'cancelled', 'all']

/** What was asked: by me, and by others where it waits for me or policy lets me see it. */
export function RequestsPage({ me }: { me: Me }) {
  const [state, setState] = useState('pending')
  const requests = useLoaded<List<RequestEntry>>(`/api/requests${state === 'all' ? '' : `?state=${state}`}`, 5_000)
  return (
    <Page title="Requests">
      <ScrollArea type="never">
        <SegmentedControl
          value={state}
          onChange={setState}
          data={states.map(value => ({ value, label: capital(value) }))}
          aria-label="Which requests"
        />
      </ScrollArea>
      <Shown key={state} from={requests}>
        {({ items }) =>
          items.length === 0 ? (
            <Nothing title={state === 'pending' ? 'Nothing waits for an answer' : 'None'}>
              Your own requests stand here, and those that you may answer.
            </Nothing>
          ) : (
            <Stack gap="xs">
              {items.map(request => (
                <RequestCard key={request.id} request={request} me={me} />
              ))}
            </Stack>
          )
        }
      </Shown>
    </Page>
  )
}

const ended = ({ outcome, hold }: RequestEntry) =>
  (hold?.unused ?? null) === null ? outcome : `${outcome ?? 'approved'}; it did not run: ${hold!.unused}`

function RequestCard({ request, me }: { request: RequestEntry; me: Me }) {
  const waits = waitsForMe(request, me)
  return (
    <Paper
      withBorder
      p="md"
      component={Link}
      href={`/requests/${request.id}`}
      c="inherit"
      td="none"
      style={waits ? { borderLeft: '4px solid var(--mantine-color-orange-5)' } : {}}
    >
      <Group justify="space-between" wrap="nowrap" align="flex-start" gap="xs">
        <div style={{ minWidth: 0 }}>
          <Text fw={600}>
            {request.hold === null
              ? `${request.role} on ${request.resource}, for ${duration(request.duration_s)}`
              : `An action ${request.state === 'pending' ? 'waits on' : 'on'} ${request.resource}`}
          </Text>
          <Text size="sm" lineClamp={2} style={{ overflowWrap: 'anywhere' }}>
            {request.reason}
          </Text>
        </div>
        <StateBadge state={request.state} />
      </Group>
      <Flex mt={4} gap="xs" wrap="wrap">
        <Text size="sm" c="dimmed">
          {request.subject.id === me.subject.id ? 'You' : request.subject.name}, {fromNow(request.created_at_ms)}
        </Text>
        <Text size="sm" c="dimmed">
          ·{' '}
          {waits ? 'waits for you' : request.state === 'pending' ? `waits for ${whoAnswers(request)}` : ended(request)}
        </Text>
      </Flex>
    </Paper>
  )
}
