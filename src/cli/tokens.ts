import { SallyportError } from '../errors.ts'
import type { Client } from './client.ts'
import { instant, say, seconds, table } from './output.ts'

interface TokenAnswer {
  readonly id: string
  readonly subject_name: string
  readonly name: string
  readonly scopes: readonly string[]
  readonly expires_at_ms: number
  readonly revoked_at_ms: number | null
}

/** Issues an API token; its text is shown once and kept nowhere. */
export async function issueToken(
  client: Client,
  name: string,
  options: { scope: readonly string[]; for: string; machine?: string; group: readonly string[] },
): Promise<void> {
  if (options.scope.length === 0) {
    throw new SallyportError('bad_request', 'a token needs at least one scope', {
      remedy:
        "say what it may be used for: --scope access:request, --scope admin:sessions.*, or --scope '*' for everything you may do",
    })
  }
  const issued = await client.post<{ id: string; token: string; expires_at_ms: number }>('/api/tokens', {
    name,
    scopes: options.scope,
    expires_s: seconds(options.for),
    ...(options.machine === undefined ? {} : { machine: { name: options.machine, groups: options.group } }),
  })
  say(`Token ${issued.id}, good until ${instant(issued.expires_at_ms)}. It is shown only now:\n\n  ${issued.token}\n`)
  say('Use it as SALLYPORT_TOKEN together with SALLYPORT_ORIGIN.')
}

export async function listTokens(client: Client, options: { all?: boolean }): Promise<void> {
  const { items } = await client.get<{ items: TokenAnswer[] }>(`/api/tokens${options.all ? '?all=true' : ''}`)
  table(
    ['token', 'acts as', 'name', 'scopes', 'until', 'revoked'],
    items.map(t => [
      t.id,
      t.subject_name,
      t.name,
      t.scopes.join(' '),
      instant(t.expires_at_ms),
      t.revoked_at_ms === null ? '' : instant(t.revoked_at_ms),
    ]),
    'No tokens.',
  )
}

export async function revokeToken(client: Client, id: string): Promise<void> {
  await client.delete(`/api/tokens/${encodeURIComponent(id)}`)
  say('Revoked.')
}
