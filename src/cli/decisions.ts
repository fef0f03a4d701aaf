import { open, rename, rm } from 'node:fs/promises'
import { SallyportError } from '../errors.ts'
import type { Client } from './client.ts'
import { instant, jsonText, say, table } from './output.ts'

/** What the command line reads of a decision; the API's own schema is the truth (GET /openapi.json). */
export interface DecisionAnswer {
  readonly id: string
  readonly at_ms: number
  readonly point: string
  readonly effect: string
  readonly code: string
  readonly generation: number | null
  readonly commit: string | null
  readonly reasons: readonly {
    readonly rule: string
    readonly message: string
    readonly remedy?: string
    readonly at?: string
  }[]
  readonly subject_id: string | null
  readonly resource: string | null
  readonly session_id: string | null
  readonly request_id: string | null
  readonly count: number
}

export interface DecisionFilters {
  readonly subject?: string
  readonly resource?: string
  readonly session?: string
  readonly request?: string
  readonly point?: string
  readonly effect?: string
  readonly rule?: string
  readonly revision?: string
  readonly text?: string
  readonly from?: string
  readonly to?: string
}

/** Lists decisions, newest first, as far as policy lets the caller see them. */
export async function listDecisions(
  client: Client,
  { limit, json, ...filters }: DecisionFilters & { readonly limit: string; readonly json?: boolean },
): Promise<void> {
  const wanted = Number(limit)
  if (!Number.isSafeInteger(wanted) || wanted < 1)
    throw new SallyportError('bad_request', `'${limit}' is no number of decisions`, {
      remedy: 'write it as --limit 50',
    })
  const query = queryOf(filters)
  const found: DecisionAnswer[] = []
  let more = false
  for (let cursor: string | null = ''; cursor !== null && !more; ) {
    query.set('limit', String(Math.min(1000, wanted - found.length)))
    if (cursor !== '') query.set('cursor', cursor)
    const page: { items: DecisionAnswer[]; next: string | null } = await client.get(`/api/decisions?${query}`)
    if (json) for (const item of page.items) say(jsonText(item))
    found.push(...page.items)
    cursor = page.next
    more = cursor !== null && found.length >= wanted
  }
  if (json) return
  table(
    ['decision', 'when', 'point', 'effect', 'times', 'who', 'resource', 'why'],
    found.map(d => [
      d.id,
      instant(d.at_ms),
      d.point,
      d.effect,
      String(d.count),
      d.subject_id ?? '',
      d.resource ?? '',
      d.reasons[0] === undefined ? '' : `${d.reasons[0].message} (${d.reasons[0].rule})`,
    ]),
    'No decisions.',
  )
  if (more) say('… there are more: narrow it down, or raise --limit')
}

/**
 * Writes decisions to a file, oldest first, each a line as OPA's decision logs have them. The file appears when all of it
 * is on the disk.
 */
export async function exportDecisions(
  client: Client,
  { out, ...filters }: DecisionFilters & { readonly out: string },
): Promise<void> {
  const draft = `${out}.part`
  const file = await open(draft, 'w', 0o600)
  let lines = 0
  try {
    try {
      let waiting: string[] = []
      const write = async () => {
        if (waiting.length > 0) await file.write(`${waiting.join('\n')}\n`)
        waiting = []
      }
      for await (const line of client.lines(`/api/decisions/export?${queryOf(filters)}`)) {
        lines++
        if (waiting.push(line) === 1000) await write()
      }
      await write()
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(draft, out)
  } catch (error) {
    await rm(draft, { force: true })
    if (error instanceof SallyportError) throw error
    throw new SallyportError('internal', `the export did not end well, and ${out} was not written`, { cause: error })
  }
  say(`${lines} decision${lines === 1 ? '' : 's'} written to ${out}.`)
}

const names = {
  subject: 'subject',
  resource: 'resource',
  session: 'session_id',
  request: 'request_id',
  point: 'point',
  effect: 'effect',
  rule: 'rule',
  revision: 'revision',
  text: 'text',
} as const

function queryOf(filters: DecisionFilters): URLSearchParams {
  const query = new URLSearchParams()
  for (const [option, name] of Object.entries(names) as [keyof typeof names, string][]) {
    const value = filters[option]
    if (value !== undefined) query.set(name, value)
  }
  if (filters.from !== undefined) query.set('from_ms', String(instantOf('--from', filters.from)))
  if (filters.to !== undefined) query.set('to_ms', String(instantOf('--to', filters.to)))
  return query
}

/** ISO 8601, or so long ago: `2026-11-01`, `2026-11-01T12:00:00Z`, `7d`. */
export function instantOf(option: string, text: string): number {
  const ago = /^(\d{1,6})(m|h|d)$/.exec(text)
  if (ago !== null) return Date.now() - Number(ago[1]) * { m: 60_000, h: 3_600_000, d: 86_400_000 }[ago[2]!]!
  const ms = Date.parse(text)
  if (ms >= 0) return ms
  throw new SallyportError('bad_request', `${option} ${text} is no instant`, {
    remedy: 'write it as 2026-01-31, 2026-01-31T12:00:00Z or 7d (so long ago)',
  })
}
