import { Button, Grid, Group, NumberInput, Paper, Select, Stack, Text, Textarea, TextInput, Title } from '@mantine/core'
import { useForm } from '@mantine/form'
import { useState } from 'react'
import { useLocation } from 'wouter'
import { type ApiError, ApiFailure, call, useLoaded } from '../api.ts'
import { duration, Refusal, Shown } from '../parts.tsx'
import type { RequestEntry, ResourceEntry } from '../types.ts'

/** Choose a resource and a role, say why and for how long; policy answers at once, or asks the approvers. */
export function AskPage() {
  const resources = useLoaded<{ items: ResourceEntry[] }>('/api/resources')
  return (
    <Stack>
      <Title order={2}>Ask for access</Title>
      <Shown from={resources}>
        {({ items }) =>
          items.length === 0 ? (
            <Text c="dimmed">No resource is open to you. Ask a security engineer to look at the policy.</Text>
          ) : (
            <AskForm resources={items} />
          )
        }
      </Shown>
    </Stack>
  )
}

/** The role that lasts longest is the one that may do least: it comes first, so that nobody asks for more by accident. */
function rolesOf(resource: ResourceEntry | undefined): ResourceEntry['roles'] {
  return [...(resource?.roles ?? [])].sort((a, b) => b.max_s - a.max_s)
}

function AskForm({ resources }: { resources: readonly ResourceEntry[] }) {
  const [, go] = useLocation()
  const [refusal, setRefusal] = useState<ApiError>()
  const [sending, setSending] = useState(false)
  const form = useForm({
    initialValues: {
      resource: resources[0]?.name ?? '',
      role: rolesOf(resources[0])[0]?.role ?? '',
      minutes: 60,
      reason: '',
      ticket_ref: '',
    },
    validate: {
      resource: value => (value ? null : 'choose a resource'),
      role: value => (value ? null : 'choose a role'),
      minutes: value => (value >= 1 ? null : 'one minute at least'),
      reason: value => (value.trim() ? null : 'say why: approvers and auditors read it'),
    },
  })
  const chosen = resources.find(r => r.name === form.values.resource)
  const role = chosen?.roles.find(r => r.role === form.values.role)
  const send = async (values: typeof form.values) => {
    setSending(true)
    setRefusal(undefined)
    try {
      const request = await call<RequestEntry>('POST', '/api/requests', {
        resource: values.resource,
        role: values.role,
        duration_s: values.minutes * 60,
        reason: values.reason.trim(),
        ...(values.ticket_ref.trim() ? { ticket_ref: values.ticket_ref.trim() } : {}),
      })
      go(`/requests/${request.id}`)
    } catch (failure) {
      if (failure instanceof ApiFailure) setRefusal(failure.error)
    } finally {
      setSending(false)
    }
  }
  return (
    <Paper withBorder p="lg" component="form" onSubmit={form.onSubmit(send)}>
      <Grid>
        <Grid.Col span={{ base: 12, sm: 6 }}>
          <Select
            label="Resource"
            data={resources.map(r => r.name)}
            searchable
            allowDeselect={false}
            {...form.getInputProps('resource')}
            onChange={name => {
              const next = resources.find(r => r.name === name)
              form.setValues({ resource: name ?? '', role: rolesOf(next)[0]?.role ?? '' })
            }}
          />
          {chosen !== undefined && (
            <Text size="xs" c="dimmed" mt={4}>
              {Object.entries(chosen.labels)
                .map(([key, value]) => `${key}: ${value}`)
                .join(' · ')}
            </Text>
          )}
        </Grid.Col>
        <Grid.Col span={{ base: 12, sm: 6 }}>
          <Select
            label="Role"
            data={rolesOf(chosen).map(r => r.role)}
            allowDeselect={false}
            {...form.getInputProps('role')}
            onChange={name => {
              const next = chosen?.roles.find(r => r.role === name)
              const most = Math.floor((next?.max_s ?? 3600) / 60)
              form.setValues({ role: name ?? '', minutes: Math.min(form.values.minutes, most) })
            }}
          />
        </Grid.Col>
        <Grid.Col span={{ base: 12, sm: 6 }}>
          <NumberInput
            label="For how many minutes"
            description={role === undefined ? undefined : `at most ${duration(role.max_s)}`}
            min={1}
            {...(role === undefined ? {} : { max: Math.floor(role.max_s / 60) })}
            {...form.getInputProps('minutes')}
          />
        </Grid.Col>
        <Grid.Col span={{ base: 12, sm: 6 }}>
          <TextInput
            label="Ticket number"
            description="in your own ticket system, where policy asks for one"
            maxLength={64}
            {...form.getInputProps('ticket_ref')}
          />
        </Grid.Col>
        <Grid.Col span={12}>
          <Textarea
            label="Reason"
            description="approvers and auditors read it"
            autosize
            minRows={2}
            maxLength={2000}
            withAsterisk
            {...form.getInputProps('reason')}
          />
        </Grid.Col>
      </Grid>
      <Stack mt="md">
        {refusal !== undefined && <Refusal error={refusal} />}
        <Group>
          <Button type="submit" loading={sending}>
            Ask for access
          </Button>
        </Group>
      </Stack>
    </Paper>
  )
}
