import type { KnownBlock } from '@slack/web-api'
import type { RequestView } from '../approvals/view.ts'
import type { Reason } from '../policy/points.ts'
import {
  code,
  context,
  cut,
  duration,
  escaped,
  fields,
  instant,
  type Message,
  notice,
  plain,
  quote,
  section,
} from './blocks.ts'
import { holdBlocks } from './hold-message.ts'

const mostVotes = 5

/** The value of a button: which request, and what of it the approver saw. Nothing in it is believed. */
export const buttonValue = (request: RequestView): string => `${request.id}:${request.hash}`

export function parseButton(value: string | undefined): { request_id: string; hash: string } | null {
  const match = /^(req_[0-9a-z]{26}):([0-9a-f]{64})$/.exec(value ?? '')
  return match ? { request_id: match[1]!, hash: match[2]! } : null
}

/** What the people of one stage see: who, what, why, for how long, what policy says, and two buttons while they may answer. */
export function approverMessage(
  request: RequestView,
  stage: number,
  reasons: readonly Reason[],
  options: { readonly open: boolean; readonly zone: string; readonly origin: string },
): Message {
  const stages = request.terms?.stages ?? []
  const here = stages[stage]
  const { name, email } = request.subject
  const who = email === null ? name : `${name} (${email})`
  const { hold } = request
  const title =
    hold === null
      ? `${request.subject.name} asks for ${request.role} on ${request.resource}`
      : `${request.subject.name} waits on ${request.resource}: ${request.reason}`
  const asker: [string, string] = ['Who', request.on_behalf_of === null ? who : `${who}, for ${request.on_behalf_of}`]
  const blocks: KnownBlock[] = [
    { type: 'header', text: plain(title, 150) },
    ...(hold === null
      ? [
          fields([
            asker,
            ['What', `${request.role} on ${request.resource}`],
            ['For how long', duration(request.duration_s)],
            ['Ticket', request.ticket_ref ?? 'none given'],
          ]),
          section('Why, in their own words:'),
          quote(request.reason),
        ]
      : [
          fields([
            asker,
            ['As', `${request.role} on ${request.resource}`],
            ['What', request.reason],
            ['How often', 'once'],
          ]),
          ...holdBlocks(hold, `${options.origin}/requests/${request.id}`),
        ]),
    ...(reasons.length > 0 ? [context(cut(`Policy says: ${reasons.map(said).join('; ')}`, 1000))] : []),
  ]
  // A single stage's outcome names who answered; where there are more people, each stands here.
  const votes = request.votes.length > 1 || request.state === 'pending' ? request.votes : []
  if (votes.length > mostVotes) blocks.push(context(`${votes.length - mostVotes} earlier votes are not shown here`))
  for (const vote of votes.slice(-mostVotes)) {
    blocks.push(
      context(
        `${vote.answer === 'approve' ? '✓ approved' : '✗ denied'} by ${vote.approver.name} (stage ${vote.stage + 1})`,
      ),
    )
  }
  if (options.open && here) {
    blocks.push(
      {
        type: 'actions',
        block_id: 'answer',
        elements: [
          {
            type: 'button',
            action_id: 'approve',
            style: 'primary',
            text: plain('Approve', 75),
            value: buttonValue(request),
          },
          { type: 'button', action_id: 'deny', style: 'danger', text: plain('Deny', 75), value: buttonValue(request) },
        ],
      },
      context(
        `Stage ${stage + 1} of ${stages.length}: ${here.quorum} of ${here.approvers.join(', ')} · expires ${instant(request.expires_at_ms, options.zone)}`,
      ),
    )
  } else {
    blocks.push(section(outcomeLine(request, stage, options.zone)))
  }
  return { text: escaped(cut(title, 300)), blocks }
}

function said(reason: Reason): string {
  return `${reason.message} (${reason.rule}${reason.at === undefined ? '' : `, ${shortCommit(reason.at)}`})`
}

/** `file:line@commit` with as much of the commit as people read. */
function shortCommit(at: string): string {
  return at.replace(/@([0-9a-f]{12})[0-9a-f]+$/, '@$1')
}

function outcomeLine(request: RequestView, stage: number, zone: string): string {
  if (request.state === 'pending') return `✓ Stage ${stage + 1} is through; the next stage answers now.`
  const mark = request.state === 'approved' && (request.hold?.unused ?? null) === null ? '✓' : '✗'
  const ends = request.grant === null ? '' : ` · until ${instant(request.grant.ends_at_ms, zone)}`
  return `${mark} ${capital(outcomeOf(request))}${ends}${whatBecame(request, zone)}`
}

/** An approval is no run: whether the action went on is said as well. */
function whatBecame({ hold, state }: RequestView, zone: string): string {
  if (hold === null || state !== 'approved') return ''
  if (hold.unused !== null) return ` · it did not run: ${hold.unused}`
  return hold.released_at_ms === null
    ? ' · it has not gone on yet'
    : ` · it went on at ${instant(hold.released_at_ms, zone)}`
}

/** `approved by Dana` says that it is approved; `a newer policy` does not say that it is denied. */
function outcomeOf({ state, outcome }: RequestView): string {
  if (outcome === null) return state
  return outcome.startsWith(state) ? outcome : `${state}: ${outcome}`
}

const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1)

/** What who asked is told in private, once there is an answer. It holds no secret: the command fetches its own ticket. */
export function requesterMessage(request: RequestView, zone: string): Message {
  const what = `${request.role} on ${request.resource}`
  if (request.state !== 'approved' || request.grant === null) {
    return notice(`Your request for ${what} was ${outcomeOf(request)}.`)
  }
  const text = `You have ${what} until ${instant(request.grant.ends_at_ms, zone)} (${request.outcome ?? 'approved'}). Connect with:`
  return {
    text: escaped(cut(text, 300)),
    blocks: [section(text), code(`sallyport connect ${shellWord(request.resource)} --role ${shellWord(request.role)}`)],
  }
}

function shellWord(text: string): string {
  return /^[A-Za-z0-9._@/-]+$/.test(text) && !text.startsWith('-') ? text : `'${text.replaceAll("'", "'\\''")}'`
}
