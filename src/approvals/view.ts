import { and, desc, eq, inArray, lt, or, sql } from 'drizzle-orm'
import type { Queryable } from '../db/database.ts'
import { subjects } from '../identity/schema.ts'
import type { ApprovalTerms } from '../policy/points.ts'
import { grants, holds, type RequestKind, type RequestState, requests, type ShownPart, votes } from './schema.ts'

/** A request as people see it: in the web UI, in Slack, on the command line. */
export interface RequestView {
  readonly id: string
  readonly kind: RequestKind
  /** What a vote on it must name. */
  readonly hash: string
  /** The e-mail is shown, because two people may have one name. */
  readonly subject: { readonly id: string; readonly name: string; readonly email: string | null }
  readonly on_behalf_of: string | null
  readonly resource: string
  readonly role: string
  readonly duration_s: number
  readonly reason: string
  readonly ticket_ref: string | null
  readonly via: string
  readonly state: RequestState
  readonly created_at_ms: number
  readonly expires_at_ms: number
  readonly ended_at_ms: number | null
  readonly outcome: string | null
  readonly decision_id: string
  readonly terms: ApprovalTerms | null
  readonly votes: readonly VoteView[]
  /** The action that waits, where no access is asked for: `reason` is its title then. */
  readonly hold: HeldView | null
  readonly grant: { readonly id: string; readonly ends_at_ms: number; readonly revoked_at_ms: number | null } | null
}

/** What approvers see of an action that waits. */
export interface HeldView {
  readonly session_id: string
  /** As masking lets it be shown; null where policy records none. */
  readonly text: string | null
  readonly shown: readonly ShownPart[]
  /** When it went on. */
  readonly released_at_ms: number | null
  /** Why it did not go on although it was approved. */
  readonly unused: string | null
}

export interface VoteView {
  readonly approver: { readonly id: string; readonly name: string }
  readonly answer: 'approve' | 'deny'
  readonly stage: number
  readonly at_ms: number
  readonly via: string
}

export interface GrantView {
  readonly id: string
  readonly request_id: string
  readonly subject: { readonly id: string; readonly name: string }
  readonly resource: string
  readonly role: string
  readonly starts_at_ms: number
  readonly ends_at_ms: number
  readonly revoked_at_ms: number | null
  readonly revoke_reason: string | null
}

export interface RequestFilter {
  readonly state?: RequestState | undefined
  readonly resource?: string | undefined
  /** What this person may see without being shown all: what they asked, and what waits for them. */
  readonly of?: { readonly id: string; readonly groups: readonly string[] } | undefined
  readonly limit: number
  /** Ids sort by time: the page after this one. */
  readonly before?: string | undefined
}

export async function readRequest(q: Queryable, id: string): Promise<RequestView | undefined> {
  const [row] = await requestRows(q).where(eq(requests.id, id))
  return row === undefined ? undefined : (await withVotes(q, [row]))[0]
}

/** Newest first. */
export async function listRequests(q: Queryable, filter: RequestFilter): Promise<RequestView[]> {
  const { of } = filter
  const waitsForThem =
    of === undefined
      ? undefined
      : sql`(${requests.state} = 'pending' and exists (
          select from jsonb_array_elements(${requests.terms}->'stages') as stage
          where stage->'approvers' ?| ${sql.param([of.id, ...of.groups])}::text[]))`
  const rows = await requestRows(q)
    .where(
      and(
        filter.state === undefined ? undefined : eq(requests.state, filter.state),
        filter.resource === undefined ? undefined : eq(requests.resource, filter.resource),
        filter.before === undefined ? undefined : lt(requests.id, filter.before),
        of === undefined
          ? undefined
          : or(eq(requests.subject_id, of.id), eq(requests.on_behalf_of, of.id), waitsForThem),
      ),
    )
    .orderBy(desc(requests.id))
    .limit(filter.limit)
  return withVotes(q, rows)
}

function requestRows(q: Queryable) {
  return q
    .select({ request: requests, name: subjects.name, email: subjects.email, grant: grants, hold: holds })
    .from(requests)
    .innerJoin(subjects, eq(subjects.id, requests.subject_id))
    .leftJoin(grants, eq(grants.request_id, requests.id))
    .leftJoin(holds, eq(holds.request_id, requests.id))
}

async function withVotes(q: Queryable, rows: Awaited<ReturnType<typeof requestRows>>): Promise<RequestView[]> {
  if (rows.length === 0) return []
  const cast = await q
    .select({ vote: votes, name: subjects.name })
    .from(votes)
    .innerJoin(subjects, eq(subjects.id, votes.approver_id))
    .where(
      inArray(
        votes.request_id,
        rows.map(row => row.request.id),
      ),
    )
    .orderBy(votes.at, votes.id)
  return rows.map(({ request, name, email, grant, hold }) => ({
    id: request.id,
    kind: request.kind,
    hash: request.hash,
    subject: { id: request.subject_id, name, email },
    on_behalf_of: request.on_behalf_of,
    resource: request.resource,
    role: request.role,
    duration_s: request.duration_s,
    reason: request.reason,
    ticket_ref: request.ticket_ref,
    via: request.via,
    state: request.state,
    created_at_ms: request.created_at.getTime(),
    expires_at_ms: request.expires_at.getTime(),
    ended_at_ms: request.ended_at?.getTime() ?? null,
    outcome: request.outcome,
    decision_id: hold?.decision_id ?? request.decision_id,
    terms: request.terms,
    votes: cast
      .filter(({ vote }) => vote.request_id === request.id)
      .map(({ vote, name }) => ({
        approver: { id: vote.approver_id, name },
        answer: vote.answer,
        stage: vote.stage,
        at_ms: vote.at.getTime(),
        via: vote.via,
      })),
    hold:
      hold === null
        ? null
        : {
            session_id: hold.session_id,
            text: hold.text,
            shown: hold.shown,
            released_at_ms: hold.released_at?.getTime() ?? null,
            unused: hold.unused,
          },
    grant:
      grant === null
        ? null
        : { id: grant.id, ends_at_ms: grant.ends_at.getTime(), revoked_at_ms: grant.revoked_at?.getTime() ?? null },
  }))
}

/** Newest first; `live` leaves out what has ended. */
export async function listGrants(
  q: Queryable,
  filter: {
    readonly subject_id?: string | undefined
    readonly live: boolean
    readonly limit: number
    readonly before?: string | undefined
  },
): Promise<GrantView[]> {
  const rows = await q
    .select({ grant: grants, name: subjects.name })
    .from(grants)
    .innerJoin(subjects, eq(subjects.id, grants.subject_id))
    .where(
      and(
        filter.subject_id === undefined ? undefined : eq(grants.subject_id, filter.subject_id),
        filter.live ? sql`${grants.ended_at} is null and ${grants.ends_at} > clock_timestamp()` : undefined,
        filter.before === undefined ? undefined : lt(grants.id, filter.before),
      ),
    )
    .orderBy(desc(grants.id))
    .limit(filter.limit)
  return rows.map(({ grant, name }) => ({
    id: grant.id,
    request_id: grant.request_id,
    subject: { id: grant.subject_id, name },
    resource: grant.resource,
    role: grant.role,
    starts_at_ms: grant.starts_at.getTime(),
    ends_at_ms: grant.ends_at.getTime(),
    revoked_at_ms: grant.revoked_at?.getTime() ?? null,
    revoke_reason: grant.revoke_reason,
  }))
}

/** Whose a grant is, for `own`. */
export async function ownerOfGrant(q: Queryable, id: string): Promise<string | undefined> {
  const [row] = await q.select({ subject_id: grants.subject_id }).from(grants).where(eq(grants.id, id))
  return row?.subject_id
}
