import { sql } from 'drizzle-orm'
import type { Static } from 'typebox'
import type { Queryable } from '../db/database.ts'
import type { Input, RequestFacts, SubjectFacts, VoteFacts } from '../policy/points.ts'
import { type PolicyResource, resourceFacts } from '../policy/resources.ts'
import { timeFacts } from '../policy/time.ts'
import { requestHash, type WhatIsAsked } from './bounds.ts'
import type { Client, Ground } from './ports.ts'

export type Vote = Static<typeof VoteFacts>
export type Asked = Static<typeof RequestFacts>

/** A grant that covers this instant, with the request and the votes that it stands on. */
export interface Cover {
  readonly id: string
  readonly starts_at_ms: number
  readonly ends_at_ms: number
  readonly request: Asked
  readonly on_behalf_of: string | null
  readonly client: Client
  readonly votes: readonly Vote[]
}

export interface AccessKey {
  readonly subject_id: string
  /** A grant that a machine got on behalf of one person covers nothing that it does on behalf of another. */
  readonly on_behalf_of: string | null
  readonly resource: string
  readonly role: string
}

export const keyText = (key: AccessKey) => JSON.stringify([key.subject_id, key.on_behalf_of, key.resource, key.role])

/** At most this many overlapping grants of one key are looked at; the ones that end last. */
const maxCovers = 16

interface CoverRow extends Record<string, unknown> {
  id: string
  starts_at_ms: string
  ends_at_ms: string
  request_id: string
  subject_id: string
  on_behalf_of: string | null
  resource: string
  role: string
  duration_s: string
  reason: string
  ticket_ref: string | null
  hash: string
  created_at_ms: string
  client: Client
  votes: VoteRow[]
}

interface VoteRow {
  approver: string
  groups: string[]
  stage: number
  answer: string
  at_ms: number
  request_hash: string
}

const ms = (column: ReturnType<typeof sql>) => sql`(extract(epoch from ${column}) * 1000)::bigint`

/** The votes of the request `r`, oldest first, as one JSON value. */
const votesOfR = sql`coalesce((
  select jsonb_agg(jsonb_build_object('approver', v.approver_id, 'groups', v.groups, 'stage', v.stage, 'answer', v.answer,
    'at_ms', ${ms(sql`v.at`)}, 'request_hash', v.request_hash) order by v.at, v.id)
  from votes v where v.request_id = r.id), '[]'::jsonb)`

/** Of the grant `g` and its request `r`, as `coverOf` reads them. */
const coverColumns = sql`g.id, ${ms(sql`g.starts_at`)}::text as starts_at_ms, ${ms(sql`g.ends_at`)}::text as ends_at_ms,
  r.id as request_id, r.subject_id, r.on_behalf_of, r.resource, r.role, r.duration_s::text as duration_s, r.reason,
  r.ticket_ref, r.hash, ${ms(sql`r.created_at`)}::text as created_at_ms, r.client, ${votesOfR} as votes`
const covering = sql`g.ended_at is null and g.revoked_at is null and g.starts_at <= clock_timestamp() and g.ends_at > clock_timestamp()`

/**
 * For each key the grants that cover this instant, the one that ends last first. Overlapping grants are a union: all of
 * them hold now, so together they reach as far as the last of those that policy still allows.
 */
export async function loadCovers(q: Queryable, keys: readonly AccessKey[]): Promise<Map<string, Cover[]>> {
  const found = new Map<string, Cover[]>()
  if (keys.length === 0) return found
  const distinct = [...new Map(keys.map(key => [keyText(key), key])).values()]
  const column = (of: (key: AccessKey) => string | null) => sql`${sql.param(distinct.map(of))}::text[]`
  const rows = await q.execute<CoverRow>(sql`
    select ${coverColumns}
    from unnest(${column(k => k.subject_id)}, ${column(k => k.on_behalf_of)}, ${column(k => k.resource)}, ${column(k => k.role)})
      as k (subject_id, on_behalf_of, resource, role)
    cross join lateral (
      select g.* from grants g join requests asked on asked.id = g.request_id
      where g.subject_id = k.subject_id and g.resource = k.resource and g.role = k.role
        and asked.on_behalf_of is not distinct from k.on_behalf_of and ${covering}
      order by g.ends_at desc, g.id limit ${maxCovers}) g
    join requests r on r.id = g.request_id
    order by g.ends_at desc, g.id`)
  for (const row of rows) {
    const list = found.get(keyText(row)) ?? []
    list.push(coverOf(row))
    found.set(keyText(row), list)
  }
  return found
}

/** These grants, as far as they cover this instant, by their id. */
export async function loadCoversById(q: Queryable, grant_ids: readonly string[]): Promise<Map<string, Cover>> {
  if (grant_ids.length === 0) return new Map()
  const rows = await q.execute<CoverRow>(sql`
    select ${coverColumns} from grants g join requests r on r.id = g.request_id
    where g.id = any(${sql.param([...grant_ids])}::text[]) and ${covering}`)
  return new Map(rows.map(row => [row.id, coverOf(row)]))
}

function coverOf(row: CoverRow): Cover {
  return {
    id: row.id,
    starts_at_ms: Number(row.starts_at_ms),
    ends_at_ms: Number(row.ends_at_ms),
    request: askedOf({
      ...row,
      id: row.request_id,
      duration_s: Number(row.duration_s),
      created_at_ms: Number(row.created_at_ms),
    }),
    on_behalf_of: row.on_behalf_of,
    client: row.client,
    votes: bindingVotes({ ...row, id: row.request_id, duration_s: Number(row.duration_s) }, row.hash, row.votes),
  }
}

/** The votes recorded on a request, for a request whose row the caller has locked or loaded. */
export async function loadVotes(q: Queryable, asked: WhatIsAsked, hash: string): Promise<Vote[]> {
  const [row] = await q.execute<{ votes: VoteRow[] }>(
    sql`select ${votesOfR} as votes from requests r where r.id = ${asked.id}`,
  )
  return bindingVotes(asked, hash, row?.votes ?? [])
}

/**
 * INVARIANT: a vote counts only for exactly what was asked when it was cast. A row whose words no longer give its own
 * hash was edited behind our back: no vote on it counts.
 */
function bindingVotes(asked: WhatIsAsked, hash: string, votes: readonly VoteRow[]): Vote[] {
  if (requestHash(asked) !== hash) return []
  return votes
    .filter(vote => vote.request_hash === hash)
    .map(({ approver, groups, stage, answer, at_ms }) => ({ approver, groups, stage, answer, at_ms }))
}

export function askedOf(row: Asked): Asked {
  const { id, reason, ticket_ref, duration_s, created_at_ms } = row
  return { id, reason, ticket_ref, duration_s, created_at_ms }
}

export interface AccessQuestion {
  readonly stage: Input<'access'>['stage']
  readonly subject: SubjectFacts
  readonly resource: PolicyResource
  readonly role: string
  readonly request: Asked | null
  readonly votes: readonly Vote[]
  readonly grant: Pick<Cover, 'id' | 'starts_at_ms' | 'ends_at_ms'> | null
  readonly client: Client
  readonly now_at_ms: number
}

/** INVARIANT: the only place where an input of `access` is built, for every stage. */
export function buildAccessInput(
  question: AccessQuestion,
  ground: Pick<Ground, 'resources' | 'zone'>,
): Input<'access'> {
  const { stage, subject, resource, role, request, votes, grant, client, now_at_ms } = question
  return {
    stage,
    subject,
    resource: resourceFacts(resource),
    role,
    roles: ground.resources.rolesOf(subject, resource.name).map(given => given.role),
    request,
    votes: [...votes],
    grant: grant === null ? null : { id: grant.id, starts_at_ms: grant.starts_at_ms, ends_at_ms: grant.ends_at_ms },
    client,
    time: timeFacts(now_at_ms, ground.zone),
  }
}
