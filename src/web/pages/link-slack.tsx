import { Alert, Button, Group, List, Paper, Progress, Stack, Text } from '@mantine/core'
import { useEffect, useState } from 'react'
import { call, useAct, useLoaded } from '../api.ts'
import { Command, Page, Refusal } from '../parts.tsx'
import type { Me } from '../types.ts'

interface LinkCode {
  readonly code: string
  readonly expires_at_ms: number
  /** The account that was linked when the code was made: another one means that the code was used. */
  readonly before: string | undefined
}

const good_ms = 120_000

/** Binds a Slack account to the signed-in person: a code is shown here and typed there, never the other way round. */
export function LinkSlackPage() {
  const me = useLoaded<Me>('/api/me', 2_000)
  const [code, setCode] = useState<LinkCode>()
  const { refusal, act } = useAct()
  const [now, setNow] = useState(Date.now())
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1_000)
    return () => clearInterval(timer)
  }, [])
  const slack = me.value?.slack ?? undefined
  const used = code !== undefined && slack !== undefined && slack.user_id !== code.before
  const left_ms = code === undefined || used ? 0 : Math.max(0, code.expires_at_ms - now)
  const show = () =>
    act('show', async () => {
      const fresh = await call<Omit<LinkCode, 'before'>>('POST', '/api/slack/link-code', {})
      setCode({ ...fresh, before: slack?.user_id })
    })
  const unlink = () =>
    act('unlink', async () => {
      await call('DELETE', '/api/slack/link')
      setCode(undefined)
      me.reload()
    })
  return (
    <Page title={slack === undefined ? 'Link your Slack account' : 'Your Slack account'}>
      {slack !== undefined && (
        <Alert color="green" title="A Slack account is linked" data-testid="slack-linked">
          <Group justify="space-between" gap="xs">
            <Text size="sm">
              Slack user {slack.user_id} of workspace {slack.team_id} asks and answers as you.
            </Text>
            <Button size="compact-sm" color="red" variant="outline" onClick={() => void unlink()}>
              Unlink
            </Button>
          </Group>
        </Alert>
      )}
      <Paper withBorder p={{ base: 'md', sm: 'lg' }}>
        <Stack>
          <List type="ordered" spacing={4}>
            <List.Item>Show a one-time code here. It is good for two minutes.</List.Item>
            <List.Item>Send it in Slack, in any channel: nobody else sees it there.</List.Item>
            <List.Item>Slack says whose account it acts as; this page says which account was linked.</List.Item>
          </List>
          {code !== undefined && left_ms > 0 ? (
            <>
              <Command text={`/access link ${code.code}`} testId="link-code" />
              <div>
                <Progress value={(100 * left_ms) / good_ms} size="sm" aria-label="time left" />
                <Text size="sm" c="dimmed" mt={4}>
                  Good for one use, {Math.ceil(left_ms / 1000)} more seconds.
                </Text>
              </div>
            </>
          ) : (
            <Button w="fit-content" variant={slack === undefined ? 'filled' : 'default'} onClick={() => void show()}>
              {slack === undefined ? 'Show a code' : 'Link another account instead'}
            </Button>
          )}
          <Text size="sm" c="dimmed">
            Never send a code that somebody else gave you: your Slack account would act as them.
          </Text>
          {refusal !== undefined && <Refusal error={refusal} />}
        </Stack>
      </Paper>
    </Page>
  )
}
