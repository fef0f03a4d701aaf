import type { AllMiddlewareArgs, RespondArguments, SlackCommandMiddlewareArgs } from '@slack/bolt'
import { type Message, notice } from './blocks.ts'
import type { SlackDeps } from './deps.ts'
import { askModal } from './modal.ts'
import { type Account, askableBy, linkFirst } from './who.ts'

/** `/access`, `/access NAME`, `/access link CODE`. What is said in answer is seen by nobody else. */
export async function answerCommand(
  deps: SlackDeps,
  { command, ack, client }: SlackCommandMiddlewareArgs & AllMiddlewareArgs,
): Promise<void> {
  const account: Account = { team_id: command.team_id, user_id: command.user_id }
  const [word = '', ...rest] = command.text.trim().split(/\s+/)
  if (word.toLowerCase() === 'link') return ack(onlyYou(await link(deps, account, rest.join(''))))
  if (word.toLowerCase() === 'help') return ack(onlyYou(help(deps)))
  const subject = await deps.identity.bySlack(account.team_id, account.user_id)
  if (subject === null) return ack(onlyYou(linkFirst(deps.origin)))
  const askable = await askableBy(deps, subject)
  if (typeof askable === 'string') return ack(onlyYou(notice(askable)))
  const wanted = askable.filter(({ resource }) => resource.includes(word))
  if (wanted.length === 0) {
    const why =
      word === ''
        ? 'There is nothing you may ask for.'
        : `There is no resource with “${word}” in its name that you may ask for.`
    return ack(onlyYou(notice(why)))
  }
  await ack()
  await client.views.open({ trigger_id: command.trigger_id, view: askModal(wanted) })
}

/** The code was shown on the signed-in web page: whoever types it here proves to be the same person. */
async function link(deps: SlackDeps, account: Account, code: string): Promise<Message> {
  if (code === '') return linkFirst(deps.origin)
  const bound = await deps.identity.bindSlack({ ...account, code })
  if (!bound.ok) return notice(`Nothing was linked: ${bound.message}. Get a new code at ${deps.origin}/link`)
  return notice(
    `This Slack account now acts as ${bound.subject.name} (${bound.subject.id}). If that is not you, unlink it at once at ${deps.origin}/link, and tell your security team.`,
  )
}

function help({ origin }: SlackDeps): Message {
  return notice(
    `/access – ask for access\n/access NAME – with the resources that have NAME in their name\n/access link CODE – link this Slack account; the code is at ${origin}/link`,
  )
}

function onlyYou(message: Message): RespondArguments {
  return { response_type: 'ephemeral', ...message }
}
