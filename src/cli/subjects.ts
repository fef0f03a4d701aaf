import { SallyportError } from '../errors.ts'
import type { Client } from './client.ts'
import { instant, say, table } from './output.ts'

interface SubjectAnswer {
  readonly id: string
  readonly kind: string
  readonly name: string
  readonly email: string | null
  readonly groups: readonly string[]
  readonly disabled_at_ms: number | null
  readonly left_at_ms: number | null
}

/** People and machines; all pages of them. */
export async function listSubjects(client: Client, name?: string): Promise<void> {
  const rows = await found(client, name)
  table(
    ['subject', 'kind', 'name', 'e-mail', 'groups', 'state'],
    rows.map(s => [s.id, s.kind, s.name, s.email ?? '', s.groups.join(' '), stateOf(s)]),
  )
}

/** @param name an id, a name or an e-mail address that means exactly one subject */
export async function findSubject(client: Client, name: string): Promise<SubjectAnswer> {
  const [one, ...others] = await found(client, name)
  if (one === undefined)
    throw new SallyportError('not_found', `nobody here is called ${name}`, { remedy: 'look at `sallyport subjects`' })
  if (others.length > 0) {
    const ids = [one, ...others].map(s => `${s.id} (${s.kind}, ${s.email ?? 'no e-mail address'})`).join(', ')
    throw new SallyportError('conflict', `${name} is the name of several: ${ids}`, {
      remedy: 'name the one you mean by its id',
    })
  }
  return one
}

export async function setDisabled(
  client: Client,
  name: string,
  what: 'disable' | 'enable',
  reason: string,
): Promise<void> {
  const one = await findSubject(client, name)
  await client.post(`/api/subjects/${encodeURIComponent(one.id)}/${what}`, { reason })
  say(
    what === 'disable'
      ? `${one.name} is disabled: what lives of theirs ends within a second, their tokens and tickets no longer work.`
      : `${one.name} may act again.${one.kind === 'person' ? ' They sign in anew.' : ' Tokens that were not revoked work again.'}`,
  )
}

async function found(client: Client, name: string | undefined): Promise<SubjectAnswer[]> {
  const all: SubjectAnswer[] = []
  const about = name === undefined ? '' : `&name=${encodeURIComponent(name)}`
  for (let cursor = ''; ; ) {
    const page = await client.get<{ items: SubjectAnswer[]; next: string | null }>(
      `/api/subjects?limit=200${about}${cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`}`,
    )
    all.push(...page.items)
    if (page.next === null) return all
    cursor = page.next
  }
}

function stateOf(s: SubjectAnswer): string {
  if (s.disabled_at_ms !== null) return `disabled ${instant(s.disabled_at_ms)}`
  return s.left_at_ms === null ? '' : `signed out ${instant(s.left_at_ms)}`
}
