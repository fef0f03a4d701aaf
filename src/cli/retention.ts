import { SallyportError } from '../errors.ts'
import type { Client } from './client.ts'
import { instant, jsonText, plain, say, seconds, table } from './output.ts'
import { findSubject } from './subjects.ts'

interface PreviewAnswer {
  readonly at_ms: number
  readonly more: boolean
  readonly recordings: readonly {
    readonly session_id: string
    readonly subject: { readonly name: string }
    readonly resource: string
    readonly sealed_at_ms: number
    readonly expires_at_ms: number
    readonly locked_until_ms: number | null
  }[]
  readonly kept: { readonly live: number; readonly held: number; readonly young: number; readonly undecided: number }
  readonly logs: Readonly<Record<string, { keep_s: number | null; count: number; more: boolean }>>
}

interface ProposalAnswer {
  readonly id: string
  readonly kind: string
  readonly body: Readonly<Record<string, string | number>>
  readonly reason: string
  readonly state: string
  readonly proposed_by: { readonly name: string }
  readonly proposed_at_ms: number
  readonly expires_at_ms: number
  readonly progress: Readonly<Record<string, unknown>>
  readonly done_at_ms: number | null
}

/** Lists what the next run of retention would delete. */
export async function preview(client: Client, options: { at?: string; json?: boolean }): Promise<void> {
  const at_ms = options.at === undefined ? undefined : Date.parse(options.at)
  if (at_ms !== undefined && !(at_ms > 0))
    throw new SallyportError('bad_request', `'${plain(options.at ?? '')}' is no instant`, {
      remedy: 'write it as 2027-01-31 or 2027-01-31T12:00:00Z',
    })
  const answer = await client.get<PreviewAnswer>(
    `/api/retention/preview${at_ms === undefined ? '' : `?at_ms=${at_ms}`}`,
  )
  if (options.json) return say(jsonText(answer, 2))
  table(
    ['session', 'who', 'resource', 'sealed', 'expires', 'locked in the store until'],
    answer.recordings.map(r => [
      r.session_id,
      r.subject.name,
      r.resource,
      instant(r.sealed_at_ms),
      instant(r.expires_at_ms),
      r.locked_until_ms !== null && r.locked_until_ms > answer.at_ms ? instant(r.locked_until_ms) : '',
    ]),
    'No recording would go.',
  )
  if (answer.more) say('… and more')
  const { held, young, undecided, live } = answer.kept
  say(`Recordings that stay: ${young} not expired, ${held} held, ${undecided} with no answer of policy, ${live} open.`)
  for (const [name, log] of Object.entries(answer.logs)) {
    const kept = log.keep_s === null ? 'policy gives no answer: all stay' : `kept for ${days(log.keep_s)}`
    say(`${name}: ${log.count}${log.more ? ' or more' : ''} would go (${kept})`)
  }
  say('Nothing was deleted.')
}

/** Shows the floors, or changes one: up at once, down when a second person confirms. */
export async function floor(
  client: Client,
  name: string | undefined,
  options: { keep?: string; reason?: string },
): Promise<void> {
  if (name === undefined || options.keep === undefined) {
    const { floors } = await client.get<{ floors: Record<string, number> }>('/api/retention')
    table(
      ['class', 'kept at least'],
      Object.entries(floors).map(([each, keep_s]) => [each, days(keep_s)]),
    )
    return
  }
  const reason = needReason(options.reason)
  const body = { class: name, keep_s: seconds(options.keep), reason }
  const { proposal } = await client.post<{ proposal: string | null }>('/api/retention/floors', body)
  if (proposal === null) say(`${name} are kept for ${days(body.keep_s)} at least, from now on.`)
  else sayProposed(proposal)
}

/** Proposes an erasure, or counts what it would erase. */
export async function erase(
  client: Client,
  options: { subject: string; reason?: string; dryRun?: boolean },
): Promise<void> {
  const subject = await findSubject(client, options.subject)
  const would = await client.get<Erased>(`/api/erasures/preview?subject_id=${subject.id}`)
  sayErased(subject.name, would)
  if (options.dryRun) return say('Nothing was erased, and nothing proposed.')
  const reason = needReason(options.reason)
  const { id } = await client.post<ProposalAnswer>('/api/erasures', { subject_id: subject.id, reason })
  sayProposed(id)
}

interface Erased {
  readonly recordings: number
  readonly held: number
  readonly open: number
  readonly rows: Readonly<Record<string, number>>
  readonly name: string
}

function sayErased(name: string, { recordings, held, open, rows, name: how }: Erased): void {
  say(`Of ${plain(name)} would go: ${recordings} recordings, ${counts(rows)}; the name: ${how}.`)
  if (held > 0) say(`${held} recordings are on hold: they and what belongs to their sessions stay until it is lifted.`)
  if (open > 0) say(`${open} recordings are not sealed yet: they go when they are.`)
}

const counts = (rows: Readonly<Record<string, number>>): string =>
  Object.entries(rows)
    .map(([what, n]) => `${n} ${what}`)
    .join(', ')

export async function listProposals(client: Client, options: { all?: boolean }): Promise<void> {
  const { items } = await client.get<{ items: ProposalAnswer[] }>(`/api/proposals${options.all ? '' : '?pending=true'}`)
  table(
    ['proposal', 'what', 'by', 'state', 'until', 'reason'],
    items.map(p => [
      p.id,
      `${p.kind} ${Object.values(p.body).join(' ')}`,
      p.proposed_by.name,
      stateOf(p),
      p.state === 'pending' ? instant(p.expires_at_ms) : '',
      p.reason,
    ]),
    options.all ? 'No proposals.' : 'No proposal waits for anybody.',
  )
}

function stateOf({ state, done_at_ms, progress }: ProposalAnswer): string {
  if (state !== 'confirmed') return state
  if (done_at_ms !== null) return `done ${instant(done_at_ms)}`
  return progress['waiting'] === undefined ? 'under way' : `waits: ${jsonText(progress['waiting'])}`
}

export async function confirm(client: Client, id: string): Promise<void> {
  const { kind } = await client.post<ProposalAnswer>(`/api/proposals/${encodeURIComponent(id)}/confirm`, {})
  say(
    kind === 'floor'
      ? 'Confirmed: the floor is in force.'
      : 'Confirmed: it is being erased. `sallyport proposals --all` says how far it is.',
  )
}

export async function refuse(client: Client, id: string, reason: string | undefined): Promise<void> {
  await client.post(`/api/proposals/${encodeURIComponent(id)}/refuse`, reason === undefined ? {} : { reason })
  say('Refused: nothing is done.')
}

function sayProposed(id: string): void {
  say(`${id} is proposed. It takes a second person within a day: sallyport confirm ${id}`)
}

function needReason(reason: string | undefined): string {
  if (reason !== undefined) return reason
  throw new SallyportError('bad_request', 'why?', { remedy: 'say it with --reason; it stands in the audit log' })
}

function days(s: number): string {
  return s % 86_400 === 0 ? `${s / 86_400} days` : `${s} s`
}
