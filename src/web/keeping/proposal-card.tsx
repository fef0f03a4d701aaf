import { Button, Group, Paper, Text } from '@mantine/core'
import { call, useAct, useLoaded } from '../api.ts'
import { days, fromNow, Refusal, Shown, StateBadge, when } from '../parts.tsx'
import type { ErasurePreview, Me, ProposalEntry } from '../types.ts'

/** One proposal: what it would do, who said what, and for another person the two buttons. */
export function ProposalCard({ proposal, me, reload }: { proposal: ProposalEntry; me: Me; reload: () => void }) {
  const { busy, refusal, act } = useAct()
  const pending = proposal.state === 'pending'
  const own = proposal.proposed_by.id === me.subject.id
  const subject = String(proposal.body['subject_id'] ?? '')
  const answer = (word: 'confirm' | 'refuse') =>
    act(word, () => call('POST', `/api/proposals/${proposal.id}/${word}`, {})).finally(reload)
  return (
    <Paper
      withBorder
      p="md"
      style={pending && !own ? { borderLeft: '4px solid var(--mantine-color-orange-5)' } : {}}
      data-testid={proposal.id}
    >
      <Group justify="space-between" wrap="nowrap" align="flex-start" gap="xs">
        <div style={{ minWidth: 0 }}>
          <Text fw={600} style={{ overflowWrap: 'anywhere' }}>
            {proposal.kind === 'erasure'
              ? `Erase what ${subject} left behind`
              : `Keep ${String(proposal.body['class'])} for no less than ${days(Number(proposal.body['keep_s']))}, which is shorter than now`}
          </Text>
          <Text size="sm" style={{ whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' }}>
            {proposal.reason}
          </Text>
        </div>
        <StateBadge state={proposal.state} />
      </Group>
      <Text mt={4} size="sm" c="dimmed">
        {own ? 'You' : proposal.proposed_by.name}, {when(proposal.proposed_at_ms)}
        {pending && ` · over ${fromNow(proposal.expires_at_ms)}`}
        {proposal.answered_by !== null && ` · ${proposal.state} by ${proposal.answered_by.name}`}
      </Text>
      {pending && proposal.kind === 'erasure' && <WouldGo subject={subject} />}
      {proposal.state === 'confirmed' && proposal.kind === 'erasure' && <Progress proposal={proposal} />}
      {refusal !== undefined && <Refusal error={refusal} />}
      {pending && (
        <Group mt="sm">
          {!own && (
            <Button color="red" loading={busy === 'confirm'} onClick={() => void answer('confirm')}>
              Confirm
            </Button>
          )}
          <Button variant="default" loading={busy === 'refuse'} onClick={() => void answer('refuse')}>
            {own ? 'Take back' : 'Refuse'}
          </Button>
          {own && (
            <Text size="sm" c="dimmed">
              Another person confirms it.
            </Text>
          )}
        </Group>
      )}
    </Paper>
  )
}

function WouldGo({ subject }: { subject: string }) {
  const would = useLoaded<ErasurePreview>(`/api/erasures/preview?subject_id=${subject}`)
  return <Shown from={would}>{preview => <Counts preview={preview} />}</Shown>
}

/** Counts of an erasure, before it is confirmed or proposed. */
export function Counts({ preview }: { preview: ErasurePreview }) {
  const { recordings, held, open, rows, name } = preview
  const rest = Object.entries(rows).map(([room, n]) => `${n} ${room}`)
  const stay = [
    ...(held > 0 ? [`${held} recordings stay under a legal hold`] : []),
    ...(open > 0 ? [`${open} wait until they are sealed`] : []),
    ...(name === 'erased' ? [] : [`the name is ${name}`]),
  ]
  return (
    <Text size="sm" mt={4}>
      Would go: the keys of {recordings} recordings; what they say in {rest.join(', ')}
      {name === 'erased' && '; the name'}. {stay.length > 0 && `${stay.join('; ')}. `}Proofs and receipts stay.
    </Text>
  )
}

function Progress({ proposal }: { proposal: ProposalEntry }) {
  const { waiting, ...done } = proposal.progress
  const counts = Object.entries(done).map(([name, n]) => `${name} ${String(n)}`)
  return (
    <Text size="sm" mt={4}>
      {proposal.done_at_ms === null ? 'Under way' : `Done ${when(proposal.done_at_ms)}`}
      {counts.length > 0 && `: ${counts.join(', ')}`}
      {waiting !== undefined && `. It waits for: ${JSON.stringify(waiting).replace(/[{}"]/g, '').replaceAll(':', ' ')}`}
    </Text>
  )
}
