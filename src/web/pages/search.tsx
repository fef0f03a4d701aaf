import { Anchor, Button, Code, Group, Paper, Stack, Text, TextInput } from '@mantine/core'
import { useEffect, useState } from 'react'
import { Link, useLocation, useSearch } from 'wouter'
import { type ApiError, ApiFailure, call } from '../api.ts'
import { Nothing, Page, Refusal, when } from '../parts.tsx'
import { visible } from '../replay/event-text.ts'

interface Hit {
  readonly session_id: string
  readonly subject: { readonly name: string }
  readonly own: boolean
  readonly resource: string
  readonly role: string
  readonly at_ms: number
  readonly part: number
  readonly seq: number
  readonly kind: string
  readonly excerpt: string
}
interface Found {
  readonly items: readonly Hit[]
  readonly next: number | null
}

/** What sessions said, as far as policy lets this person open them; each hit leads to its moment. */
export function SearchPage() {
  const asked = new URLSearchParams(useSearch()).get('text') ?? ''
  const [, go] = useLocation()
  const [text, setText] = useState(asked)
  const [hits, setHits] = useState<readonly Hit[]>()
  const [next, setNext] = useState<number | null>(null)
  const [error, setError] = useState<ApiError>()
  const [busy, setBusy] = useState(false)
  const load = async (before: number | null, sofar: readonly Hit[]) => {
    setBusy(true)
    setError(undefined)
    try {
      const found = await call<Found>(
        'GET',
        `/api/search?${new URLSearchParams({ text: asked, ...(before === null ? {} : { before: String(before) }) })}`,
      )
      setHits([...sofar, ...found.items])
      setNext(found.next)
    } catch (failure) {
      if (!(failure instanceof ApiFailure)) throw failure
      setError(failure.error)
    } finally {
      setBusy(false)
    }
  }
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new question is a new search
  useEffect(() => {
    setHits(undefined)
    if (asked !== '') void load(null, [])
  }, [asked])
  return (
    <Page title="Search sessions">
      <form
        onSubmit={event => {
          event.preventDefault()
          if (text.trim() !== '') go(`/search?${new URLSearchParams({ text: text.trim() })}`)
        }}
      >
        <Group gap="xs" align="flex-end">
          <TextInput
            style={{ flex: 1 }}
            label="Words of statements, commands, paths, errors"
            value={text}
            onChange={event => setText(event.currentTarget.value)}
            autoFocus
          />
          <Button type="submit" loading={busy}>
            Search
          </Button>
        </Group>
      </form>
      {error !== undefined && <Refusal error={error} />}
      {hits !== undefined && hits.length === 0 && (
        <Nothing title="Nothing found">
          No recording that you may open holds all of these words. A live session is found once it has ended.
        </Nothing>
      )}
      <Stack gap="xs">
        {(hits ?? []).map(hit => (
          <Paper withBorder p="sm" key={`${hit.session_id}.${hit.part}.${hit.seq}`} data-testid="hit">
            <Anchor component={Link} href={`/sessions/${hit.session_id}?at=${hit.at_ms}`} fw={600}>
              {hit.own ? 'You' : visible(hit.subject.name)} as {visible(hit.role)} on {visible(hit.resource)}
            </Anchor>
            <Text size="xs" c="dimmed">
              {when(hit.at_ms)} · {visible(hit.kind)}
            </Text>
            <Code block mt={4} style={{ whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' }}>
              {visible(hit.excerpt)}
            </Code>
          </Paper>
        ))}
      </Stack>
      {next !== null && hits !== undefined && (
        <Button variant="default" loading={busy} onClick={() => void load(next, hits)}>
          More
        </Button>
      )}
    </Page>
  )
}
