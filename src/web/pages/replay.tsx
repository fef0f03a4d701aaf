import {
  Alert,
  Anchor,
  Badge,
  Button,
  Group,
  SegmentedControl,
  Select,
  Slider,
  Stack,
  Switch,
  Text,
  TextInput,
} from '@mantine/core'
import { useEffect, useMemo, useState } from 'react'
import { Link, useSearch } from 'wouter'
import { ApiFailure, call, useAct } from '../api.ts'
import { Page, Refusal } from '../parts.tsx'
import { advanced, type Clock, indexAfter, speeds, timeText } from '../replay/clock.ts'
import { channelsOf, isMoment, visible } from '../replay/event-text.ts'
import { Moments } from '../replay/moments.tsx'
import { TerminalScreen } from '../replay/screen.tsx'
import { useCast, useRecording } from '../replay/use-recording.ts'

const tickMs = 50

/** A session as it was, or as it is: by time, with its terminal and with what was asked. */
export function ReplayPage({ session }: { session: string }) {
  const asked = Number(new URLSearchParams(useSearch()).get('at')) || undefined
  const [view, setView] = useState<'masked' | 'clear'>('masked')
  const [reason, setReason] = useState('')
  const [given, setGiven] = useState('')
  const [turn, setTurn] = useState(0)
  const query = `follow=true&view=${given === '' ? 'masked' : view}${given === '' ? '' : `&reason=${encodeURIComponent(given)}`}`
  const { head, events, end, error, cut } = useRecording(session, query, turn)
  const began = head === undefined ? undefined : Number(head['started_at_ms'])
  const [channel, setChannel] = useState<string>()
  const channels = useMemo(() => channelsOf(events), [events])
  const { cast, error: castError } = useCast(session, channel ?? channels[0], query, began)
  const moments = useMemo(() => events.filter(isMoment), [events])
  const times = useMemo(
    () => events.flatMap(event => (event.at_ms === undefined || began === undefined ? [] : [event.at_ms - began])),
    [events, began],
  )
  const last = times.at(-1) ?? 0
  const live = head !== undefined && head['state'] === 'open' && end === undefined && error === undefined
  const [follows, setFollows] = useState(true)
  const [clock, setClock] = useState<Clock>({ at: 0, playing: false, speed: 1, skipIdle: true })
  const at = live && follows ? last : Math.min(clock.at, last)
  // Without a terminal there is nothing to play until somebody does: it is read, all of it.
  const isRead = !live && channels.length === 0 && clock.at === 0 && !clock.playing && asked === undefined

  useEffect(() => {
    if (!clock.playing) return undefined
    const timer = setInterval(() => setClock(now => advanced(now, tickMs, times, last)), tickMs)
    return () => clearInterval(timer)
  }, [clock.playing, times, last])
  const jumpTo = asked !== undefined && began !== undefined ? asked - began : undefined
  const loadedEnough = jumpTo !== undefined && last >= jumpTo
  useEffect(() => {
    if (!loadedEnough || jumpTo === undefined) return
    setFollows(false)
    setClock(now => ({ ...now, at: Math.max(0, jumpTo), playing: false }))
  }, [loadedEnough, jumpTo])

  const seek = (to: number) => {
    setFollows(false)
    setClock(now => ({ ...now, at: Math.max(0, to) }))
  }
  const play = () => {
    setFollows(false)
    setClock(now => ({ ...now, playing: !now.playing, at: !now.playing && at >= last && !live ? 0 : at }))
  }
  const title =
    head === undefined
      ? 'Replay'
      : `${visible(String(head['subject_name']))} as ${visible(String(head['role']))} on ${visible(String(head['resource']))}`
  return (
    <Page
      title={title}
      aside={live ? <EndButton session={session} /> : <Badge color="gray">{String(end?.['state'] ?? '…')}</Badge>}
    >
      <Text size="sm" c="dimmed">
        {began !== undefined && `${new Date(began).toLocaleString()} · `}
        <Text span ff="monospace" size="xs">
          {session}
        </Text>{' '}
        ·{' '}
        <Anchor component={Link} href="/sessions" size="sm">
          all sessions
        </Anchor>
      </Text>
      {error !== undefined && <Refusal error={error} />}
      {end !== undefined && end['ok'] === false && (
        <Alert color="orange" title="This is not all of it" data-testid="not-whole">
          {visible(String(end['problem']))}
        </Alert>
      )}
      {cut && <Alert color="orange">The page holds the first 100,000 events; the JSON Lines have all of them.</Alert>}
      {head !== undefined && (
        <Stack gap="xs">
          <Group gap="sm" align="center">
            <Button size="compact-md" miw={76} onClick={play} disabled={last === 0}>
              {clock.playing ? 'Pause' : 'Play'}
            </Button>
            <SegmentedControl
              size="xs"
              aria-label="Speed"
              value={String(clock.speed)}
              onChange={value => setClock(now => ({ ...now, speed: Number(value) }))}
              data={speeds.map(speed => ({ value: String(speed), label: `${speed}×` }))}
            />
            <Switch
              label="Skip idle time"
              checked={clock.skipIdle}
              onChange={event => {
                const { checked } = event.currentTarget
                setClock(now => ({ ...now, skipIdle: checked }))
              }}
            />
            {live && (
              <Switch
                label="Live"
                checked={follows}
                onChange={event => {
                  const { checked } = event.currentTarget
                  setFollows(checked)
                  setClock(now => ({ ...now, at: last, playing: false }))
                }}
                data-testid="live"
              />
            )}
            <Text size="sm" ff="monospace" data-testid="time">
              {timeText(at)} / {timeText(last)}
            </Text>
          </Group>
          <Slider
            min={0}
            max={Math.max(1, last)}
            step={50}
            value={at}
            onChange={seek}
            label={timeText}
            aria-label="Moment"
            thumbLabel="Moment"
          />
          {channels.length > 1 && (
            <Select
              size="xs"
              label="Terminal"
              w={220}
              data={channels}
              value={channel ?? channels[0] ?? null}
              onChange={value => setChannel(value ?? undefined)}
              allowDeselect={false}
            />
          )}
          {cast !== undefined && <TerminalScreen cast={cast} at={at} />}
          {cast === undefined && castError !== undefined && castError.status !== 404 && <Refusal error={castError} />}
          <Moments
            events={moments}
            began={began ?? 0}
            current={
              isRead
                ? undefined
                : indexAfter(
                    moments.map(event => (event.at_ms ?? 0) - (began ?? 0)),
                    at,
                  ) - 1
            }
            seek={seek}
          />
          <Downloads session={session} channel={channel ?? channels[0]} />
          <Group gap="xs" align="flex-end">
            <TextInput
              size="xs"
              label="With the originals that policy had sealed: why"
              value={reason}
              onChange={event => setReason(event.currentTarget.value)}
              w={320}
            />
            <Button
              size="xs"
              variant="default"
              disabled={reason.trim() === ''}
              onClick={() => {
                setView('clear')
                setGiven(reason.trim())
                setTurn(n => n + 1)
              }}
            >
              Open the clear view
            </Button>
            {given !== '' && (
              <Button
                size="xs"
                variant="default"
                onClick={() => {
                  setView('masked')
                  setGiven('')
                }}
              >
                Back to the masked view
              </Button>
            )}
          </Group>
        </Stack>
      )}
    </Page>
  )
}

/** Policy says who may; the button is there for whoever sees the session live. */
function EndButton({ session }: { session: string }) {
  const { busy, refusal, act } = useAct()
  return (
    <Stack gap="xs" align="flex-end">
      <Group gap="xs">
        <Badge color="green">live</Badge>
        <Button
          size="compact-sm"
          color="red"
          loading={busy !== undefined}
          onClick={() =>
            void act('end', () =>
              call('POST', `/api/sessions/${session}/end`, { reason: 'ended by who watched it in the browser' }),
            )
          }
        >
          End this session
        </Button>
      </Group>
      {refusal !== undefined && <Refusal error={refusal} />}
    </Stack>
  )
}

/** Taking it away is another question to policy than looking at it. */
function Downloads({ session, channel }: { session: string; channel: string | undefined }) {
  const { busy, refusal, act } = useAct()
  const base = `/api/recordings/${session}`
  const kinds = [
    { name: 'JSON Lines', path: `${base}/events?verb=download`, file: `${session}.jsonl` },
    { name: 'HTML', path: `${base}/html`, file: `${session}.html` },
    ...(channel === undefined
      ? []
      : [
          {
            name: 'asciicast',
            path: `${base}/asciicast?channel=${encodeURIComponent(channel)}`,
            file: `${session}.cast`,
          },
        ]),
  ]
  return (
    <Stack gap="xs">
      <Group gap="xs">
        <Text size="sm">Take it away:</Text>
        {kinds.map(({ name, path, file }) => (
          <Button
            key={name}
            size="compact-sm"
            variant="default"
            loading={busy === name}
            onClick={() => void act(name, () => save(path, file))}
          >
            {name}
          </Button>
        ))}
      </Group>
      {refusal !== undefined && <Refusal error={refusal} />}
    </Stack>
  )
}

async function save(path: string, file: string): Promise<void> {
  const response = await fetch(path, { credentials: 'same-origin' })
  if (!response.ok) {
    const { error } = ((await response.json().catch(() => null)) ?? {}) as { error?: ApiFailure['error'] }
    throw new ApiFailure({
      ...(error ?? { code: 'internal', message: `the control plane answered ${response.status}`, remedy: 'try again' }),
      status: response.status,
    })
  }
  const url = URL.createObjectURL(await response.blob())
  const link = Object.assign(document.createElement('a'), { href: url, download: file })
  link.click()
  URL.revokeObjectURL(url)
}
