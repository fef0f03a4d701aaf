import type { KnownBlock, PlainTextElement } from '@slack/web-api'

/**
 * Text in Slack. INVARIANT: whatever a person wrote stands in a `plain_text` object or a rich text element, where Slack
 * reads neither mentions, links nor formatting; only words of ours stand in markup.
 */
export interface Message {
  /** For notifications; escaped. */
  readonly text: string
  readonly blocks: KnownBlock[]
}

export function plain(text: string, limit: number): PlainTextElement {
  return { type: 'plain_text', text: cut(text, limit), emoji: false }
}

/** Slack refuses an empty text and one that is too long. */
export function cut(text: string, limit: number): string {
  const whole = text.trim() === '' ? '–' : text
  return whole.length <= limit ? whole : `${whole.slice(0, limit - 1).toWellFormed()}…`
}

/** For the one field that has no plain form: the text of a notification. */
export function escaped(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;')
}

export function section(text: string): KnownBlock {
  return { type: 'section', text: plain(text, 3000) }
}

export function context(text: string): KnownBlock {
  return { type: 'context', elements: [plain(text, 2000)] }
}

export function fields(pairs: readonly (readonly [string, string])[]): KnownBlock {
  return { type: 'section', fields: pairs.map(([name, value]) => plain(`${name}\n${value}`, 2000)) }
}

/** Something to copy, in a box of its own. */
export function code(text: string): KnownBlock {
  return {
    type: 'rich_text',
    elements: [{ type: 'rich_text_preformatted', elements: [{ type: 'text', text: cut(text, 2000) }] }],
  }
}

/** What a person wrote, set apart from what we say, so that a line in it cannot pass for one of ours. */
export function quote(text: string): KnownBlock {
  return {
    type: 'rich_text',
    elements: [{ type: 'rich_text_quote', elements: [{ type: 'text', text: cut(text, 3000) }] }],
  }
}

export function notice(text: string): Message {
  return { text: escaped(cut(text, 300)), blocks: [section(text)] }
}

export function duration(seconds: number): string {
  const parts = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor((seconds % 86_400) / 3600), 'h'],
    [Math.floor((seconds % 3600) / 60), 'min'],
    [seconds % 60, 's'],
  ] as const
  return (
    parts
      .filter(([n]) => n > 0)
      .map(([n, unit]) => `${n} ${unit}`)
      .join(' ') || '0 s'
  )
}

export function instant(ms: number, zone: string): string {
  return `${new Date(ms).toLocaleString('sv-SE', { timeZone: zone, dateStyle: 'short', timeStyle: 'short' })} ${zone}`
}
