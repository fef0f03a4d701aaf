import { Alert, Button, Code, Flex, Group, Paper, Stack, Text } from '@mantine/core'
import { stageOf, waitsForMe, whoAnswers } from '../answering.ts'
import { call, useAct, useLoaded } from '../api.ts'
import { Command, capital, duration, fromNow, Page, Refusal, Shown, StateBadge, when } from '../parts.tsx'
import { visible } from '../replay/event-text.ts'
import type { Me, RequestEntry } from '../types.ts'

/** One request: who, what, why, how long, what policy asks for; Approve and Deny are one click. */
export function RequestPage({ id, me }: { id: string; me: Me }) {
  const request = useLoaded<RequestEntry>(`/api/requests/${encodeURIComponent(id)}`, 3_000)
  return <Shown from={request}>{value => <Detail request={value} me={me} reload={request.reload} />}</Shown>
}

function Detail({ request, me, reload }: { request: RequestEntry; me: Me; reload: () => void }) {
  const { busy, refusal, act } = useAct()
  const { hold } = request
  const own = request.subject.id === me.subject.id
  const post = (name: string, path: string, body: unknown) => act(name, () => call('POST', path, body)).finally(reload)
  const vote = (answer: 'approve' | 'deny') =>
    post(answer, `/api/requests/${request.id}/votes`, { answer, hash: request.hash })
  const mine = own && request.state === 'approved' && request.grant !== null && request.grant.ends_at_ms > Date.now()
  return (
    <Page
      title={hold === null ? `${capital(request.role)} on ${request.resource}` : `An action on ${request.resource}`}
      aside={<StateBadge state={request.state} />}
    >
      {mine && request.grant !== null && (
        <Alert color="green" title={`You have access until ${when(request.grant.ends_at_ms)}`}>
          <Command text={`npx sallyport connect ${request.resource} --role ${request.role}`} />
        </Alert>
      )}
      <Paper withBorder p={{ base: 'md', sm: 'lg' }}>
        <Stack gap="sm">
          <Row label="Who">
            {request.subject.name}
            {request.subject.email !== null && <Dimmed>{request.subject.email}</Dimmed>}
            {request.on_behalf_of !== null && <Dimmed>for {request.on_behalf_of}</Dimmed>}
          </Row>
          {hold !== null && <Row label="As">{request.role}</Row>}
          <Row label={hold === null ? 'Why' : 'What'}>
            <Text style={{ whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' }}>{request.reason}</Text>
          </Row>
          {hold !== null && <Held hold={hold} />}
          {(hold === null || request.state === 'pending') && (
            <Row label="For how long">
              {hold === null
                ? `${duration(request.duration_s)}, from the moment of approval`
                : 'Once, while its client waits'}
            </Row>
          )}
          {request.ticket_ref !== null && <Row label="Ticket">{request.ticket_ref}</Row>}
          <Row label="Asked">
            {fromNow(request.created_at_ms)}
            <Dimmed>{when(request.created_at_ms)}</Dimmed>
          </Row>
          {request.state === 'pending' && (
            <Row label="Expires">
              {fromNow(request.expires_at_ms)}, if nobody answers
              <Dimmed>{when(request.expires_at_ms)}</Dimmed>
            </Row>
          )}
          {request.terms?.stages.map((stage, i) => (
            <Row
              // biome-ignore lint/suspicious/noArrayIndexKey: stages have no other name than their place
              key={i}
              label={
                request.terms!.stages.length > 1 ? `Stage ${i + 1} of ${request.terms!.stages.length}` : 'Who decides'
              }
            >
              {stage.quorum} of {stage.approvers.join(', ')}
              {stageOf(request) === i && request.terms!.stages.length > 1 && <Dimmed>answers now</Dimmed>}
            </Row>
          ))}
          {request.votes.map(v => (
            <Row key={v.approver.id} label={v.answer === 'approve' ? 'Approved by' : 'Denied by'}>
              {v.approver.name}
              <Dimmed>
                {when(v.at_ms)}, {door(v.via)}
              </Dimmed>
            </Row>
          ))}
          {request.outcome !== null && request.state !== 'pending' && request.votes.length === 0 && (
            <Row label="Outcome">
              {capital(request.outcome)}
              {request.ended_at_ms !== null && <Dimmed>{when(request.ended_at_ms)}</Dimmed>}
            </Row>
          )}
          {hold !== null && request.state !== 'pending' && <Row label="What happened">{whatBecame(request)}</Row>}
        </Stack>
      </Paper>
      {refusal !== undefined && <Refusal error={refusal} />}
      {waitsForMe(request, me) && (
        <Group>
          <Button color="green.8" loading={busy === 'approve'} onClick={() => void vote('approve')}>
            Approve
          </Button>
          <Button color="red" variant="outline" loading={busy === 'deny'} onClick={() => void vote('deny')}>
            Deny
          </Button>
        </Group>
      )}
      {request.state === 'pending' && own && (
        <Group>
          <Text c="dimmed">Waiting for {whoAnswers(request)}. This page shows the answer when it comes.</Text>
          <Button
            variant="default"
            loading={busy === 'cancel'}
            onClick={() => void post('cancel', `/api/requests/${request.id}/cancel`, {})}
          >
            Cancel the request
          </Button>
        </Group>
      )}
      {request.state === 'pending' && !own && !waitsForMe(request, me) && (
        <Text c="dimmed">Waiting for {whoAnswers(request)}.</Text>
      )}
    </Page>
  )
}

const doors: Record<string, string> = { slack: 'in Slack', web: 'in the browser', cli: 'on the command line' }
const door = (via: string) => doors[via] ?? via

/** A label over its value where the page is narrow, beside it elsewhere. */
function Row({ label, children }: { label: string; children: React.ReactNode }) {
  return (
    <Flex direction={{ base: 'column', sm: 'row' }} gap={{ base: 0, sm: 'md' }}>
      <Text size="sm" c="dimmed" w={{ base: 'auto', sm: 140 }} style={{ flexShrink: 0 }}>
        {label}
      </Text>
      <div style={{ minWidth: 0 }}>{children}</div>
    </Flex>
  )
}

function Dimmed({ children }: { children: React.ReactNode }) {
  return (
    <Text span size="sm" c="dimmed" ml="xs">
      {children}
    </Text>
  )
}

/** An approval is no run. */
function whatBecame({ state, hold, outcome, votes }: RequestEntry): React.ReactNode {
  if (hold === null || state !== 'approved')
    return votes.length > 0 && outcome !== null && !votes.some(v => v.answer === 'deny')
      ? `It did not run: ${outcome}`
      : 'It did not run.'
  if (hold.unused !== null)
    return (
      <Text span c="orange.9">
        It was approved and did not run: {hold.unused}
      </Text>
    )
  if (hold.released_at_ms === null) return 'It was approved, and has not gone on yet.'
  return (
    <>
      It went on
      <Dimmed>{when(hold.released_at_ms)}</Dimmed>
    </>
  )
}

const wrapped = { whiteSpace: 'pre-wrap', overflowWrap: 'anywhere', maxHeight: 480, overflowY: 'auto' } as const

/** All that an approver may see of what would be done. */
function Held({ hold }: { hold: NonNullable<RequestEntry['hold']> }) {
  return (
    <>
      <Row label="Text">
        {hold.text === null ? (
          <Text c="dimmed">Policy records no text here, so none is shown.</Text>
        ) : (
          <Code block fz="sm" style={wrapped} data-testid="held-text">
            {visible(hold.text, 65_536)}
          </Code>
        )}
      </Row>
      {hold.shown.map(({ label, lines, more = 0 }) => (
        <Row key={label} label={label}>
          <Lines lines={lines} more={more} />
        </Row>
      ))}
    </>
  )
}

/** So many lines are read at once; the others are unfolded. */
const short = 20

function Lines({ lines, more }: { lines: readonly string[]; more: number }) {
  const text = (some: readonly string[]) => some.map(line => visible(line, 65_536)).join('\n')
  const rest = lines.slice(short)
  return (
    <>
      <Code block fz="sm" style={wrapped}>
        {text(lines.slice(0, short))}
      </Code>
      {rest.length > 0 && (
        <details style={{ marginTop: 4 }} data-testid="held-more">
          <summary style={{ cursor: 'pointer' }}>
            <Text span size="sm">{`${rest.length} more`}</Text>
          </summary>
          <Code block fz="sm" mt={4} style={wrapped}>
            {text(rest)}
          </Code>
        </details>
      )}
      {more > 0 && <Text size="sm" c="dimmed">{`and ${more} more that are not shown`}</Text>}
    </>
  )
}
