import { existsSync } from 'node:fs'
import { SallyportError } from '../errors.ts'
import type { Client } from './client.ts'
import { instant, plain, say, table } from './output.ts'

interface InForce {
  readonly generation: number
  readonly commit: string
}

interface RevisionAnswer extends InForce {
  readonly kind: string
  readonly author: string
  readonly signer: string | null
  readonly subject_line: string
  readonly reused: number | null
  readonly activated_at_ms: number
}

/** Prints what was in force, newest first. */
export async function history(client: Client, options: { limit: string; before?: string }): Promise<void> {
  const query = new URLSearchParams({ limit: String(whole(options.limit, 'limit')) })
  if (options.before !== undefined) query.set('before', String(whole(options.before, 'generation')))
  const { revisions } = await client.get<{ revisions: readonly RevisionAnswer[] }>(`/api/policy/revisions?${query}`)
  table(
    ['generation', 'since', 'commit', 'how', 'author', 'signer', 'subject'],
    revisions.map(r => [
      String(r.generation),
      instant(r.activated_at_ms),
      r.commit.slice(0, 12),
      r.reused === null ? r.kind : `${r.kind} from ${r.reused}`,
      r.author,
      r.signer ?? 'not verified',
      r.subject_line,
    ]),
    'Nothing was in force yet.',
  )
}

export async function pin(client: Client, commit: string, reason: string): Promise<void> {
  if (!/^[0-9a-f]{7,64}$/.test(commit))
    throw new SallyportError('bad_request', `'${plain(commit)}' is no commit`, {
      remedy: 'give its id, or at least the first seven characters of it',
    })
  held(await client.post<InForce>('/api/policy/pin', { commit, reason }))
}

export async function rollback(client: Client, generation: string | undefined, reason: string): Promise<void> {
  const body = generation === undefined ? { reason } : { generation: whole(generation, 'generation'), reason }
  held(await client.post<InForce>('/api/policy/rollback', body))
}

export async function unpin(client: Client, reason: string): Promise<void> {
  const { ended } = await client.post<{ ended: string }>('/api/policy/unpin', { reason })
  say(
    ended === 'recovery'
      ? 'The recovery is over; what was in force before is back.'
      : 'Nothing is pinned any more; the tracked ref is followed again.',
  )
}

/** Writes the sources of a revision into a new folder: to look at, to compare, to compute decisions again. */
export async function show(client: Client, generation: string, options: { output?: string }): Promise<void> {
  const number = whole(generation, 'generation')
  const folder = options.output ?? `policy-${number}`
  if (existsSync(folder))
    throw new SallyportError('conflict', `${folder} exists already`, { remedy: 'name another folder with --output' })
  const archive = await client.bytes(`/api/policy/revisions/${number}/sources`)
  const { unpackSources } = await import('../policy/revision-sources.ts')
  const { writeSources } = await import('../policy/repository/sources.ts')
  const sources = unpackSources(archive)
  writeSources(sources, folder)
  say(`${sources.size} files of generation ${number} are in ${plain(folder)}`)
}

function held({ generation, commit }: InForce): void {
  say(`generation ${generation}, commit ${commit}, is in force and held`)
  say('Nothing newer is followed until `sallyport policy unpin`.')
}

function whole(text: string, what: string): number {
  if (/^[1-9][0-9]{0,14}$/.test(text)) return Number(text)
  throw new SallyportError('bad_request', `'${plain(text)}' is no ${what}`)
}
