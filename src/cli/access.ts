import { setTimeout as sleep } from 'node:timers/promises'
import { SallyportError } from '../errors.ts'
import type { Client } from './client.ts'
import { instant, plain, say, span, table } from './output.ts'

/** What the command line reads of a request; the API's own schema is the truth (GET /openapi.json). */
export interface RequestAnswer {
  readonly id: string
  readonly kind: string
  readonly hash: string
  readonly subject: { readonly name: string; readonly email: string | null }
  readonly resource: string
  readonly role: string
  readonly duration_s: number
  readonly reason: string
  readonly state: string
  readonly outcome: string | null
  readonly created_at_ms: number
  readonly expires_at_ms: number
  readonly terms: {
    readonly stages: readonly { readonly approvers: readonly string[]; readonly quorum: number }[]
  } | null
  readonly hold: {
    readonly released_at_ms: number | null
    readonly unused: string | null
    readonly session_id: string
    readonly text: string | null
    readonly shown: readonly { readonly label: string; readonly lines: readonly string[]; readonly more?: number }[]
  } | null
  readonly grant: { readonly id: string; readonly ends_at_ms: number } | null
}

interface ResourceAnswer {
  readonly name: string
  readonly protocol: string
  readonly labels: Readonly<Record<string, string>>
  readonly roles: readonly { readonly role: string; readonly max_s: number }[]
}

interface GrantAnswer {
  readonly id: string
  readonly subject: { readonly name: string }
  readonly resource: string
  readonly role: string
  readonly starts_at_ms: number
  readonly ends_at_ms: number
  readonly revoked_at_ms: number | null
}

export interface Ask {
  readonly resource: string
  readonly role: string
  readonly duration_s: number
  readonly reason: string
  readonly ticket_ref: string | undefined
  readonly wait: boolean
}

/** Lists what the caller may ask for. */
export async function listResources(client: Client): Promise<void> {
  const { items } = await client.get<{ items: ResourceAnswer[] }>('/api/resources')
  table(
    ['resource', 'protocol', 'roles', 'labels'],
    items.map(r => [
      r.name,
      r.protocol,
      r.roles.map(role => `${role.role} (≤ ${span(role.max_s)})`).join(', '),
      Object.entries(r.labels)
        .map(([key, value]) => `${key}=${value}`)
        .join(' '),
    ]),
    'No resource is open to you: no group of yours stands in roles/data.yaml of the policy repository.',
  )
}

/** Asks for a role; with `wait` it stays until somebody has answered. @returns the request as it is then. */
export async function ask(client: Client, input: Ask): Promise<RequestAnswer> {
  const { wait, ticket_ref, ...body } = input
  let request = await client.post<RequestAnswer>('/api/requests', {
    ...body,
    ...(ticket_ref === undefined ? {} : { ticket_ref }),
  })
  if (request.state === 'pending') {
    say(
      `Request ${request.id}: ${request.role} on ${request.resource} for ${span(request.duration_s)} waits for an approver${whoAnswers(request)}.`,
    )
    say(`  ${client.origin}/requests/${request.id}`)
    if (!wait) return request
    say('Waiting for the answer. Ctrl-C stops waiting; the request stays.')
    while (request.state === 'pending') {
      await sleep(1_000)
      request = await client.get<RequestAnswer>(`/api/requests/${request.id}`)
    }
  }
  tellOutcome(request)
  return request
}

/** Who answers, as the terms say: ` (1 of dbas)`. */
function whoAnswers(request: RequestAnswer): string {
  const stages = request.terms?.stages ?? []
  const said = stages.map(stage => `${stage.quorum} of ${stage.approvers.join(', ')}`).join(', then ')
  return said === '' ? '' : ` (${plain(said)})`
}

/** Says how a request ended, in one line. @throws SallyportError when it was not approved. */
export function tellOutcome(request: RequestAnswer): void {
  if (request.state === 'approved') {
    const until = request.grant === null ? '' : ` until ${instant(request.grant.ends_at_ms)}`
    say(`Approved: ${request.role} on ${request.resource}${until}.`)
    return
  }
  throw new SallyportError('policy_denied', `request ${request.id} ${plain(endOf(request))}`)
}

/** `was denied by Dana`, `expired: nobody answered in time`. */
function endOf({ state, outcome }: RequestAnswer): string {
  const how = outcome === null ? state : outcome.startsWith(state) ? outcome : `${state}: ${outcome}`
  return state === 'expired' ? how : `was ${how}`
}

/** Lists requests, newest first. */
export async function listRequests(client: Client, options: { state?: string }): Promise<void> {
  const query = options.state === undefined ? '' : `?state=${encodeURIComponent(options.state)}`
  const { items } = await client.get<{ items: RequestAnswer[] }>(`/api/requests${query}`)
  table(
    ['request', 'who', 'role', 'resource', 'for', 'asked', 'state', 'reason'],
    items.map(r => [
      r.id,
      r.subject.name,
      r.role,
      r.resource,
      r.hold === null ? span(r.duration_s) : 'once',
      instant(r.created_at_ms),
      r.state,
      r.reason,
    ]),
    options.state === undefined
      ? 'No requests of yours, and none that waits for you.'
      : `No requests that are ${options.state}.`,
  )
}

/** What a person reads before they answer; a longer list has its end elsewhere. */
const mostLines = 40

/** Approves or denies. What is voted on is shown first; the vote carries its hash, so that it cannot change meanwhile. */
export async function vote(client: Client, id: string, answer: 'approve' | 'deny'): Promise<void> {
  const path = `/api/requests/${encodeURIComponent(id)}`
  const request = await client.get<RequestAnswer>(path)
  tellAsked(request, mostLines)
  const after = await client.post<RequestAnswer>(`${path}/votes`, { answer, hash: request.hash })
  say(after.state === 'pending' ? 'Your vote counts; more approvals are needed.' : `The request is ${after.state}.`)
}

/** Shows one request: what is asked, and how it stands. */
export async function showRequest(client: Client, id: string): Promise<void> {
  const request = await client.get<RequestAnswer>(`/api/requests/${encodeURIComponent(id)}`)
  tellAsked(request)
  const { state, hold } = request
  say(state === 'pending' ? `It waits${whoAnswers(request)}.` : `It ${plain(endOf(request))}.`)
  if (hold === null || state !== 'approved') return
  if (hold.unused !== null) say(`It did not run: ${plain(hold.unused)}.`)
  else say(hold.released_at_ms === null ? 'It has not gone on yet.' : `It went on at ${instant(hold.released_at_ms)}.`)
}

/** Who asks for what. Of an action that waits all that its approvers may see, of lists the first `most` lines. */
function tellAsked(request: RequestAnswer, most = Number.POSITIVE_INFINITY): void {
  const { subject, role, resource, reason, hold } = request
  const who = `${plain(subject.name)}${subject.email === null ? '' : ` <${plain(subject.email)}>`}`
  if (hold === null) {
    say(`${who} asks for ${role} on ${resource} for ${span(request.duration_s)}: ${plain(reason)}`)
    return
  }
  say(`${who}, as ${role} on ${resource}, waits for this to go on, once: ${plain(reason)}`)
  if (hold.text === null) say('  (policy records no text here)')
  else for (const line of hold.text.split('\n')) say(`  | ${plain(line)}`)
  for (const { label, lines, more = 0 } of hold.shown) {
    say(`  ${plain(label)}:`)
    for (const line of lines.slice(0, most)) say(`    ${plain(line)}`)
    if (lines.length > most) say(`    … and ${lines.length - most} more in \`sallyport show-request ${request.id}\``)
    if (more > 0) say(`    … and ${more} more that are not shown`)
  }
}

export async function cancel(client: Client, id: string): Promise<void> {
  await client.post(`/api/requests/${encodeURIComponent(id)}/cancel`, {})
  say('Cancelled.')
}

/** Lists grants that last now. */
export async function listGrants(client: Client): Promise<void> {
  const { items } = await client.get<{ items: GrantAnswer[] }>('/api/grants')
  table(
    ['grant', 'who', 'role', 'resource', 'until', 'revoked'],
    items.map(g => [
      g.id,
      g.subject.name,
      g.role,
      g.resource,
      instant(g.ends_at_ms),
      g.revoked_at_ms === null ? '' : instant(g.revoked_at_ms),
    ]),
    'No grants now. Ask with: sallyport request RESOURCE --role ROLE --reason "…"',
  )
}

/** Ends a grant now: its sessions close within a second. */
export async function revoke(client: Client, id: string, reason: string): Promise<void> {
  await client.post(`/api/grants/${encodeURIComponent(id)}/revoke`, { reason })
  say('Revoked. Its connections are being closed.')
}
