import { randomBytes } from 'node:crypto'
import { and, count, eq, isNull } from 'drizzle-orm'
import { buildAccessInput, type Cover } from '../approvals/access.ts'
import type { Approvals } from '../approvals/approvals.ts'
import { clock } from '../approvals/clock.ts'
import type { Client } from '../approvals/ports.ts'
import { type Refused, refuse, refusedBy } from '../approvals/refusal.ts'
import { requests } from '../approvals/schema.ts'
import type { Tx } from '../db/database.ts'
import { isId, newId } from '../ids.ts'
import { type DerivedKey, open, seal } from '../keys.ts'
import type { Decision } from '../policy/decision.ts'
import { Permit } from '../policy/permit.ts'
import type { SubjectFacts } from '../policy/points.ts'
import type { PolicyResource } from '../policy/resources.ts'
import { Secret } from '../secret.ts'
import { chooseRole } from './choose-role.ts'
import type { SessionGround } from './ports.ts'
import { sessions, tickets } from './schema.ts'

export type TicketRow = typeof tickets.$inferSelect

export interface TicketWanted {
  /** As authenticated now. */
  readonly subject: SubjectFacts
  readonly resource: string
  readonly role: string
  /** What the protocol keeps of a secret: `Protocol.verifiers`. */
  readonly verifiers: (secret: Secret) => Record<string, string>
  readonly client: Client
  /** For how long, where policy gives standing access; the longest that policy gives by default. */
  readonly duration_s?: number | undefined
}

export interface Issued {
  readonly refused: false
  readonly id: string
  /** 256 random bits. Shown to its holder once; we keep verifiers only. */
  readonly secret: Secret
  readonly resource: PolicyResource
  readonly role: string
  readonly grant_id: string
  /** Unused, it ends then. */
  readonly unused_until_ms: number
  /** Its session ends then at the latest. */
  readonly ends_at_ms: number
  /** Addresses and ranges that policy admits now. */
  readonly from: readonly string[]
  readonly now_ms: number
}

export interface FoundTicket {
  readonly ticket: TicketRow
  readonly verifiers: Readonly<Record<string, string>>
}

/** Open tickets of one grant; whoever has more has lost count of them. */
const maxOpen = 100

/** Tickets are handed out by control and looked up by the gateway; both hold the `tickets` key. */
export class Tickets {
  readonly #ground: SessionGround
  readonly #key: DerivedKey
  readonly #decoy: Buffer

  constructor(ground: SessionGround, key: DerivedKey) {
    this.#ground = ground
    this.#key = key
    this.#decoy = seal(key, JSON.stringify({ decoy: randomBytes(256).toString('hex') }), 'decoy')
  }

  /** A ticket for what a grant covers now; what policy allows to everybody who asks gets its grant here. */
  async issue(approvals: Approvals, wanted: TicketWanted): Promise<Issued | Refused> {
    const { subject, role } = wanted
    const resource = this.#ground.resources.get(wanted.resource)
    if (resource === undefined) return refuse('not_found', `there is no resource ${wanted.resource}`)
    const key = { subject_id: subject.id, on_behalf_of: subject.on_behalf_of, resource: resource.name, role }
    if ((await approvals.accessFacts(key)).length === 0) {
      const refusal = await this.#stand(approvals, wanted, resource)
      if (refusal !== undefined) return refusal
    }
    const secret = new Secret(randomBytes(32).toString('base64url'))
    const verifiers = JSON.stringify(wanted.verifiers(secret))
    return this.#ground.database.db.transaction(async tx => {
      const now_ms = await clock(tx)
      const covers = await approvals.accessFacts(key, tx)
      const chosen = decideCovers(this.#ground, covers, {
        stage: 'ticket',
        subject,
        resource,
        role,
        client: wanted.client,
        now_ms,
      })
      if (chosen === undefined) return refuse('gone', 'the grant ended in this moment', 'ask for access again')
      await this.#ground.decisionLog.insert(tx, chosen.decision)
      const refusal = Permit.is(chosen.permit) ? await this.#full(tx, chosen.cover.id) : refusedBy(chosen.decision)
      if (refusal !== undefined) return await this.#refused(tx, wanted, refusal)
      const terms = chosen.decision.result?.session
      if (terms === undefined) return await this.#refused(tx, wanted, noSessionTerms(chosen.decision))
      const id = newId('tkt')
      const unused_until = new Date(Math.min(now_ms + terms.idle_s * 1000, chosen.cover.ends_at_ms))
      await this.#ground.audit.record(tx, {
        type: 'ticket.issued',
        body: {
          ticket_id: id,
          grant_id: chosen.cover.id,
          role,
          via: wanted.client.via,
          address: wanted.client.address,
          token_id: subject.token?.id,
          unused_until_ms: unused_until.getTime(),
          decision_id: chosen.decision.id,
        },
        subject_id: subject.id,
        resource: resource.name,
      })
      await tx.insert(tickets).values({
        id,
        grant_id: chosen.cover.id,
        subject_id: subject.id,
        resource: resource.name,
        role,
        protocol: resource.protocol,
        token: subject.token,
        on_behalf_of: subject.on_behalf_of,
        sealed: seal(this.#key, verifiers, id),
        decision_id: chosen.decision.id,
        created_at: new Date(now_ms),
        unused_until,
      })
      return {
        refused: false,
        id,
        secret,
        resource,
        role,
        grant_id: chosen.cover.id,
        unused_until_ms: unused_until.getTime(),
        ends_at_ms: chosen.cover.ends_at_ms,
        from: terms.from,
        now_ms,
      }
    })
  }

  /** The role of somebody who names none: theirs when only one is possible. */
  chooseRole(subject: SubjectFacts, resource: string): Promise<string | Refused> {
    return chooseRole(this.#ground, subject, resource)
  }

  /**
   * The ticket behind a public id, or undefined when there is none that could open anything: unknown, ended, unused for
   * too long. All answers cost one query and one decryption.
   */
  async find(id: string): Promise<FoundTicket | undefined> {
    const known = isId('tkt', id) ? id : 'tkt_'
    const [row] = await this.#ground.database.db
      .select({ ticket: tickets, session: { id: sessions.id, ended_at: sessions.ended_at } })
      .from(tickets)
      .leftJoin(sessions, eq(sessions.ticket_id, tickets.id))
      .where(and(eq(tickets.id, known), isNull(tickets.ended_at)))
    const now_ms = await clock(this.#ground.database.db)
    const usable = row !== undefined && stillOpen(row.ticket, row.session, now_ms)
    const plain = usable ? open(this.#key, row.ticket.sealed, row.ticket.id) : open(this.#key, this.#decoy, 'decoy')
    if (!usable || plain === null) return undefined
    return { ticket: row.ticket, verifiers: JSON.parse(plain.toString('utf8')) as Record<string, string> }
  }

  /** Whether a ticket of this subject still opens something. */
  async opens(id: string, subject_id: string): Promise<boolean> {
    const found = await this.find(id)
    return found !== undefined && found.ticket.subject_id === subject_id
  }

  /** Standing access: policy allows it to whoever asks. Undefined: there is a grant now. */
  async #stand(approvals: Approvals, wanted: TicketWanted, resource: PolicyResource): Promise<Refused | undefined> {
    const { subject, role } = wanted
    const [waiting] = await this.#ground.database.db
      .select({ id: requests.id })
      .from(requests)
      .where(
        and(
          eq(requests.subject_id, subject.id),
          eq(requests.resource, resource.name),
          eq(requests.role, role),
          eq(requests.state, 'pending'),
        ),
      )
      .limit(1)
    if (waiting !== undefined) {
      return refuse(
        'policy_denied',
        `request ${waiting.id} for ${role} on ${resource.name} is not answered yet`,
        'wait for an approver, then connect',
      )
    }
    const longest = this.#ground.resources.rolesOf(subject, resource.name).find(given => given.role === role)?.max_s
    const answer = await approvals.standingGrant({
      subject,
      resource: resource.name,
      role,
      duration_s: wanted.duration_s ?? longest ?? 3600,
      reason: 'standing access',
      ticket_ref: null,
      via: wanted.client.via,
      client: { address: wanted.client.address, application: wanted.client.application },
    })
    return answer.refused ? answer : undefined
  }

  async #full(tx: Tx, grant_id: string): Promise<Refused | undefined> {
    const [n] = await tx
      .select({ n: count() })
      .from(tickets)
      .where(and(eq(tickets.grant_id, grant_id), isNull(tickets.ended_at)))
    if (n!.n < maxOpen) return undefined
    return refuse(
      'rate_limited',
      `${maxOpen} tickets of this grant are open already`,
      'use one of them, or wait until unused ones end',
    )
  }

  async #refused(tx: Tx, wanted: TicketWanted, refusal: Refused): Promise<Refused> {
    await this.#ground.audit.record(tx, {
      type: 'ticket.refused',
      body: {
        role: wanted.role,
        via: wanted.client.via,
        code: refusal.code,
        message: refusal.message,
        decision_id: refusal.decision_id,
      },
      subject_id: wanted.subject.id,
      resource: wanted.resource,
    })
    return refusal
  }
}

/** A ticket opens something as long as its session lives, or, before its first use, until it has lain idle too long. */
export function stillOpen(
  ticket: TicketRow,
  session: { readonly ended_at: Date | null } | null,
  now_ms: number,
): boolean {
  if (ticket.ended_at !== null) return false
  return session === null ? ticket.unused_until.getTime() > now_ms : session.ended_at === null
}

export function noSessionTerms(decision: Decision): Refused {
  return {
    ...refusedBy(decision),
    code: 'policy_unavailable',
    message: 'policy does not say how long a session may last',
    remedy: 'ask a security engineer to add `session` to the result of `access`',
  }
}

export interface Chosen {
  readonly cover: Cover
  readonly decision: Decision<'access'>
  readonly permit: Permit | null
}

/**
 * Decides `access` for each covering grant, the one that ends last first, until one is allowed: overlapping grants are a
 * union. Undefined when none covers this instant.
 */
export function decideCovers(
  ground: SessionGround,
  covers: readonly Cover[],
  asked: {
    readonly stage: 'ticket' | 'connect' | 'live'
    readonly subject: SubjectFacts
    readonly resource: PolicyResource
    readonly role: string
    readonly client: Client
    readonly now_ms: number
    readonly session_id?: string
  },
): Chosen | undefined {
  let last: Chosen | undefined
  for (const cover of covers) {
    const input = buildAccessInput(
      {
        stage: asked.stage,
        subject: asked.subject,
        resource: asked.resource,
        role: asked.role,
        request: cover.request,
        votes: cover.votes,
        grant: cover,
        client: asked.client,
        now_at_ms: asked.now_ms,
      },
      ground,
    )
    last = {
      cover,
      ...ground.engine.decide('access', input, { request_id: cover.request.id, session_id: asked.session_id }),
    }
    if (Permit.is(last.permit)) return last
  }
  return last
}
