import type { AllMiddlewareArgs, SlackViewMiddlewareArgs, ViewSubmitAction } from '@slack/bolt'
import { cut } from './blocks.ts'
import type { SlackDeps } from './deps.ts'
import { readSubmission, saidModal } from './modal.ts'
import { type Account, askableBy, reportRefused } from './who.ts'

/** The form of `/access` was sent. Everything in it is checked again: a form may be old, and its values are anybody's. */
export async function answerSubmission(
  deps: SlackDeps,
  { ack, body, view }: SlackViewMiddlewareArgs<ViewSubmitAction> & AllMiddlewareArgs,
  changed: (request_id: string) => void,
): Promise<void> {
  const account: Account = { team_id: body.user.team_id ?? body.team?.id ?? '', user_id: body.user.id }
  const say = (title: string, ...lines: string[]) => ack({ response_action: 'update', view: saidModal(title, lines) })
  const subject = await deps.identity.bySlack(account.team_id, account.user_id)
  if (subject === null) {
    await reportRefused(deps, account, { why: 'not linked', what: 'ask' })
    return say('Not asked', `This Slack account is not linked to anybody. Sign in at ${deps.origin}/link first.`)
  }
  const askable = await askableBy(deps, subject)
  if (typeof askable === 'string') return say('Not asked', askable)
  const read = readSubmission(view.state.values, askable)
  if (!read.ok) return ack({ response_action: 'errors', errors: read.errors })
  const answer = await deps.approvals.ask({
    ...read.asked,
    subject,
    via: 'slack',
    client: { address: 'slack', application: 'slack' },
  })
  if (answer.refused) {
    const error = cut(`${answer.message}. ${answer.remedy}`, 2000)
    return ack({ response_action: 'errors', errors: { [answer.code === 'bad_request' ? 'reason' : 'role']: error } })
  }
  const { request } = answer
  const what = `${request.role} on ${request.resource}`
  const stage = request.terms?.stages[0]
  if (answer.grant === null) {
    await say(
      'Asked',
      `You asked for ${what}.`,
      `${stage?.approvers.join(', ') ?? 'Somebody'} must answer. You get a message here when they do.`,
    )
  } else await say('Granted', `Policy gives you ${what} at once. A message says how to connect.`)
  changed(request.id)
}
