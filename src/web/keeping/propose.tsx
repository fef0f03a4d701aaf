import { Button, Group, NativeSelect, NumberInput, Paper, Stack, Text, TextInput } from '@mantine/core'
import { useState } from 'react'
import { call, useAct, useLoaded } from '../api.ts'
import { days, Refusal } from '../parts.tsx'
import type { ErasurePreview, Page } from '../types.ts'
import { Counts } from './proposal-card.tsx'

const day_s = 86_400

interface Found {
  readonly id: string
  readonly name: string
  readonly email: string | null
}

/** Who is meant is looked up, and what would go is shown, before anything is proposed. */
export function ProposeErasure({ proposed }: { proposed: () => void }) {
  const [who, setWho] = useState('')
  const [reason, setReason] = useState('')
  const [found, setFound] = useState<{ subject: Found; would: ErasurePreview }>()
  const [problem, setProblem] = useState('')
  const { busy, refusal, act } = useAct()
  const look = () =>
    act('look', async () => {
      setFound(undefined)
      setProblem('')
      const { items } = await call<Page<Found>>(
        'GET',
        `/api/subjects?${new URLSearchParams({ name: who, limit: '2' })}`,
      )
      const [subject, ...others] = items
      if (subject === undefined || others.length > 0)
        return setProblem(subject === undefined ? 'Nobody here is called so.' : 'Several are called so: give the id.')
      setFound({ subject, would: await call('GET', `/api/erasures/preview?subject_id=${subject.id}`) })
    })
  const propose = (subject_id: string) =>
    act('propose', async () => {
      await call('POST', '/api/erasures', { subject_id, reason })
      setFound(undefined)
      setReason('')
    }).finally(proposed)
  return (
    <Paper withBorder p="md" data-testid="propose-erasure">
      <form
        onSubmit={event => {
          event.preventDefault()
          void look()
        }}
      >
        <Group align="flex-end" gap="xs">
          <TextInput
            label="Erase what a person left behind"
            placeholder="id, name or e-mail"
            value={who}
            onChange={event => setWho(event.currentTarget.value)}
            style={{ flex: 1, minWidth: 200 }}
          />
          <Button type="submit" variant="default" loading={busy === 'look'} disabled={who.trim() === ''}>
            Look what would go
          </Button>
        </Group>
      </form>
      {problem !== '' && (
        <Text size="sm" mt="xs">
          {problem}
        </Text>
      )}
      {found !== undefined && (
        <Stack gap="xs" mt="sm">
          <Text size="sm" fw={600}>
            {found.subject.name} {found.subject.email !== null && `(${found.subject.email})`}
          </Text>
          <Counts preview={found.would} />
          <TextInput
            label="Why"
            value={reason}
            onChange={event => setReason(event.currentTarget.value)}
            maxLength={1000}
          />
          <Button
            color="red"
            variant="outline"
            style={{ alignSelf: 'flex-start' }}
            loading={busy === 'propose'}
            disabled={reason.trim() === ''}
            onClick={() => void propose(found.subject.id)}
          >
            Propose to erase it
          </Button>
        </Stack>
      )}
      {refusal !== undefined && <Refusal error={refusal} />}
    </Paper>
  )
}

/** The floors, and how they are changed: up at once, down by two people. */
export function LowerFloor({ proposed }: { proposed: () => void }) {
  const floors = useLoaded<{ floors: Readonly<Record<string, number>> }>('/api/retention', 15_000)
  const [name, setName] = useState('recording')
  const [keep, setKeep] = useState<number | string>('')
  const [reason, setReason] = useState('')
  const { busy, refusal, act } = useAct()
  if (floors.value === undefined) return null
  const now = floors.value.floors
  const set = () =>
    act('set', async () => {
      await call('POST', '/api/retention/floors', { class: name, keep_s: Math.round(Number(keep) * day_s), reason })
      setReason('')
      setKeep('')
    }).finally(() => {
      floors.reload()
      proposed()
    })
  return (
    <Paper withBorder p="md" data-testid="floors">
      <Text fw={600}>Kept at least, whatever policy says</Text>
      <Text size="sm">
        {Object.entries(now)
          .map(([each, keep_s]) => `${each}: ${days(keep_s)}`)
          .join(' · ')}
      </Text>
      <Group align="flex-end" gap="xs" mt="xs">
        <NativeSelect
          label="Class"
          data={Object.keys(now)}
          value={name}
          onChange={event => setName(event.currentTarget.value)}
        />
        <NumberInput label="Days" min={0} max={36_500} value={keep} onChange={setKeep} w={110} />
        <TextInput
          label="Why"
          value={reason}
          onChange={event => setReason(event.currentTarget.value)}
          maxLength={1000}
          style={{ flex: 1, minWidth: 200 }}
        />
        <Button
          variant="default"
          loading={busy === 'set'}
          disabled={reason.trim() === '' || keep === ''}
          onClick={() => void set()}
        >
          {Number(keep) * day_s < (now[name] ?? 0) ? 'Propose to lower it' : 'Raise it'}
        </Button>
      </Group>
      {refusal !== undefined && <Refusal error={refusal} />}
    </Paper>
  )
}
