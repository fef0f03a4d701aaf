import { and, count, eq, inArray, isNull, sql } from 'drizzle-orm'
import type { Tx } from '../db/database.ts'
import type { ApprovalTerms } from '../policy/points.ts'
import { loadVotes, type Vote } from './access.ts'
import { bounds, requestHash } from './bounds.ts'
import { clock } from './clock.ts'
import type { Client, Ground } from './ports.ts'
import { type HeldActions, holds, type RequestState, requests, type ShownPart } from './schema.ts'
import { closeRequest, tellRequests } from './settle.ts'

const mostWords = 1000

export type HoldRow = typeof holds.$inferSelect

/** What a gateway asks for when an action of one of its connections has to wait. */
export interface HoldAsked {
  /** req_… */
  readonly id: string
  readonly session_id: string
  readonly connection_id: string
  readonly process_id: string
  /** One line, without literals. */
  readonly title: string
  readonly text: string | null
  readonly shown: readonly ShownPart[]
  readonly held: HeldActions
  readonly terms: ApprovalTerms
  /** The `action` decision that asked. */
  readonly decision_id: string
  /** The `access` decision under which the session lives. */
  readonly access_decision_id: string
  readonly client: Client
}

/** How a hold stands, for the gateway that waits. */
export interface HoldState {
  readonly state: RequestState
  readonly outcome: string | null
  readonly terms: ApprovalTerms | null
  /** Those that count. */
  readonly votes: readonly Vote[]
  readonly names: Readonly<Record<string, string>>
}

/** Writes a hold down as a request. @returns why not: too many wait already. */
export async function placeHold(ground: Pick<Ground, 'audit'>, tx: Tx, asked: HoldAsked): Promise<string | undefined> {
  const { id, held, title, terms } = asked
  // Those of one person follow one another: counted at once, each would find room.
  await tx.execute(sql`select pg_advisory_xact_lock(hashtextextended(${`holds ${held.subject.id}`}, 0))`)
  const [waiting] = await tx
    .select({ n: count() })
    .from(requests)
    .where(and(eq(requests.subject_id, held.subject.id), eq(requests.kind, 'hold'), eq(requests.state, 'pending')))
  if (waiting!.n >= bounds.pending) return `${waiting!.n} actions of yours wait for an answer already`
  const now_ms = await clock(tx)
  const what = {
    id,
    subject_id: held.subject.id,
    on_behalf_of: held.subject.on_behalf_of,
    resource: held.resource.name,
    role: held.role,
    duration_s: 0,
    reason: title,
    ticket_ref: null,
  }
  const { session_id, connection_id, process_id, text, shown, decision_id } = asked
  const about = { subject_id: what.subject_id, session_id, resource: what.resource }
  await ground.audit.record(tx, {
    type: 'action.held',
    body: {
      request_id: id,
      connection_id,
      role: what.role,
      on_behalf_of: what.on_behalf_of,
      actions: held.actions.map(action => action.kind),
      title,
      decision_id,
    },
    ...about,
  })
  // First what waits, then who asks for it: the row rules look for it, and neither stands without the other.
  await tx
    .insert(holds)
    .values({ request_id: id, session_id, connection_id, process_id, text, shown, held, decision_id })
  await tx.insert(requests).values({
    ...what,
    kind: 'hold',
    hash: requestHash({ ...what, held: { session_id, connection_id, text, shown, held } }),
    terms,
    decision_id: asked.access_decision_id,
    via: asked.client.via,
    client: asked.client,
    created_at: new Date(now_ms),
    expires_at: new Date(now_ms + Math.min(terms.expires_s, bounds.hold_s) * 1000),
  })
  await tellRequests(tx, id, 'pending')
  return undefined
}

/** Nobody waits any more. @returns false when it was no longer pending. */
export async function withdrawHold(ground: Pick<Ground, 'audit'>, tx: Tx, id: string, why: string): Promise<boolean> {
  const [request] = await tx
    .select()
    .from(requests)
    .where(and(eq(requests.id, id), eq(requests.kind, 'hold'), eq(requests.state, 'pending')))
    .for('no key update')
  if (request === undefined) return false
  const now_ms = await clock(tx)
  await closeRequest(ground, tx, request, { state: 'cancelled', by: request.subject_id, outcome: why, now_ms })
  return true
}

/** How these holds stand, in one query for all but their votes. */
export async function readHolds(tx: Tx, ids: readonly string[]): Promise<Map<string, HoldState>> {
  const rows = await tx
    .select({ request: requests, hold: holds })
    .from(requests)
    .innerJoin(holds, eq(holds.request_id, requests.id))
    .where(inArray(requests.id, [...ids]))
  const states = new Map<string, HoldState>()
  for (const { request, hold } of rows) {
    const votes = await loadVotes(tx, { ...request, held: hold }, request.hash)
    const { state, outcome, terms } = request
    states.set(request.id, { state, outcome, terms, votes, names: await namesOf(tx, votes) })
  }
  return states
}

async function namesOf(tx: Tx, votes: readonly Vote[]): Promise<Record<string, string>> {
  if (votes.length === 0) return {}
  const rows = await tx.execute<{ id: string; name: string }>(
    sql`select id, name from subjects where id = any(${sql.param(votes.map(vote => vote.approver))}::text[])`,
  )
  return Object.fromEntries(rows.map(row => [row.id, row.name]))
}

/** That their process still waits. Those that nobody waits for are swept (sweep.ts). */
export async function beatHolds(tx: Tx, ids: readonly string[]): Promise<void> {
  await tx
    .update(holds)
    .set({ seen_at: sql`clock_timestamp()` })
    .where(inArray(holds.request_id, [...ids]))
}

/**
 * Lets an approved hold go on, once.
 * INVARIANT: only while its request is approved, its session lives and the grant of that session covers this instant; a
 * second caller, or a second call, gets nothing.
 * @returns why not.
 */
export async function releaseHold(ground: Pick<Ground, 'audit'>, tx: Tx, id: string): Promise<string | undefined> {
  const [released] = await tx
    .update(holds)
    .set({ released_at: sql`clock_timestamp()` })
    .where(
      and(
        eq(holds.request_id, id),
        isNull(holds.released_at),
        isNull(holds.unused),
        // the same is asked by the trigger `holds_once`, for a gateway that asks otherwise
        sql`exists (select from requests r, sessions s join grants g on g.id = s.grant_id
            join requests asked on asked.id = g.request_id
          where r.id = ${holds.request_id} and r.state = 'approved'
            and s.id = ${holds.session_id} and s.ended_at is null and s.ends_at > clock_timestamp()
            and g.ended_at is null and g.revoked_at is null and g.ends_at > clock_timestamp()
            and asked.on_behalf_of is not distinct from r.on_behalf_of)`,
      ),
    )
    .returning()
  if (released === undefined) return 'its session or its grant is over, or it went on already'
  await tellAction(ground, tx, 'action.released', released, {})
  await tellRequests(tx, id, 'approved')
  return undefined
}

/** Why a hold that was approved did not go on; the first reason stands. What was not approved ended with its request. */
export async function tellRefused(ground: Pick<Ground, 'audit'>, tx: Tx, id: string, why: string): Promise<void> {
  const [row] = await tx
    .update(holds)
    .set({ unused: why.slice(0, mostWords) })
    .where(
      and(
        eq(holds.request_id, id),
        isNull(holds.unused),
        sql`exists (select from requests r where r.id = ${holds.request_id} and r.state = 'approved')`,
      ),
    )
    .returning()
  if (row === undefined) return
  await tellAction(ground, tx, 'action.refused', row, { outcome: why })
  await tellRequests(tx, id, 'approved')
}

async function tellAction(
  ground: Pick<Ground, 'audit'>,
  tx: Tx,
  type: 'action.released' | 'action.refused',
  { request_id, session_id, connection_id, held, decision_id }: HoldRow,
  more: { readonly outcome?: string },
): Promise<void> {
  await ground.audit.record(tx, {
    type,
    body: { request_id, connection_id, role: held.role, decision_id, ...more },
    subject_id: held.subject.id,
    session_id,
    resource: held.resource.name,
  })
}
