import { Anchor, SegmentedControl, Stack, Table, Text, Title } from '@mantine/core'
import { useState } from 'react'
import { Link } from 'wouter'
import { useLoaded } from '../api.ts'
import { duration, Shown, StateBadge, when } from '../parts.tsx'
import type { Page, RequestEntry } from '../types.ts'

/** What was asked: by me, and by others where policy lets me see it. */
export function RequestsPage() {
  const [state, setState] = useState('pending')
  const requests = useLoaded<Page<RequestEntry>>(`/api/requests${state === 'all' ? '' : `?state=${state}`}`, 5_000)
  return (
    <Stack>
      <Title order={2}>Requests</Title>
      <SegmentedControl
        value={state}
        onChange={setState}
        data={['pending', 'approved', 'denied', 'all']}
        w="fit-content"
      />
      <Shown from={requests}>
        {({ items }) =>
          items.length === 0 ? (
            <Text c="dimmed">{state === 'pending' ? 'Nothing waits for an answer.' : 'Nothing here yet.'}</Text>
          ) : (
            <Table.ScrollContainer minWidth={700}>
              <Table highlightOnHover verticalSpacing="sm">
                <Table.Thead>
                  <Table.Tr>
                    <Table.Th>Who</Table.Th>
                    <Table.Th>What</Table.Th>
                    <Table.Th>For</Table.Th>
                    <Table.Th>Why</Table.Th>
                    <Table.Th>Asked</Table.Th>
                    <Table.Th>State</Table.Th>
                  </Table.Tr>
                </Table.Thead>
                <Table.Tbody>
                  {items.map(request => (
                    <Table.Tr key={request.id}>
                      <Table.Td>{request.subject.name}</Table.Td>
                      <Table.Td>
                        <Anchor component={Link} href={`/requests/${request.id}`}>
                          {request.role} on {request.resource}
                        </Anchor>
                      </Table.Td>
                      <Table.Td>{duration(request.duration_s)}</Table.Td>
                      <Table.Td maw={280}>
                        <Text size="sm" lineClamp={2}>
                          {request.reason}
                        </Text>
                      </Table.Td>
                      <Table.Td>{when(request.created_at_ms)}</Table.Td>
                      <Table.Td>
                        <StateBadge state={request.state} />
                      </Table.Td>
                    </Table.Tr>
                  ))}
                </Table.Tbody>
              </Table>
            </Table.ScrollContainer>
          )
        }
      </Shown>
    </Stack>
  )
}
