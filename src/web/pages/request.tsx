import { Alert, Button, Code, CopyButton, Group, Paper, Stack, Table, Text, Title } from '@mantine/core'
import { useState } from 'react'
import { type ApiError, ApiFailure, call, useLoaded } from '../api.ts'
import { duration, Refusal, Shown, StateBadge, when } from '../parts.tsx'
import type { Me, RequestEntry } from '../types.ts'

/** One request: who, what, why, how long, what policy asks for; Approve and Deny are one click. */
export function RequestPage({ id, me }: { id: string; me: Me }) {
  const request = useLoaded<RequestEntry>(`/api/requests/${encodeURIComponent(id)}`, 3_000)
  return <Shown from={request}>{value => <Detail request={value} me={me} reload={request.reload} />}</Shown>
}

function Detail({ request, me, reload }: { request: RequestEntry; me: Me; reload: () => void }) {
  const [refusal, setRefusal] = useState<ApiError>()
  const [busy, setBusy] = useState<string>()
  const own = request.subject.id === me.subject.id
  const act = async (name: string, path: string, body: unknown) => {
    setBusy(name)
    setRefusal(undefined)
    try {
      await call('POST', path, body)
    } catch (failure) {
      if (failure instanceof ApiFailure) setRefusal(failure.error)
    } finally {
      setBusy(undefined)
      reload()
    }
  }
  const vote = (answer: 'approve' | 'deny') =>
    act(answer, `/api/requests/${request.id}/votes`, { answer, hash: request.hash })
  const command = `npx sallyport connect ${request.resource} --role ${request.role}`
  return (
    <Stack>
      <Group>
        <Title order={2}>
          {request.role} on {request.resource}
        </Title>
        <StateBadge state={request.state} />
      </Group>
      <Paper withBorder p="lg">
        <Table variant="vertical" layout="fixed">
          <Table.Tbody>
            <Row label="Who">{request.subject.name}</Row>
            <Row label="For">{duration(request.duration_s)}, from the moment of approval</Row>
            <Row label="Why">{request.reason}</Row>
            {request.ticket_ref !== null && <Row label="Ticket">{request.ticket_ref}</Row>}
            <Row label="Asked">{when(request.created_at_ms)}</Row>
            {request.state === 'pending' && <Row label="Expires unanswered">{when(request.expires_at_ms)}</Row>}
            {request.terms?.stages.map((stage, i) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: stages have no other name than their place
              <Row key={i} label={request.terms!.stages.length > 1 ? `Stage ${i + 1}` : 'Approvers'}>
                {stage.quorum} of {stage.approvers.join(', ')}
              </Row>
            ))}
            {request.votes.map(v => (
              <Row key={v.approver.id} label={v.answer === 'approve' ? 'Approved by' : 'Denied by'}>
                {v.approver.name} ({v.via}), {when(v.at_ms)}
              </Row>
            ))}
            {request.outcome !== null && <Row label="Outcome">{request.outcome}</Row>}
          </Table.Tbody>
        </Table>
      </Paper>
      {refusal !== undefined && <Refusal error={refusal} />}
      {request.state === 'pending' && !own && (
        <Group>
          <Button color="green" loading={busy === 'approve'} onClick={() => void vote('approve')}>
            Approve
          </Button>
          <Button color="red" variant="outline" loading={busy === 'deny'} onClick={() => void vote('deny')}>
            Deny
          </Button>
        </Group>
      )}
      {request.state === 'pending' && own && (
        <Group>
          <Text c="dimmed">Waiting for an approver. This page shows the answer when it comes.</Text>
          <Button
            variant="default"
            loading={busy === 'cancel'}
            onClick={() => void act('cancel', `/api/requests/${request.id}/cancel`, {})}
          >
            Cancel the request
          </Button>
        </Group>
      )}
      {request.state === 'approved' && own && request.grant !== null && request.grant.ends_at_ms > Date.now() && (
        <Alert color="green" title={`You have access until ${when(request.grant.ends_at_ms)}`}>
          <Group>
            <Code>{command}</Code>
            <CopyButton value={command}>
              {({ copied, copy }) => (
                <Button size="compact-sm" variant="light" onClick={copy}>
                  {copied ? 'Copied' : 'Copy'}
                </Button>
              )}
            </CopyButton>
          </Group>
        </Alert>
      )}
    </Stack>
  )
}

function Row({ label, children }: { label: string; children: React.ReactNode }) {
  return (
    <Table.Tr>
      <Table.Th w={180}>{label}</Table.Th>
      <Table.Td>{children}</Table.Td>
    </Table.Tr>
  )
}
