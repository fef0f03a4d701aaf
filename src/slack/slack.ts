import { App, LogLevel, type ViewSubmitAction } from '@slack/bolt'
import { WebClient, type WebClientOptions } from '@slack/web-api'
import { notice } from './blocks.ts'
import { answerClick } from './click.ts'
import { answerCommand } from './command.ts'
import type { SlackDeps } from './deps.ts'
import { admit, forgetSeen, type SlackRequest } from './door.ts'
import { askView } from './modal.ts'
import { Outbox, quiet } from './outbox.ts'
import { type Answer, DirectReceiver } from './receiver.ts'
import { answerReviewForm, openReviewForm } from './review-answer.ts'
import { reviewForm } from './review-message.ts'
import { answerSubmission } from './submission.ts'
import { syncRequest, unsynced } from './sync.ts'

export interface Slack {
  /** One request from Slack, with the raw bytes of its body. */
  handle(request: SlackRequest): Promise<Answer>
  /** A request was made or changed (ports of approvals, NOTIFY `requests` and `reviews`): Slack is brought up to date. */
  requestChanged(id: string): Promise<void>
  /** Posts plain text to a channel. @throws when Slack did not take it: whoever says it tries again. */
  say(channel: string, text: string): Promise<void>
  /** What was missed, what is due, what is old. Call it every second or so. */
  sweep(): Promise<void>
}

/** Slack: `/access` asks, buttons answer, messages show how it stands. */
export function createSlack(deps: SlackDeps): Slack {
  const receiver = new DirectReceiver()
  const logger = boltLogger(deps)
  const clientOptions: WebClientOptions = {
    ...(deps.apiUrl === undefined ? {} : { slackApiUrl: deps.apiUrl }),
    logger,
    retryConfig: { retries: 0 }, // the outbox tries again, and remembers it over a restart
    rejectRateLimitedCalls: true,
    timeout: 5000,
    allowAbsoluteUrls: false,
  }
  const app = new App({
    receiver,
    // The token is known; asking Slack about it at each start would make us depend on Slack to be up.
    authorize: () => Promise.resolve({ botToken: deps.botToken.reveal(), teamId: deps.teamId }),
    ignoreSelf: false,
    convoStore: false,
    logger,
    clientOptions,
  })
  app.error(error => {
    deps.logger.error({ err: error }, 'a request from Slack failed')
    return Promise.resolve()
  })
  const client = new WebClient(deps.botToken.reveal(), clientOptions)
  const outbox = new Outbox(deps, client)

  const requestChanged = async (id: string) => {
    await syncRequest(deps, id)
    await outbox.deliverDue()
  }
  const changed = (id: string) =>
    void requestChanged(id).catch(err => deps.logger.error({ err }, 'Slack could not be told of a request'))

  app.command('/access', args => answerCommand(deps, args))
  app.view<ViewSubmitAction>({ callback_id: askView, type: 'view_submission' }, args =>
    answerSubmission(deps, args, changed),
  )
  app.view<ViewSubmitAction>({ callback_id: reviewForm, type: 'view_submission' }, args =>
    answerReviewForm(deps, args, changed),
  )
  app.action({ type: 'block_actions', action_id: /^review_(accept|flag)$/ }, args => openReviewForm(deps, args))
  app.action({ type: 'block_actions', action_id: /^(approve|deny)$/ }, args => answerClick(deps, args, changed))

  let swept = 0
  return {
    handle: request => admit(deps, receiver, request),
    requestChanged,
    say: async (channel, text) => {
      await client.chat.postMessage({ channel, ...quiet(notice(text)) })
    },
    sweep: async () => {
      for (const id of await unsynced(deps)) await syncRequest(deps, id)
      await outbox.deliverDue()
      if (Date.now() - swept > 60_000) {
        swept = Date.now()
        await forgetSeen(deps.database)
      }
    },
  }
}

function boltLogger({ logger }: SlackDeps) {
  const text = (parts: unknown[]) => parts.map(String).join(' ').slice(0, 2000)
  return {
    debug: () => {},
    info: () => {},
    warn: (...parts: unknown[]) => logger.warn(text(parts)),
    error: (...parts: unknown[]) => logger.error(text(parts)),
    setLevel: () => {},
    getLevel: () => LogLevel.WARN,
    setName: () => {},
  }
}
