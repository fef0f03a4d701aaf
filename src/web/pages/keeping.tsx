import { Paper, Stack, Text, TextInput } from '@mantine/core'
import { useState } from 'react'
import { Link } from 'wouter'
import { useLoaded } from '../api.ts'
import { ProposalCard } from '../keeping/proposal-card.tsx'
import { LowerFloor, ProposeErasure } from '../keeping/propose.tsx'
import { days, Nothing, Page, Shown, when } from '../parts.tsx'
import type { Page as List, Me, PreviewAnswer, ProposalEntry } from '../types.ts'

/** How long things are kept, what would go, and what two people decide together. */
export function KeepingPage({ me }: { me: Me }) {
  const proposals = useLoaded<List<ProposalEntry>>('/api/proposals', 10_000)
  return (
    <Page title="Retention and erasures">
      <Shown from={proposals}>
        {({ items }) => (
          <Stack gap="xs">
            {items.length === 0 && (
              <Nothing title="Nothing was proposed">
                To erase what a person left behind, or to keep things for less long, takes two people: one proposes it
                here, another confirms it.
              </Nothing>
            )}
            {items.slice(0, 20).map(each => (
              <ProposalCard key={each.id} proposal={each} me={me} reload={proposals.reload} />
            ))}
          </Stack>
        )}
      </Shown>
      {proposals.value !== undefined && <ProposeErasure proposed={proposals.reload} />}
      <LowerFloor proposed={proposals.reload} />
      <Preview />
    </Page>
  )
}

/** What the next run would delete, or one on a later day. */
function Preview() {
  const [day, setDay] = useState('')
  const at = Date.parse(day)
  const would = useLoaded<PreviewAnswer>(`/api/retention/preview?limit=200${at > 0 ? `&at_ms=${at}` : ''}`)
  return (
    <Paper withBorder p="md" data-testid="preview">
      <Stack gap="xs">
        <Text fw={600}>What the next run would delete</Text>
        <TextInput
          type="date"
          label="Or a run on that day"
          value={day}
          onChange={event => setDay(event.currentTarget.value)}
          maw={220}
        />
        <Shown key={day} from={would}>
          {answer => (
            <Stack gap={4}>
              {answer.recordings.length === 0 && <Text size="sm">No recording would go.</Text>}
              {answer.recordings.map(each => (
                <Text key={each.recording_id} size="sm" style={{ overflowWrap: 'anywhere' }}>
                  <Link href={`/sessions/${each.session_id}`}>{each.session_id}</Link>: {each.subject.name} on{' '}
                  {each.resource}, sealed {when(each.sealed_at_ms)}, kept for {days(each.keep_s)}
                  {each.locked_until_ms !== null &&
                    each.locked_until_ms > answer.at_ms &&
                    `; the store keeps its sealed bytes until ${when(each.locked_until_ms)}`}
                </Text>
              ))}
              {answer.more && <Text size="sm">… and more</Text>}
              <Text size="sm" c="dimmed">
                Recordings that stay: {answer.kept.young} not expired, {answer.kept.held} held, {answer.kept.undecided}{' '}
                with no answer of policy, {answer.kept.live} open.
              </Text>
              {Object.entries(answer.logs).map(([name, log]) => (
                <Text key={name} size="sm" c="dimmed">
                  {name}: {log.count}
                  {log.more ? ' or more' : ''} would go (
                  {log.keep_s === null ? 'policy gives no answer: all stay' : `kept for ${days(log.keep_s)}`})
                </Text>
              ))}
              <Text size="sm">Nothing was deleted.</Text>
            </Stack>
          )}
        </Shown>
      </Stack>
    </Paper>
  )
}
