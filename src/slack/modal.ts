import { createHash } from 'node:crypto'
import type { PlainTextOption, View } from '@slack/web-api'
import { bounds } from '../approvals/bounds.ts'
import { duration, plain, section } from './blocks.ts'

export interface Askable {
  readonly resource: string
  readonly roles: readonly string[]
}

export const askView = 'ask'
const maxOptions = 100 // Slack's limit for a select
const durations_s = [900, 1800, 3600, 7200, 14_400, 28_800]

/** Names may be longer than what an option can carry, so an option carries a digest, looked up again at the submission. */
export const optionOf = (name: string): string => createHash('sha256').update(name).digest('base64url').slice(0, 22)

/** The form of `/access`. @param hidden how many resources did not fit. */
export function askModal(askable: readonly Askable[]): View {
  const shown = askable.slice(0, maxOptions)
  const roles = [...new Set(shown.flatMap(a => a.roles))].sort().slice(0, maxOptions)
  const option = (name: string): PlainTextOption => ({ text: plain(name, 75), value: optionOf(name) })
  const only = <T>(list: readonly T[]) => (list.length === 1 ? { initial_option: list[0]! } : {})
  const resourceOptions = shown.map(a => option(a.resource))
  const roleOptions = roles.map(option)
  const times = durations_s.map(s => ({ text: plain(duration(s), 75), value: String(s) }))
  return {
    type: 'modal',
    callback_id: askView,
    title: plain('Ask for access', 24),
    submit: plain('Ask', 24),
    close: plain('Cancel', 24),
    blocks: [
      ...(askable.length > shown.length
        ? [
            section(
              `${askable.length} resources; the first ${shown.length} are listed. Type /access NAME to narrow them down.`,
            ),
          ]
        : []),
      {
        type: 'input',
        block_id: 'resource',
        label: plain('Resource', 2000),
        element: { type: 'static_select', action_id: 'value', options: resourceOptions, ...only(resourceOptions) },
      },
      {
        type: 'input',
        block_id: 'role',
        label: plain('Role', 2000),
        element: { type: 'static_select', action_id: 'value', options: roleOptions, ...only(roleOptions) },
      },
      {
        type: 'input',
        block_id: 'duration',
        label: plain('For how long', 2000),
        element: { type: 'static_select', action_id: 'value', options: times, initial_option: times[2]! },
      },
      {
        type: 'input',
        block_id: 'reason',
        label: plain('Reason', 2000),
        hint: plain('The people who decide read this.', 2000),
        element: { type: 'plain_text_input', action_id: 'value', multiline: true, max_length: bounds.reason },
      },
      {
        type: 'input',
        block_id: 'ticket',
        optional: true,
        label: plain('Ticket number', 2000),
        element: { type: 'plain_text_input', action_id: 'value', max_length: bounds.ticket_ref },
      },
    ],
  }
}

/** A modal that only says something. */
export function saidModal(title: string, lines: readonly string[]): View {
  return { type: 'modal', title: plain(title, 24), close: plain('Close', 24), blocks: lines.map(section) }
}

export interface Submitted {
  readonly resource: string
  readonly role: string
  readonly duration_s: number
  readonly reason: string
  readonly ticket_ref: string | null
}

type Values = Readonly<
  Record<string, Readonly<Record<string, { value?: string | null; selected_option?: { value: string } | null }>>>
>

/** What was filled in, against what this person may ask for now; or what is wrong, by block. */
export function readSubmission(
  values: Values,
  askable: readonly Askable[],
): { ok: true; asked: Submitted } | { ok: false; errors: Record<string, string> } {
  const picked = (block: string) => values[block]?.['value']?.selected_option?.value ?? ''
  const typed = (block: string) => (values[block]?.['value']?.value ?? '').trim()
  const found = askable.find(a => optionOf(a.resource) === picked('resource'))
  const errors: Record<string, string> = {}
  if (!found) errors['resource'] = 'You may not ask for this resource any more: start again with /access.'
  const role = found?.roles.find(name => optionOf(name) === picked('role'))
  if (found && role === undefined) errors['role'] = `On ${found.resource} you may ask for: ${found.roles.join(', ')}.`
  const seconds = picked('duration')
  if (!/^\d{1,7}$/.test(seconds)) errors['duration'] = 'Choose for how long.'
  if (typed('reason') === '') errors['reason'] = 'Say why: the people who decide read this.'
  if (!found || role === undefined || Object.keys(errors).length > 0) return { ok: false, errors }
  const ticket = typed('ticket')
  return {
    ok: true,
    asked: {
      resource: found.resource,
      role,
      duration_s: Number(seconds),
      reason: typed('reason'),
      ticket_ref: ticket === '' ? null : ticket,
    },
  }
}
