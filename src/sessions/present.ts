import { and, count, eq, isNull } from 'drizzle-orm'
import { type Cover, keyText, loadCovers } from '../approvals/access.ts'
import { clock } from '../approvals/clock.ts'
import { type Refused, refuse, refusedBy } from '../approvals/refusal.ts'
import { loadSubjects } from '../approvals/subjects.ts'
import type { Tx } from '../db/database.ts'
import { newId } from '../ids.ts'
import type { Decision } from '../policy/decision.ts'
import { Permit } from '../policy/permit.ts'
import type { SubjectFacts } from '../policy/points.ts'
import { isFrom } from './from.ts'
import type { SessionGround } from './ports.ts'
import { connections, sessions, tickets } from './schema.ts'
import { type Chosen, decideCovers, noSessionTerms, stillOpen, type TicketRow } from './tickets.ts'

export type SessionRow = typeof sessions.$inferSelect

export interface Presented {
  readonly ticket_id: string
  /** `via` is the protocol's name. */
  readonly client: { readonly address: string; readonly application: string; readonly via: string }
  readonly client_facts?: Readonly<Record<string, string>>
  readonly process_id: string
}

export interface OpenedConnection {
  readonly refused: false
  readonly session: SessionRow
  /** Whether this connection is the first of the session. */
  readonly first: boolean
  readonly subject: SubjectFacts
  readonly connection_id: string
  readonly permit: Permit
  readonly decision: Decision<'access'>
}

/**
 * A ticket whose secret was proved: decides `access` with facts read in this transaction, and opens the session or one
 * more connection of it. The lock on the ticket makes its uses on all processes follow one another.
 */
export async function present(
  ground: SessionGround,
  tx: Tx,
  presented: Presented,
): Promise<OpenedConnection | Refused> {
  const [ticket] = await tx.select().from(tickets).where(eq(tickets.id, presented.ticket_id)).for('no key update')
  if (ticket === undefined) return refuse('ticket_refused', 'this ticket is unknown')
  const session = await sessionOf(tx, ticket)
  const now_ms = await clock(tx)
  const judged = await judge(ground, tx, { ticket, session, presented, now_ms })
  if (judged.refused) return await refuseTicket(ground, tx, ticket, session, presented, judged)
  return await admit(ground, tx, { ticket, session, presented, now_ms }, judged)
}

interface Use {
  readonly ticket: TicketRow
  readonly session: SessionRow | undefined
  readonly presented: Presented
  readonly now_ms: number
}

interface Judged extends Chosen {
  readonly refused: false
  readonly session_id: string
  readonly subject: SubjectFacts
  readonly permit: Permit
  readonly terms: { readonly ends_at_ms: number; readonly idle_s: number; readonly max_connections: number }
}

async function judge(ground: SessionGround, tx: Tx, use: Use): Promise<Judged | Refused> {
  const { ticket, session, presented, now_ms } = use
  if (!stillOpen(ticket, session ?? null, now_ms)) return refuse('ticket_refused', whyClosed(ticket, session))
  const resource = ground.resources.get(ticket.resource)
  if (resource === undefined || resource.protocol !== ticket.protocol) {
    return refuse('ticket_refused', `policy no longer declares ${ticket.resource} as it was when the ticket was issued`)
  }
  const facts = (await loadSubjects(tx, [ticket.subject_id])).get(ticket.subject_id)
  if (facts === undefined)
    return refuse(
      'ticket_refused',
      'the account of this ticket is disabled or was signed out by the identity provider',
      'sign in again',
    )
  const subject = asHolder(facts, ticket)
  const session_id = session?.id ?? newId('ses')
  const chosen = decideCovers(ground, await coversOf(tx, ticket), {
    stage: 'connect',
    subject,
    resource,
    role: ticket.role,
    client: presented.client,
    now_ms,
    session_id,
  })
  if (chosen === undefined) return refuse('session_ended', 'no grant covers this any more: it ended or was revoked')
  await ground.decisionLog.insert(tx, chosen.decision)
  const { permit, decision, cover } = chosen
  if (!Permit.is(permit)) return refusedBy(decision)
  if (!fits(permit, ticket)) throw new Error(`decision ${decision.id} is about something else than ticket ${ticket.id}`)
  const terms = decision.result?.session
  if (terms === undefined) return noSessionTerms(decision)
  if (!isFrom(terms.from, presented.client.address)) {
    return {
      ...refusedBy(decision),
      code: 'policy_denied',
      message: `policy admits no session from the address ${presented.client.address}`,
      remedy: 'connect from a network that policy admits',
    }
  }
  const opened_at_ms = session?.opened_at.getTime() ?? now_ms
  const ends_at_ms = Math.min(cover.ends_at_ms, opened_at_ms + terms.max_s * 1000)
  if (ends_at_ms <= now_ms)
    return refuse('session_ended', `the session has lasted the ${terms.max_s} seconds that policy gives`)
  if (session !== undefined && (await openConnections(tx, session.id)) >= terms.max_connections) {
    return {
      ...refusedBy(decision),
      code: 'policy_denied',
      message: `the session has ${terms.max_connections} open connections already, which is what policy gives`,
      remedy: 'close one of them, then connect again',
    }
  }
  return {
    refused: false,
    ...chosen,
    permit,
    subject,
    session_id,
    terms: { ends_at_ms, idle_s: terms.idle_s, max_connections: terms.max_connections },
  }
}

/** INVARIANT: nothing opens a session but a Permit of `access` at the connect stage, for this very subject, resource and role. */
function fits(permit: Permit, ticket: TicketRow): boolean {
  return (
    permit.point === 'access' &&
    permit.call === 'connect' &&
    permit.subject_id === ticket.subject_id &&
    permit.resource === ticket.resource &&
    permit.role === ticket.role
  )
}

async function admit(ground: SessionGround, tx: Tx, use: Use, judged: Judged): Promise<OpenedConnection> {
  const { ticket, presented, now_ms } = use
  const { session_id, decision, cover, terms, subject, permit } = judged
  const connection_id = newId('con')
  const about = { subject_id: ticket.subject_id, session_id, resource: ticket.resource }
  const { address, application } = presented.client
  if (use.session === undefined) {
    await ground.audit.record(tx, {
      type: 'session.opened',
      body: {
        ticket_id: ticket.id,
        grant_id: cover.id,
        role: ticket.role,
        protocol: ticket.protocol,
        ends_at_ms: terms.ends_at_ms,
        decision_id: decision.id,
      },
      ...about,
    })
  }
  await ground.audit.record(tx, {
    type: 'connection.opened',
    body: { connection_id, address, application, process_id: presented.process_id, decision_id: decision.id },
    ...about,
  })
  const now = new Date(now_ms)
  const moving = {
    grant_id: cover.id,
    ends_at: new Date(terms.ends_at_ms),
    idle_s: terms.idle_s,
    max_connections: terms.max_connections,
    last_connection_at: now,
  }
  const [session] =
    use.session === undefined
      ? await tx
          .insert(sessions)
          .values({
            id: session_id,
            ticket_id: ticket.id,
            subject_id: ticket.subject_id,
            resource: ticket.resource,
            role: ticket.role,
            protocol: ticket.protocol,
            decision_id: permit.decision_id,
            opened_at: now,
            ...moving,
          })
          .returning()
      : await tx
          .update(sessions)
          .set(moving)
          .where(and(eq(sessions.id, session_id), isNull(sessions.ended_at)))
          .returning()
  if (session === undefined) throw new Error(`session ${session_id} ended although its row was locked`)
  await tx.insert(connections).values({
    id: connection_id,
    session_id,
    process_id: presented.process_id,
    client_address: address,
    client: { application, via: presented.client.via, ...presented.client_facts },
    opened_at: now,
  })
  return { refused: false, session, first: use.session === undefined, subject, connection_id, permit, decision }
}

/** Who holds the ticket: the person as they are now, with the token and principal that the ticket was issued to. */
export function asHolder(facts: SubjectFacts, ticket: Pick<TicketRow, 'token' | 'on_behalf_of'>): SubjectFacts {
  return { ...facts, token: ticket.token, on_behalf_of: ticket.on_behalf_of }
}

async function sessionOf(tx: Tx, ticket: TicketRow): Promise<SessionRow | undefined> {
  const [row] = await tx.select().from(sessions).where(eq(sessions.ticket_id, ticket.id)).for('no key update')
  return row
}

async function coversOf(tx: Tx, ticket: TicketRow): Promise<Cover[]> {
  return (await loadCovers(tx, [ticket])).get(keyText(ticket)) ?? []
}

async function openConnections(tx: Tx, session_id: string): Promise<number> {
  const [row] = await tx
    .select({ n: count() })
    .from(connections)
    .where(and(eq(connections.session_id, session_id), isNull(connections.closed_at)))
  return row!.n
}

function whyClosed(ticket: TicketRow, session: SessionRow | undefined): string {
  if (session?.ended_at) return `the session of this ticket has ended: ${session.end_reason ?? session.end_code}`
  if (ticket.ended_at !== null) return 'this ticket has ended'
  return 'this ticket was not used in time'
}

async function refuseTicket(
  ground: SessionGround,
  tx: Tx,
  ticket: TicketRow,
  session: SessionRow | undefined,
  presented: Presented,
  refusal: Refused,
): Promise<Refused> {
  await ground.audit.record(tx, {
    type: 'ticket.refused',
    body: {
      ticket_id: ticket.id,
      role: ticket.role,
      address: presented.client.address,
      via: presented.client.via,
      code: refusal.code,
      message: refusal.message,
      decision_id: refusal.decision_id,
    },
    subject_id: ticket.subject_id,
    session_id: session?.id,
    resource: ticket.resource,
  })
  return refusal
}
