import type { Client } from './client.ts'
import { type Approval, stagesOf } from './explain.ts'
import { instant, jsonText, plain, say, span } from './output.ts'

interface AccessAnswer {
  readonly role: string
  readonly effect: string
  readonly code: string
  readonly reasons: readonly {
    readonly rule: string
    readonly message: string
    readonly remedy?: string
    readonly at?: string
  }[]
  readonly approval: Approval | null
  readonly max_s: number | null
  readonly review: { readonly reviewers: readonly string[]; readonly due_s: number } | null
  readonly session: {
    readonly idle_s: number
    readonly max_connections: number
    readonly from: readonly string[]
    readonly moderators?: readonly string[]
  } | null
}

interface CanAnswer extends AccessAnswer {
  readonly resource: string
  readonly held_until_ms: number | null
  readonly others: readonly { readonly role: string; readonly effect: string }[]
}

/** Says whether I have a role, or would get it without asking anybody. @returns exit code 0 for yes. */
export async function canI(
  client: Client,
  role: string,
  resource: string,
  options: { json?: boolean },
): Promise<number> {
  const can = await client.get<CanAnswer>(`/api/can-i?${new URLSearchParams({ role, resource })}`)
  const yes = can.held_until_ms !== null || can.effect === 'allow'
  if (options.json) say(jsonText(can, 2))
  else tell(can)
  return yes ? 0 : 1
}

function tell(can: CanAnswer): void {
  const { role, resource, effect, held_until_ms, max_s, approval } = can
  const what = `${plain(role)} on ${plain(resource)}`
  const connect = `sallyport connect ${plain(resource)} --role ${plain(role)}`
  const why = can.reasons.map(reason => plain(reason.message)).join('; ')
  if (held_until_ms !== null) {
    say(`Yes: you are ${what} until ${instant(held_until_ms)}.`)
    say(`  next: ${connect}`)
  } else if (effect === 'allow') {
    say(`Yes: ${what}, without asking anybody${why === '' ? '' : ` (${why})`}.`)
    say(`  next: ${connect}`)
  } else if (effect === 'ask') {
    say(`Not yet: ${what} takes the word of ${approval === null ? 'an approver' : stagesOf(approval)}.`)
    say(`  next: sallyport request ${plain(resource)} --role ${plain(role)} --for ${shortest(max_s)} --reason "…"`)
  } else {
    say(`No: ${why === '' ? `${what} is denied (${plain(can.code)})` : why}.`)
    for (const { rule, at } of can.reasons) say(`  rule: ${plain(rule)}${at === undefined ? '' : ` (${plain(at)})`}`)
    const remedy = can.reasons.find(reason => reason.remedy !== undefined)?.remedy
    if (remedy !== undefined) say(`  next: ${plain(remedy)}`)
  }
  if (effect === 'deny' && held_until_ms === null && can.others.length > 0) {
    const others = can.others.map(other => `${plain(other.role)}${other.effect === 'ask' ? ' (when approved)' : ''}`)
    say(`  here you can be: ${others.join(', ')}`)
  }
}

/** A duration that `request` takes: an hour, or as long as the role lasts at most. */
function shortest(max_s: number | null): string {
  const seconds = Math.min(max_s ?? 3600, 3600)
  return seconds % 3600 === 0 ? `${seconds / 3600}h` : seconds % 60 === 0 ? `${seconds / 60}m` : `${seconds}s`
}

interface PlanAnswer {
  readonly revision: { readonly generation: number; readonly commit: string } | null
  readonly subject: { readonly id: string; readonly name: string; readonly groups: readonly string[] }
  readonly resource: {
    readonly name: string
    readonly protocol: string
    readonly labels: Readonly<Record<string, string>>
  }
  readonly roles: readonly (AccessAnswer & {
    readonly recording: {
      readonly level: string
      readonly results: string
      readonly head_rows: number
      readonly originals: string
      readonly strict: boolean
    } | null
    readonly masks:
      | readonly {
          readonly rule: string
          readonly match: { readonly schema: string; readonly table: string; readonly column: string }
          readonly transform: { readonly kind: string; readonly keep_last?: number }
        }[]
      | null
    readonly keep_s: number | null
    readonly replay: {
      readonly own: string
      readonly groups: readonly { readonly group: string; readonly view: string }[]
    }
  })[]
  readonly logs: readonly { readonly class: string; readonly keep_s: number | null }[]
}

/** Prints what applies to a subject on a resource under the active revision. Nothing is asked for, nothing is recorded. */
export async function plan(
  client: Client,
  { json, ...asked }: { subject: string; resource: string; role?: string; json?: boolean },
): Promise<void> {
  const query = new URLSearchParams({
    subject: asked.subject,
    resource: asked.resource,
    ...(asked.role === undefined ? {} : { role: asked.role }),
  })
  const found = await client.get<PlanAnswer>(`/api/policy/plan?${query}`)
  if (json) return say(jsonText(found, 2))
  const { revision, subject, resource, roles, logs } = found
  const labels = Object.entries(resource.labels).map(([key, value]) => `${plain(key)}=${plain(value)}`)
  say(`${plain(subject.name)} (${subject.groups.map(plain).join(', ') || 'in no group'})`)
  say(`on ${plain(resource.name)} (${[plain(resource.protocol), ...labels].join(', ')})`)
  if (revision !== null) say(`under revision ${revision.generation}, commit ${revision.commit}`)
  for (const role of roles) sayRole(role)
  say(`\nLogs: ${logs.map(({ class: name, keep_s }) => `${plain(name)} ${kept(keep_s)}`).join(' · ')}`)
}

function sayRole(role: PlanAnswer['roles'][number]): void {
  const { effect, reasons, approval, max_s, review, session, recording, masks, keep_s, replay } = role
  say(`\n${plain(role.role)}: ${effect === 'deny' ? 'no' : effect === 'ask' ? 'when approved' : 'at once'}`)
  const line = (what: string, text: string) => say(`  ${what.padEnd(10)} ${text}`)
  for (const { message, rule, at } of reasons)
    line('because', `${plain(message)} (${plain(rule)}${at === undefined ? '' : `, ${plain(at)}`})`)
  if (effect === 'deny') return
  if (approval !== null) line('approves', stagesOf(approval))
  if (max_s !== null) line('lasts', `${span(max_s)} at most`)
  if (review !== null)
    line('reviewed', `by ${review.reviewers.map(plain).join(' or ')}, within ${span(review.due_s)} after its end`)
  if (session !== null) {
    const watched = session.moderators === undefined ? '' : `, watched by ${session.moderators.map(plain).join(', ')}`
    line('session', `${session.max_connections} connections, ends after ${span(session.idle_s)} idle${watched}`)
    line('from', session.from.map(plain).join(', ') || 'nowhere')
  }
  line('recorded', recording === null ? 'policy gives no answer: no session begins' : recordedAs(recording))
  line(
    'masked',
    masks === null ? 'policy gives no answer: no session begins' : masks.map(maskOf).join(', ') || 'nothing',
  )
  line('kept', kept(keep_s))
  const views = replay.groups.map(({ group, view }) => `${plain(group)} (${plain(view)})`)
  line('replayed', [`by who held it: ${plain(replay.own)}`, ...views].join(' · '))
}

function recordedAs({
  level,
  results,
  head_rows,
  originals,
  strict,
}: NonNullable<PlanAnswer['roles'][number]['recording']>) {
  const rows = results === 'head' ? `the first ${head_rows} rows` : results === 'all' ? 'all rows' : 'no rows'
  const sealed = originals === 'sealed' ? ', originals sealed' : ''
  return `${plain(level)}, ${rows}${sealed}${strict ? ', on disk before it goes on' : ''}`
}

function maskOf({ match, transform }: NonNullable<PlanAnswer['roles'][number]['masks']>[number]): string {
  const last = transform.keep_last === undefined ? '' : ` ${transform.keep_last}`
  return `${plain(match.schema)}.${plain(match.table)}.${plain(match.column)} (${plain(transform.kind)}${last})`
}

function kept(keep_s: number | null): string {
  if (keep_s === null) return 'until policy says otherwise'
  return keep_s % 86_400 === 0 ? `${keep_s / 86_400} days` : span(keep_s)
}
