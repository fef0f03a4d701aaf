import type { Secret } from '../../secret.ts'
import { messageProblem, viewProblem } from './checks.ts'
import type { Block, Workspace } from './workspace.ts'

type Args = Readonly<Record<string, unknown>>
type Reply = Readonly<Record<string, unknown>>

const no = (error: string, detail?: string): Reply => ({
  ok: false,
  error,
  ...(detail === undefined ? {} : { response_metadata: { messages: [`[ERROR] ${detail}`] } }),
})

/** One call of Slack's Web API, in its wire format: https://docs.slack.dev/reference/methods */
export function callWebApi(
  workspace: Workspace,
  botToken: Secret,
  method: string,
  bearer: string | undefined,
  args: Args,
): Reply {
  if (bearer === undefined || bearer === '') return no('not_authed')
  if (!botToken.equals(bearer)) return no('invalid_auth')
  const run = methods[method]
  return run === undefined ? no('unknown_method') : run(workspace, args)
}

const text = (args: Args, name: string): string => (typeof args[name] === 'string' ? args[name] : '')

function blocksOf(args: Args): readonly Block[] | undefined | null {
  const { blocks } = args
  if (blocks === undefined) return undefined
  if (typeof blocks !== 'string') return Array.isArray(blocks) ? (blocks as Block[]) : null
  try {
    const parsed = JSON.parse(blocks) as unknown
    return Array.isArray(parsed) ? (parsed as Block[]) : null
  } catch {
    return null
  }
}

/** What a message says, checked; or the refusal. */
type Content =
  | { readonly refusal: Reply }
  | { readonly refusal: null; readonly said: { text: string; blocks: readonly Block[] } }

function content(args: Args): Content {
  const blocks = blocksOf(args)
  if (blocks === null) return { refusal: no('invalid_blocks_format') }
  const problem = messageProblem(args['text'], blocks)
  if (problem === 'no_text' || problem === 'msg_too_long') return { refusal: no(problem) }
  if (problem !== null) return { refusal: no('invalid_blocks', problem) }
  return { refusal: null, said: { text: text(args, 'text'), blocks: blocks ?? [] } }
}

const methods: Readonly<Record<string, (workspace: Workspace, args: Args) => Reply>> = {
  'auth.test': w => ({
    ok: true,
    url: 'https://sallyport.invalid/',
    team: 'Development',
    team_id: w.teamId,
    user: 'sallyport',
    user_id: 'U0BOT',
    bot_id: 'B0BOT',
  }),

  'chat.postMessage': (w, args) => {
    const name = text(args, 'channel')
    const channel = w.user(name) ? w.directWith(name) : w.channelNamed(name)
    if (!channel) return no('channel_not_found')
    const checked = content(args)
    if (checked.refusal) return checked.refusal
    const { said } = checked
    const message = w.post(channel.id, said.text, said.blocks)
    return {
      ok: true,
      channel: channel.id,
      ts: message.ts,
      message: { type: 'message', user: 'U0BOT', ...said, ts: message.ts },
    }
  },

  'chat.update': (w, args) => {
    if (!w.channels.has(text(args, 'channel'))) return no('channel_not_found')
    const message = w.message(text(args, 'channel'), text(args, 'ts'))
    if (!message || message.ephemeral !== null) return no('message_not_found')
    const checked = content(args)
    if (checked.refusal) return checked.refusal
    const { said } = checked
    Object.assign(message, said, { edited: true })
    w.save()
    return { ok: true, channel: message.channel, ts: message.ts, text: said.text }
  },

  'chat.postEphemeral': (w, args) => {
    const channel = w.channels.get(text(args, 'channel'))
    if (!channel) return no('channel_not_found')
    if (!w.user(text(args, 'user'))) return no('user_not_in_channel')
    const checked = content(args)
    if (checked.refusal) return checked.refusal
    const { said } = checked
    return { ok: true, message_ts: w.post(channel.id, said.text, said.blocks, text(args, 'user')).ts }
  },

  'conversations.open': (w, args) => {
    const user = w.user(text(args, 'users'))
    return user ? { ok: true, channel: { id: w.directWith(user.id).id } } : no('user_not_found')
  },

  'views.open': (w, args) => {
    const taken = w.takeTrigger(text(args, 'trigger_id'))
    if ('error' in taken) return no(taken.error)
    let view: unknown = args['view']
    try {
      if (typeof view === 'string') view = JSON.parse(view)
    } catch {
      return no('invalid_arguments', 'view is no JSON')
    }
    const problem = viewProblem(view)
    if (problem) return no('invalid_arguments', problem)
    const open = w.openView(taken.user, view as Block)
    return { ok: true, view: { ...open.view, id: open.id, team_id: w.teamId, state: { values: {} } } }
  },

  'users.info': (w, args) => {
    const user = w.user(text(args, 'user'))
    if (!user) return no('user_not_found')
    return {
      ok: true,
      user: {
        id: user.id,
        team_id: w.teamId,
        name: user.name,
        real_name: user.real_name,
        deleted: false,
        is_bot: false,
      },
    }
  },
}
