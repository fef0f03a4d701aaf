import type { Client } from './client.ts'
import { instantOf } from './decisions.ts'
import { instant, jsonText, plain, say } from './output.ts'

export interface SearchOptions {
  readonly subject?: string
  readonly resource?: string
  readonly session?: string
  readonly from?: string
  readonly to?: string
  readonly before?: string
  readonly limit?: string
  readonly json?: boolean
}

interface Hit {
  readonly session_id: string
  readonly subject: { readonly name: string }
  readonly resource: string
  readonly role: string
  readonly at_ms: number
  readonly kind: string
  readonly excerpt: string
}

/** What sessions said, as far as the caller may open them. */
export async function searchSessions(client: Client, text: string, options: SearchOptions): Promise<void> {
  const query = new URLSearchParams({ text })
  for (const name of ['subject', 'resource', 'session', 'before', 'limit'] as const) {
    const value = options[name]
    if (value !== undefined) query.set(name, value)
  }
  if (options.from !== undefined) query.set('from_ms', String(instantOf('--from', options.from)))
  if (options.to !== undefined) query.set('to_ms', String(instantOf('--to', options.to)))
  const { items, next } = await client.get<{ items: Hit[]; next: number | null }>(`/api/search?${query}`)
  if (options.json === true) {
    for (const item of items) say(jsonText(item))
  } else {
    if (items.length === 0) say('Nothing that you may open holds these words.')
    for (const { session_id, subject, role, resource, at_ms, kind, excerpt } of items) {
      say(`${instant(at_ms)}  ${plain(subject.name)} as ${plain(role)} on ${plain(resource)}: ${plain(kind)}`)
      for (const line of excerpt.split('\n').slice(0, 6)) say(`    ${plain(line)}`)
      say(`    ${client.origin}/sessions/${session_id}?at=${at_ms}`)
    }
  }
  if (next !== null) say(options.json === true ? jsonText({ next }) : `… there are more: --before ${next}`)
}
