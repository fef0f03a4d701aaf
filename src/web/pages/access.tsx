import { Button, Group, Paper, Stack, Text } from '@mantine/core'
import { Link } from 'wouter'
import { waitsForMe, whoAnswers } from '../answering.ts'
import { call, useAct, useLoaded } from '../api.ts'
import { Command, duration, fromNow, Page, Refusal, StateBadge, when } from '../parts.tsx'
import type { GrantEntry, Page as List, Me, RequestEntry } from '../types.ts'
import { AskSection } from './ask.tsx'

/** The start: what waits for my answer, what I may use now, what I asked for, and a form to ask for more. */
export function AccessPage({ me }: { me: Me }) {
  const pending = useLoaded<List<RequestEntry>>('/api/requests?state=pending', 5_000)
  const grants = useLoaded<List<GrantEntry>>('/api/grants', 5_000)
  const requests = pending.value?.items ?? []
  const waiting = requests.filter(request => waitsForMe(request, me))
  const mine = requests.filter(request => request.subject.id === me.subject.id)
  const usable = (grants.value?.items ?? []).filter(grant => grant.subject.id === me.subject.id)
  return (
    <Page title="Access">
      {waiting.map(request => (
        <Waiting key={request.id} request={request} />
      ))}
      {usable.map(grant => (
        <Usable key={grant.id} grant={grant} reload={grants.reload} />
      ))}
      {mine.map(request => (
        <Asked key={request.id} request={request} />
      ))}
      {grants.error !== undefined && <Refusal error={grants.error} />}
      <AskSection />
    </Page>
  )
}

function Waiting({ request }: { request: RequestEntry }) {
  return (
    <Paper withBorder p="md" style={{ borderLeft: '4px solid var(--mantine-color-orange-5)' }}>
      <Group justify="space-between" gap="xs">
        <Stack gap={2} style={{ flex: '1 1 16rem', minWidth: 0 }}>
          <Text fw={600}>
            {request.subject.name} asks for {request.role} on {request.resource}, for {duration(request.duration_s)}
          </Text>
          <Text size="sm" c="dimmed" lineClamp={2}>
            {request.reason}
          </Text>
        </Stack>
        <Button component={Link} href={`/requests/${request.id}`} color="orange" variant="light">
          Answer
        </Button>
      </Group>
    </Paper>
  )
}

function Asked({ request }: { request: RequestEntry }) {
  return (
    <Paper withBorder p="md" style={{ borderLeft: '4px solid var(--mantine-color-yellow-5)' }}>
      <Group justify="space-between" gap="xs">
        <Stack gap={2} style={{ flex: '1 1 16rem', minWidth: 0 }}>
          <Group gap="xs">
            <Text fw={600}>
              {request.role} on {request.resource}
            </Text>
            <StateBadge state={request.state} />
          </Group>
          <Text size="sm" c="dimmed">
            You asked {fromNow(request.created_at_ms)}; {whoAnswers(request)} must answer.
          </Text>
        </Stack>
        <Button component={Link} href={`/requests/${request.id}`} variant="default">
          Look
        </Button>
      </Group>
    </Paper>
  )
}

function Usable({ grant, reload }: { grant: GrantEntry; reload: () => void }) {
  const { busy, refusal, act } = useAct()
  const giveBack = () =>
    act('revoke', () => call('POST', `/api/grants/${grant.id}/revoke`, { reason: 'given back by its holder' })).finally(
      reload,
    )
  return (
    <Paper withBorder p="md" style={{ borderLeft: '4px solid var(--mantine-color-green-5)' }} data-testid="grant">
      <Stack gap="xs">
        <Group justify="space-between" gap="xs" wrap="nowrap" align="flex-start">
          <div>
            <Text fw={600}>
              You have {grant.role} on {grant.resource}
            </Text>
            <Text size="sm" c="dimmed">
              Until {when(grant.ends_at_ms)}, which is {fromNow(grant.ends_at_ms)}.
            </Text>
          </div>
          <Button
            variant="subtle"
            color="gray"
            size="compact-sm"
            loading={busy !== undefined}
            onClick={() => void giveBack()}
            style={{ flexShrink: 0 }}
          >
            Give back
          </Button>
        </Group>
        <Command text={`npx sallyport connect ${grant.resource} --role ${grant.role}`} />
        {refusal !== undefined && <Refusal error={refusal} />}
      </Stack>
    </Paper>
  )
}
