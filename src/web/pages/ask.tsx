import { Button, Grid, Group, Paper, Select, Stack, Textarea, TextInput, Title } from '@mantine/core'
import { useForm } from '@mantine/form'
import { useLocation } from 'wouter'
import { call, useAct, useLoaded } from '../api.ts'
import { duration, Nothing, Refusal, Shown } from '../parts.tsx'
import type { RequestEntry, ResourceEntry } from '../types.ts'

/** Choose a resource and a role, say why and for how long; policy answers at once, or asks the approvers. */
export function AskSection() {
  const resources = useLoaded<{ items: ResourceEntry[] }>('/api/resources')
  return (
    <Shown from={resources}>
      {({ items }) =>
        items.length === 0 ? (
          <Nothing title="No resource is open to you">
            No group of yours stands in roles/data.yaml of the policy repository. Ask a security engineer.
          </Nothing>
        ) : (
          <AskForm resources={items} />
        )
      }
    </Shown>
  )
}

/** The same choices as in Slack, as far as the role lasts; its own maximum closes the list. */
function durationsOf(max_s: number): { value: string; label: string }[] {
  const usual = [900, 1800, 3600, 7200, 14_400, 28_800].filter(seconds => seconds < max_s)
  return [...usual, max_s].map(seconds => ({ value: String(seconds), label: duration(seconds) }))
}

/** The role that lasts longest is the one that may do least: it comes first, so that nobody asks for more by accident. */
function rolesOf(resource: ResourceEntry | undefined): ResourceEntry['roles'] {
  return [...(resource?.roles ?? [])].sort((a, b) => b.max_s - a.max_s)
}

function labelsOf(resource: ResourceEntry | undefined): string {
  const labels = Object.entries(resource?.labels ?? {}).map(([key, value]) => `${key}: ${value}`)
  return [resource?.protocol, ...labels].filter(Boolean).join(' · ')
}

function AskForm({ resources }: { resources: readonly ResourceEntry[] }) {
  const [, go] = useLocation()
  const { busy, refusal, act } = useAct()
  const form = useForm({
    initialValues: {
      resource: resources[0]?.name ?? '',
      role: rolesOf(resources[0])[0]?.role ?? '',
      duration_s: String(Math.min(3600, rolesOf(resources[0])[0]?.max_s ?? 3600)),
      reason: '',
      ticket_ref: '',
    },
    validate: {
      resource: value => (value ? null : 'Choose a resource'),
      role: value => (value ? null : 'Choose a role'),
      reason: value => (value.trim() ? null : 'Say why: approvers and auditors read it'),
    },
  })
  const chosen = resources.find(r => r.name === form.values.resource)
  const role = chosen?.roles.find(r => r.role === form.values.role)
  const choose = (resource: string, next: { role: string; max_s: number } | undefined) => {
    const most = next?.max_s ?? 3600
    const kept = Number(form.values.duration_s) < most ? form.values.duration_s : String(most)
    form.setValues({ resource, role: next?.role ?? '', duration_s: kept })
  }
  const send = (values: typeof form.values) =>
    act('send', async () => {
      const request = await call<RequestEntry>('POST', '/api/requests', {
        resource: values.resource,
        role: values.role,
        duration_s: Number(values.duration_s),
        reason: values.reason.trim(),
        ...(values.ticket_ref.trim() ? { ticket_ref: values.ticket_ref.trim() } : {}),
      })
      go(`/requests/${request.id}`)
    })
  return (
    <Paper withBorder p={{ base: 'md', sm: 'lg' }} component="form" onSubmit={form.onSubmit(send)}>
      <Title order={3} size="h4" mb="sm">
        Ask for access
      </Title>
      <Grid>
        <Grid.Col span={{ base: 12, sm: 6 }}>
          <Select
            label="Resource"
            description={labelsOf(chosen)}
            data={resources.map(r => r.name)}
            searchable
            allowDeselect={false}
            {...form.getInputProps('resource')}
            onChange={name => {
              const next = resources.find(r => r.name === name)
              choose(name ?? '', rolesOf(next)[0])
            }}
          />
        </Grid.Col>
        <Grid.Col span={{ base: 12, sm: 6 }}>
          <Select
            label="Role"
            description={role === undefined ? undefined : `Lasts at most ${duration(role.max_s)}`}
            data={rolesOf(chosen).map(r => r.role)}
            allowDeselect={false}
            {...form.getInputProps('role')}
            onChange={name => {
              const next = chosen?.roles.find(r => r.role === name)
              choose(form.values.resource, next)
            }}
          />
        </Grid.Col>
        <Grid.Col span={{ base: 12, sm: 6 }}>
          <Select
            label="For how long"
            description="From the moment of approval"
            data={durationsOf(role?.max_s ?? 3600)}
            allowDeselect={false}
            {...form.getInputProps('duration_s')}
          />
        </Grid.Col>
        <Grid.Col span={{ base: 12, sm: 6 }}>
          <TextInput
            label="Ticket number"
            description="In your own ticket system, where policy asks for one"
            maxLength={64}
            {...form.getInputProps('ticket_ref')}
          />
        </Grid.Col>
        <Grid.Col span={12}>
          <Textarea
            label="Reason"
            description="Approvers and auditors read it"
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
          <Button type="submit" loading={busy !== undefined}>
            Ask for access
          </Button>
        </Group>
      </Stack>
    </Paper>
  )
}
