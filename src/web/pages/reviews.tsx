import { Button, Code, Group, Paper, SegmentedControl, Stack, Text, Textarea } from '@mantine/core'
import { useState } from 'react'
import { mayReview } from '../answering.ts'
import { call, useAct, useLoaded } from '../api.ts'
import { fromNow, Nothing, Page, Refusal, Shown, StateBadge, when } from '../parts.tsx'
import type { Page as List, Me, ReviewEntry } from '../types.ts'

/** What was done on nobody else's word, and still has to be looked at. */
export function ReviewsPage({ me }: { me: Me }) {
  const [state, setState] = useState('open')
  const reviews = useLoaded<List<ReviewEntry>>(`/api/reviews${state === 'all' ? '' : `?state=${state}`}`, 5_000)
  return (
    <Page title="Reviews">
      <SegmentedControl
        value={state}
        onChange={setState}
        data={[
          { value: 'open', label: 'Open' },
          { value: 'answered', label: 'Answered' },
          { value: 'all', label: 'All' },
        ]}
        aria-label="Which reviews"
        style={{ alignSelf: 'flex-start' }}
      />
      <Shown key={state} from={reviews}>
        {({ items }) =>
          items.length === 0 ? (
            <Nothing title={state === 'open' ? 'Nothing waits for a review' : 'None'}>
              When somebody breaks the glass, it stands here until one of the reviewers has looked at what was done.
            </Nothing>
          ) : (
            <Stack gap="xs">
              {items.map(review => (
                <ReviewCard key={review.id} review={review} me={me} reload={reviews.reload} />
              ))}
            </Stack>
          )
        }
      </Shown>
    </Page>
  )
}

function ReviewCard({ review, me, reload }: { review: ReviewEntry; me: Me; reload: () => void }) {
  const [reason, setReason] = useState('')
  const { busy, refusal, act } = useAct()
  const mine = mayReview(review, me)
  const lasts = review.ends_at_ms > Date.now()
  const answer = (word: 'accept' | 'flag') =>
    act(word, () => call('POST', `/api/reviews/${review.id}/answer`, { answer: word, reason })).finally(reload)
  return (
    <Paper
      withBorder
      p="md"
      style={mine ? { borderLeft: '4px solid var(--mantine-color-orange-5)' } : {}}
      data-testid={review.id}
    >
      <Group justify="space-between" wrap="nowrap" align="flex-start" gap="xs">
        <div style={{ minWidth: 0 }}>
          <Text fw={600}>
            {review.subject.id === me.subject.id ? 'You' : review.subject.name}: {review.role} on {review.resource}
          </Text>
          <Text size="sm" style={{ whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' }}>
            {review.reason}
          </Text>
        </div>
        <StateBadge state={review.state} />
      </Group>
      <Text mt={4} size="sm" c="dimmed">
        {when(review.opened_at_ms)} to {when(review.ends_at_ms)} · {review.reviewers.join(', ')}
        {review.answer === null && ` · due ${fromNow(review.due_at_ms)}`}
      </Text>
      {review.sessions.map(session => (
        <Text key={session} size="sm" mt={4}>
          <Code style={{ overflowWrap: 'anywhere' }}>npx sallyport replay {session}</Code>
        </Text>
      ))}
      {review.sessions.length === 0 && (
        <Text size="sm" c="dimmed" mt={4}>
          No session was opened.
        </Text>
      )}
      {review.answer !== null && (
        <Text size="sm" mt="xs" style={{ whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' }}>
          {review.answer.by.name}, {when(review.answer.at_ms)}: {review.answer.reason}
        </Text>
      )}
      {refusal !== undefined && <Refusal error={refusal} />}
      {mine && (
        <Stack gap="xs" mt="sm">
          <Textarea
            label="What you looked at, and what you found"
            value={reason}
            onChange={event => setReason(event.currentTarget.value)}
            maxLength={2000}
            autosize
            minRows={2}
          />
          <Group>
            <Button
              color="green.8"
              loading={busy === 'accept'}
              disabled={reason.trim() === '' || lasts}
              onClick={() => void answer('accept')}
            >
              Accept
            </Button>
            <Button
              color="red"
              variant="outline"
              loading={busy === 'flag'}
              disabled={reason.trim() === ''}
              onClick={() => void answer('flag')}
            >
              Flag
            </Button>
            {lasts && (
              <Text size="sm" c="dimmed">
                It lasts until {when(review.ends_at_ms)}: it can be accepted after that.
              </Text>
            )}
          </Group>
        </Stack>
      )}
    </Paper>
  )
}
