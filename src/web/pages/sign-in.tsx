import { Button, Center, Image, Paper, Stack, Text, Title } from '@mantine/core'
import type { ApiError } from '../api.ts'
import { Refusal } from '../parts.tsx'

/** The door: one button to the company's identity provider. Comes back to the page that was asked for. */
export function SignInPage({ error }: { error: ApiError | undefined }) {
  const back = window.location.pathname + window.location.search
  return (
    <Center mih="100vh" p="md">
      <Paper withBorder p="xl" maw={420} w="100%">
        <Stack>
          <Image src="/icon.svg" w={48} alt="" />
          <Title order={2}>Sallyport</Title>
          <Text c="dimmed">Ask for access, approve it, and see what happened. Sign in with your company account.</Text>
          {error !== undefined && error.status !== 401 && <Refusal error={error} />}
          <Button component="a" href={`/auth/login?return_to=${encodeURIComponent(back)}`} size="md">
            Sign in
          </Button>
        </Stack>
      </Paper>
    </Center>
  )
}
