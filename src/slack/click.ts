import type { AllMiddlewareArgs, BlockAction, SlackActionMiddlewareArgs } from '@slack/bolt'
import { type Message, notice } from './blocks.ts'
import type { SlackDeps } from './deps.ts'
import { parseButton } from './request-message.ts'
import { carries } from './sync.ts'
import { type Account, linkFirst, reportRefused } from './who.ts'

type Click = SlackActionMiddlewareArgs<BlockAction> & AllMiddlewareArgs

/**
 * Approve or Deny was pressed. What the button says is a hint: the place of the message must be where we put the buttons
 * of that request, the hash what the request still asks for, and the rest is read from the database.
 */
export async function answerClick(deps: SlackDeps, click: Click, changed: (request_id: string) => void): Promise<void> {
  const { ack, body, action, client } = click
  await ack()
  const account: Account = { team_id: body.user.team_id ?? body.team?.id ?? '', user_id: body.user.id }
  const channel = body.channel?.id ?? body.container['channel_id']
  const tell = async (message: Message) => {
    if (typeof channel !== 'string') return
    await client.chat
      .postEphemeral({ channel, user: account.user_id, ...message })
      .catch(err => deps.logger.warn({ err }, 'who clicked could not be told why it had no effect'))
  }
  try {
    const refusal = await count(deps, account, action, { channel, ts: body.container['message_ts'] }, changed)
    if (refusal !== null) await tell(refusal)
  } catch (error) {
    await tell(
      notice(
        `Something went wrong on our side, and your answer was not counted. Try again, or answer at ${deps.origin}`,
      ),
    )
    throw error
  }
}

/** @returns what to tell whoever clicked when it had no effect, else null. */
async function count(
  deps: SlackDeps,
  account: Account,
  action: Click['action'],
  place: { channel: unknown; ts: unknown },
  changed: (request_id: string) => void,
): Promise<Message | null> {
  const named = 'value' in action && typeof action.value === 'string' ? parseButton(action.value) : null
  if (named === null || (action.action_id !== 'approve' && action.action_id !== 'deny')) {
    await reportRefused(deps, account, { why: 'malformed button', what: 'vote' })
    return notice('This button is not one of ours.')
  }
  const { request_id, hash } = named
  const { channel, ts } = place
  if (typeof channel !== 'string' || typeof ts !== 'string' || !(await carries(deps, request_id, { channel, ts }))) {
    await reportRefused(deps, account, { why: 'button of another message', what: 'vote', request_id })
    return notice(`This message does not belong to that request any more. Answer at ${deps.origin}`)
  }
  const approver = await deps.identity.bySlack(account.team_id, account.user_id)
  if (approver === null) {
    await reportRefused(deps, account, { why: 'not linked', what: 'vote', request_id })
    return linkFirst(deps.origin)
  }
  const counted = await deps.approvals.vote({
    request_id,
    approver,
    answer: action.action_id,
    via: 'slack',
    expected_hash: hash,
  })
  changed(request_id)
  if (!counted.refused) return null
  return notice(`Your answer was not counted: ${counted.message}. What to do: ${counted.remedy}.`)
}
