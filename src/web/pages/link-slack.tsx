import { Alert, Button, Code, Paper, Stack, Text, Title } from '@mantine/core'
import { useEffect, useState } from 'react'
import { type ApiError, ApiFailure, call, useLoaded } from '../api.ts'
import { Refusal } from '../parts.tsx'
import type { Me } from '../types.ts'

interface LinkCode {
  readonly code: string
  readonly expires_at_ms: number
}

/** Binds a Slack account to the signed-in person: a code is shown here and typed there, never the other way round. */
export function LinkSlackPage() {
  const me = useLoaded<Me>('/api/me', 2_000)
  const [code, setCode] = useState<LinkCode>()
  const [refusal, setRefusal] = useState<ApiError>()
  const [now, setNow] = useState(Date.now())
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1_000)
    return () => clearInterval(timer)
  }, [])
  const show = async () => {
    try {
      setCode(await call<LinkCode>('POST', '/api/slack/link-code', {}))
      setRefusal(undefined)
    } catch (failure) {
      if (failure instanceof ApiFailure) setRefusal(failure.error)
    }
  }
  const left = code === undefined ? 0 : Math.max(0, Math.round((code.expires_at_ms - now) / 1000))
  return (
    <Stack>
      <Title order={2}>Link your Slack account</Title>
      {me.value?.slack && (
        <Alert color="green" title="A Slack account is linked" data-testid="slack-linked">
          Slack user {me.value.slack.user_id} of workspace {me.value.slack.team_id} acts as you. A new code replaces it.
        </Alert>
      )}
      <Paper withBorder p="lg">
        <Stack>
          <Text>
            Show a code here, then type it in Slack. Never type a code that somebody else sent you: it would let your
            Slack account act as them.
          </Text>
          {code !== undefined && left > 0 ? (
            <>
              <Code block fz="xl" data-testid="link-code">{`/access link ${code.code}`}</Code>
              <Text size="sm" c="dimmed">
                Good for one use, {left} more seconds.
              </Text>
            </>
          ) : (
            <Button w="fit-content" onClick={() => void show()}>
              Show a code
            </Button>
          )}
          {refusal !== undefined && <Refusal error={refusal} />}
        </Stack>
      </Paper>
    </Stack>
  )
}
