import type {
  AllMiddlewareArgs,
  BlockAction,
  SlackActionMiddlewareArgs,
  SlackViewMiddlewareArgs,
  ViewSubmitAction,
} from '@slack/bolt'
import { readReview } from '../approvals/review-view.ts'
import { cut, type Message, notice } from './blocks.ts'
import type { SlackDeps } from './deps.ts'
import { saidModal } from './modal.ts'
import { parseReviewButton, parseReviewForm, reviewModal } from './review-message.ts'
import { carries } from './sync.ts'
import { type Account, linkFirst, reportRefused } from './who.ts'

/** Accept or Flag was pressed on a review: a form asks for the words that an answer takes. Nothing is answered yet. */
export async function openReviewForm(
  deps: SlackDeps,
  { ack, body, action, client }: SlackActionMiddlewareArgs<BlockAction> & AllMiddlewareArgs,
): Promise<void> {
  await ack()
  const account: Account = { team_id: body.user.team_id ?? body.team?.id ?? '', user_id: body.user.id }
  const channel = body.channel?.id ?? body.container['channel_id']
  const ts = body.container['message_ts']
  const tell = async (message: Message) => {
    if (typeof channel !== 'string') return
    await client.chat
      .postEphemeral({ channel, user: account.user_id, ...message })
      .catch(err => deps.logger.warn({ err }, 'who clicked could not be told why it had no effect'))
  }
  const value = 'value' in action && typeof action.value === 'string' ? action.value : undefined
  const named = parseReviewButton(action.action_id, value)
  const review = named === null ? undefined : await readReview(deps.database.db, named.review_id)
  if (named === null || review === undefined) {
    await reportRefused(deps, account, { why: 'malformed button', what: 'review' })
    return tell(notice('This button is not one of ours.'))
  }
  const place = typeof channel === 'string' && typeof ts === 'string' ? { channel, ts } : null
  if (place === null || !(await carries(deps, review.request_id, place, 'review'))) {
    await reportRefused(deps, account, { why: 'button of another message', what: 'review', review_id: review.id })
    return tell(notice(`This message does not belong to that review. Answer at ${deps.origin}/reviews`))
  }
  if ((await deps.identity.bySlack(account.team_id, account.user_id)) === null) {
    await reportRefused(deps, account, { why: 'not linked', what: 'review', review_id: review.id })
    return tell(linkFirst(deps.origin))
  }
  await client.views.open({ trigger_id: body.trigger_id, view: reviewModal(review, named.answer) })
}

/** The form was sent. Who may answer, and whether there is still something to answer, is decided now. */
export async function answerReviewForm(
  deps: SlackDeps,
  { ack, body, view }: SlackViewMiddlewareArgs<ViewSubmitAction> & AllMiddlewareArgs,
  changed: (request_id: string) => void,
): Promise<void> {
  const account: Account = { team_id: body.user.team_id ?? body.team?.id ?? '', user_id: body.user.id }
  const say = (...lines: string[]) => ack({ response_action: 'update', view: saidModal('Not answered', lines) })
  const named = parseReviewForm(view.private_metadata)
  if (named === null) {
    await reportRefused(deps, account, { why: 'malformed form', what: 'review' })
    return say('This form is not one of ours.')
  }
  const reviewer = await deps.identity.bySlack(account.team_id, account.user_id)
  if (reviewer === null) {
    await reportRefused(deps, account, { why: 'not linked', what: 'review', review_id: named.review_id })
    return say(`This Slack account is not linked to anybody. Sign in at ${deps.origin}/link first.`)
  }
  const reason = (view.state.values['reason']?.['value']?.value ?? '').trim()
  const reviewed = await deps.approvals.answerReview({ ...named, reviewer, reason, via: 'slack' })
  if (reviewed.refused)
    return ack({
      response_action: 'errors',
      errors: { reason: cut(`${reviewed.message}. ${reviewed.remedy}`, 2000) },
    })
  await ack()
  changed(reviewed.review.request_id)
}
