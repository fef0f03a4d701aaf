import type { Block } from './workspace.ts'

/** The limits of Block Kit that Slack enforces: https://docs.slack.dev/reference/block-kit/blocks. Answers what is wrong, or null. */
export function messageProblem(text: unknown, blocks: unknown): string | null {
  if (blocks === undefined) return typeof text === 'string' && text !== '' ? null : 'no_text'
  if (typeof text === 'string' && text.length > 40_000) return 'msg_too_long'
  return listProblem(blocks, 50)
}

export function viewProblem(view: unknown): string | null {
  const modal = view as Record<string, unknown> | null
  if (modal?.['type'] !== 'modal') return 'view: must be a modal'
  const blocks = modal['blocks']
  const texts = [
    textProblem(modal['title'], 24, 'title'),
    modal['submit'] && textProblem(modal['submit'], 24, 'submit'),
  ]
  const found = texts.find(Boolean) ?? listProblem(blocks, 100)
  if (found) return String(found)
  const asks = (blocks as Block[]).some(block => block['type'] === 'input')
  return asks && !modal['submit'] ? 'view: a modal with inputs must have a submit button' : null
}

function listProblem(blocks: unknown, max: number): string | null {
  if (!Array.isArray(blocks)) return 'blocks: must be a list'
  if (blocks.length === 0 || blocks.length > max) return `blocks: between 1 and ${max} blocks`
  const ids = blocks.map(block => (block as Block)['block_id']).filter(Boolean)
  if (new Set(ids).size !== ids.length) return 'blocks: block_id is not unique'
  for (const [i, block] of blocks.entries()) {
    const problem = blockProblem(block as Record<string, unknown>)
    if (problem) return `/blocks/${i}: ${problem}`
  }
  return null
}

function blockProblem(block: Record<string, unknown>): string | null {
  switch (block['type']) {
    case 'header':
      return textProblem(block['text'], 150, 'text', ['plain_text'])
    case 'section':
      if (!block['text'] && !block['fields']) return 'a section has text or fields'
      return (
        (block['text'] ? textProblem(block['text'], 3000, 'text', ['plain_text', 'mrkdwn']) : null) ??
        each(block['fields'], 10, f => textProblem(f, 2000, 'field', ['plain_text', 'mrkdwn']))
      )
    case 'context':
      return each(block['elements'], 10, e => textProblem(e, 2000, 'element', ['plain_text', 'mrkdwn']))
    case 'actions':
      return each(block['elements'], 25, e => elementProblem(e as Record<string, unknown>))
    case 'input':
      return textProblem(block['label'], 2000, 'label') ?? elementProblem(block['element'] as Record<string, unknown>)
    case 'rich_text':
      return each(block['elements'], 100, () => null)
    case 'divider':
      return null
    default:
      return `unsupported type: ${String(block['type'])}`
  }
}

function elementProblem(element: Record<string, unknown> | undefined): string | null {
  if (!element) return 'an element is missing'
  const action = element['action_id']
  if (typeof action !== 'string' || action.length > 255) return 'action_id is missing or too long'
  switch (element['type']) {
    case 'button': {
      const value = element['value']
      if (value !== undefined && (typeof value !== 'string' || value.length > 2000)) return 'value is longer than 2000'
      return textProblem(element['text'], 75, 'button text')
    }
    case 'static_select': {
      const problem = each(element['options'], 100, optionProblem)
      if (problem) return problem
      const initial = element['initial_option'] as { value?: string } | undefined
      const values = (element['options'] as { value: string }[]).map(option => option.value)
      return initial && !values.includes(initial.value ?? '') ? 'initial_option is not one of the options' : null
    }
    case 'plain_text_input': {
      const max = element['max_length']
      return max === undefined || (Number.isInteger(max) && Number(max) >= 1 && Number(max) <= 3000)
        ? null
        : 'max_length is out of range'
    }
    default:
      return `unsupported element: ${String(element['type'])}`
  }
}

function optionProblem(option: unknown): string | null {
  const { text, value } = option as { text?: unknown; value?: unknown }
  if (typeof value !== 'string' || value.length > 150) return 'an option’s value is missing or longer than 150'
  return textProblem(text, 75, 'option text')
}

function textProblem(
  text: unknown,
  max: number,
  what: string,
  types: readonly string[] = ['plain_text'],
): string | null {
  const object = text as { type?: unknown; text?: unknown } | null | undefined
  if (typeof object?.text !== 'string' || !types.includes(String(object.type)))
    return `${what} is no ${types.join(' or ')} object`
  if (object.text.length < 1) return `${what} is empty`
  return object.text.length > max ? `${what} is longer than ${max} characters` : null
}

function each(list: unknown, max: number, problem: (item: unknown) => string | null): string | null {
  if (list === undefined) return null
  if (!Array.isArray(list) || list.length < 1 || list.length > max) return `between 1 and ${max} elements`
  for (const item of list) {
    const found = problem(item)
    if (found) return found
  }
  return null
}
