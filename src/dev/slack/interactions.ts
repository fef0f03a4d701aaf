import { createHmac } from 'node:crypto'
import type { Secret } from '../../secret.ts'
import { type Block, id, type OpenView, type StoredMessage, type Workspace } from './workspace.ts'

const timeout_ms = 3000

export interface Sent {
  readonly status: number
  readonly body: string
}

/** What people do in Slack, sent to the application as Slack sends it: forms and JSON, signed, with three seconds to answer. */
export class Interactions {
  readonly #workspace: Workspace
  readonly #secret: Secret
  readonly #target: string
  readonly #base: () => string
  readonly #responses = new Map<
    string,
    { channel: string; user: string; message: StoredMessage | null; left: number; until: number }
  >()

  constructor(options: { workspace: Workspace; signingSecret: Secret; target: string; base: () => string }) {
    this.#workspace = options.workspace
    this.#secret = options.signingSecret
    this.#target = options.target
    this.#base = options.base
  }

  /** Signs these bytes as Slack does and sends them. Tests change the headers to see them refused. */
  async send(
    body: string,
    change: { timestamp?: string; signature?: string; contentType?: string } = {},
  ): Promise<Sent> {
    const timestamp = change.timestamp ?? String(Math.floor(Date.now() / 1000))
    const signature = change.signature ?? this.sign(timestamp, body)
    try {
      const response = await fetch(this.#target, {
        method: 'POST',
        headers: {
          'content-type': change.contentType ?? 'application/x-www-form-urlencoded',
          'x-slack-request-timestamp': timestamp,
          'x-slack-signature': signature,
        },
        body,
        signal: AbortSignal.timeout(timeout_ms),
      })
      return { status: response.status, body: await response.text() }
    } catch (error) {
      return { status: 0, body: (error as Error).message }
    }
  }

  sign(timestamp: string, body: string): string {
    return `v0=${createHmac('sha256', this.#secret.reveal()).update(`v0:${timestamp}:${body}`).digest('hex')}`
  }

  /** Somebody types a slash command. The answer is a message that only they see. */
  async command(user: string, channel: string, line: string): Promise<Sent> {
    const w = this.#workspace
    const [command = '', ...rest] = line.trim().split(' ')
    const form = {
      team_id: w.teamId,
      team_domain: 'development',
      channel_id: channel,
      channel_name: w.channels.get(channel)?.name ?? '',
      user_id: user,
      user_name: w.user(user)?.name ?? '',
      command,
      text: rest.join(' '),
      api_app_id: 'A0DEV',
      is_enterprise_install: 'false',
      response_url: this.#responseUrl(channel, user, null),
      trigger_id: w.trigger(user),
    }
    const sent = await this.send(new URLSearchParams(form).toString())
    if (sent.status !== 200)
      w.post(
        channel,
        `${command} failed: the app did not answer as Slack expects (${sent.status || sent.body}).`,
        [],
        user,
      )
    else this.#say(channel, user, sent.body)
    return sent
  }

  /** Somebody presses a button of a message. `change` is what a test sends instead of the truth. */
  async click(
    user: string,
    message: StoredMessage,
    action_id: string,
    change: Record<string, unknown> = {},
  ): Promise<Sent> {
    const w = this.#workspace
    const element = buttonsOf(message).find(button => button['action_id'] === action_id)
    if (!element) throw new Error(`the message ${message.ts} has no button ${action_id}`)
    const payload = {
      type: 'block_actions',
      ...this.#who(user),
      trigger_id: w.trigger(user),
      container: {
        type: 'message',
        message_ts: message.ts,
        channel_id: message.channel,
        is_ephemeral: message.ephemeral !== null,
      },
      channel: { id: message.channel, name: w.channels.get(message.channel)?.name ?? '' },
      message: { type: 'message', user: 'U0BOT', ts: message.ts, text: message.text, blocks: message.blocks },
      response_url: this.#responseUrl(message.channel, user, message),
      actions: [{ ...element, block_id: 'answer', action_ts: String(Date.now() / 1000) }],
      ...change,
    }
    const sent = await this.send(new URLSearchParams({ payload: JSON.stringify(payload) }).toString())
    if (sent.status !== 200)
      w.post(
        message.channel,
        `The app did not answer the click as Slack expects (${sent.status || sent.body}).`,
        [],
        user,
      )
    return sent
  }

  /** Somebody sends a form. `values` are texts, or values of options, by block. */
  async submit(
    open: OpenView,
    values: Readonly<Record<string, string>>,
    change: Record<string, unknown> = {},
  ): Promise<Sent> {
    const w = this.#workspace
    const missing = inputsOf(open.view).filter(({ block_id, optional }) => !optional && !values[block_id])
    if (missing.length > 0) {
      open.errors = Object.fromEntries(
        missing.map(({ block_id }) => [block_id, 'Please complete this required field.']),
      )
      return { status: 200, body: '' }
    }
    const payload = {
      type: 'view_submission',
      ...this.#who(open.user),
      trigger_id: w.trigger(open.user),
      view: { ...open.view, id: open.id, team_id: w.teamId, state: { values: stateOf(open.view, values) } },
      response_urls: [],
      ...change,
    }
    const sent = await this.send(new URLSearchParams({ payload: JSON.stringify(payload) }).toString())
    if (sent.status !== 200) {
      open.errors = { '': `We had some trouble connecting (${sent.status || sent.body}). Try again?` }
      return sent
    }
    const answer = (sent.body === '' ? {} : JSON.parse(sent.body)) as {
      response_action?: string
      errors?: Record<string, string>
      view?: Block
    }
    if (answer.response_action === 'errors') open.errors = answer.errors ?? {}
    else if (answer.response_action === 'update' && answer.view) Object.assign(open, { view: answer.view, errors: {} })
    else w.views.delete(open.id)
    return sent
  }

  /** A message to a `response_url`: five times within half an hour. */
  respond(key: string, body: string): Record<string, unknown> {
    const found = this.#responses.get(key)
    if (!found || found.until < Date.now() || found.left <= 0) return { ok: false, error: 'used_url' }
    found.left--
    const {
      text = '',
      blocks = [],
      replace_original,
    } = JSON.parse(body) as { text?: string; blocks?: Block[]; replace_original?: boolean }
    if (replace_original && found.message) Object.assign(found.message, { text, blocks, edited: true })
    else this.#workspace.post(found.channel, text, blocks, found.user)
    return { ok: true }
  }

  #who(user: string) {
    const { teamId } = this.#workspace
    const team = { id: teamId, domain: 'development' }
    const name = this.#workspace.user(user)?.name ?? ''
    return { team, user: { id: user, username: name, name, team_id: teamId }, api_app_id: 'A0DEV', token: 'unused' }
  }

  #say(channel: string, user: string, body: string): void {
    if (body === '') return
    let said: { text?: string; blocks?: Block[]; response_type?: string }
    try {
      said = JSON.parse(body) as typeof said
    } catch {
      said = { text: body }
    }
    this.#workspace.post(channel, said.text ?? '', said.blocks ?? [], said.response_type === 'in_channel' ? null : user)
  }

  #responseUrl(channel: string, user: string, message: StoredMessage | null): string {
    const key = id()
    this.#responses.set(key, { channel, user, message, left: 5, until: Date.now() + 1_800_000 })
    if (this.#responses.size > 500) this.#responses.delete(this.#responses.keys().next().value!)
    return `${this.#base()}/response/${key}`
  }
}

export function buttonsOf(message: Pick<StoredMessage, 'blocks'>): Block[] {
  return message.blocks.flatMap(block => (block['type'] === 'actions' ? (block['elements'] as Block[]) : []))
}

export interface Input {
  readonly block_id: string
  readonly optional: boolean
  readonly element: Block
}

export function inputsOf(view: Block): Input[] {
  return (view['blocks'] as Block[])
    .filter(block => block['type'] === 'input')
    .map(block => ({
      block_id: String(block['block_id']),
      optional: block['optional'] === true,
      element: block['element'] as Block,
    }))
}

function stateOf(view: Block, values: Readonly<Record<string, string>>): Record<string, Record<string, unknown>> {
  return Object.fromEntries(
    inputsOf(view).map(({ block_id, element }) => {
      const value = values[block_id] ?? ''
      const options = (element['options'] ?? []) as { value: string }[]
      const state =
        element['type'] === 'static_select'
          ? { type: 'static_select', selected_option: options.find(option => option.value === value) ?? null }
          : { type: 'plain_text_input', value: value === '' ? null : value }
      return [block_id, { [String(element['action_id'])]: state }]
    }),
  )
}
