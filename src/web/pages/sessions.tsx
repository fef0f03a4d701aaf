import { Badge, Stack, Table, Text, Title } from '@mantine/core'
import { useLoaded } from '../api.ts'
import { Shown, when } from '../parts.tsx'
import type { Page, SessionEntry } from '../types.ts'

/** Sessions that policy lets this person see: their own at least. */
export function SessionsPage() {
  const sessions = useLoaded<Page<SessionEntry>>('/api/sessions', 5_000)
  return (
    <Stack>
      <Title order={2}>Sessions</Title>
      <Shown from={sessions}>
        {({ items }) =>
          items.length === 0 ? (
            <Text c="dimmed">No session yet.</Text>
          ) : (
            <Table.ScrollContainer minWidth={700}>
              <Table verticalSpacing="sm">
                <Table.Thead>
                  <Table.Tr>
                    <Table.Th>Session</Table.Th>
                    <Table.Th>Who</Table.Th>
                    <Table.Th>What</Table.Th>
                    <Table.Th>Opened</Table.Th>
                    <Table.Th>Ended</Table.Th>
                  </Table.Tr>
                </Table.Thead>
                <Table.Tbody>
                  {items.map(session => (
                    <Table.Tr key={session.id}>
                      <Table.Td ff="monospace">{session.id}</Table.Td>
                      <Table.Td>{session.subject.name}</Table.Td>
                      <Table.Td>
                        {session.role} on {session.resource}
                      </Table.Td>
                      <Table.Td>{when(session.opened_at_ms)}</Table.Td>
                      <Table.Td>
                        {session.ended_at_ms === null ? (
                          <Badge color="green">live</Badge>
                        ) : (
                          `${when(session.ended_at_ms)}: ${session.end_reason ?? ''}`
                        )}
                      </Table.Td>
                    </Table.Tr>
                  ))}
                </Table.Tbody>
              </Table>
            </Table.ScrollContainer>
          )
        }
      </Shown>
      <Text size="sm" c="dimmed">
        Replay one with <code>npx sallyport replay SESSION</code>; policy says who may.
      </Text>
    </Stack>
  )
}
