import { and, desc, eq, inArray, isNull, lt, sql } from 'drizzle-orm'
import type { AuditWriter } from '../audit/events.ts'
import type { Database, Queryable, Tx } from '../db/database.ts'
import { SallyportError } from '../errors.ts'
import { newId } from '../ids.ts'
import { proposals } from './schema.ts'

export type Proposal = typeof proposals.$inferSelect
export type ProposalKind = Proposal['kind']

/** A person, by the id under which they act for themselves. */
export interface Actor {
  readonly id: string
  readonly kind: string
  readonly token: unknown
}

export interface ProposalOptions {
  readonly database: Database
  readonly audit: AuditWriter
  /** What a confirmation does, in the transaction that writes it down. */
  readonly effects: Readonly<Record<ProposalKind, (tx: Tx, proposal: Proposal) => Promise<void>>>
  readonly expires_s?: number
}

/**
 * What no person may do alone: one proposes, another confirms within a day, and both stand in the log.
 * INVARIANT: both are people who signed in; neither a machine nor a token counts as the second pair of eyes.
 */
export class Proposals {
  readonly #options: ProposalOptions

  constructor(options: ProposalOptions) {
    this.#options = options
  }

  async propose(
    by: Actor,
    what: {
      readonly kind: ProposalKind
      readonly body: Record<string, string | number>
      readonly reason: string
      readonly decision_id: string
    },
  ): Promise<Proposal> {
    demandPerson(by)
    const { database, audit, expires_s = 86_400 } = this.#options
    const { kind, body, reason, decision_id } = what
    return database.db.transaction(async tx => {
      const [row] = await tx
        .insert(proposals)
        .values({
          id: newId('prp'),
          kind,
          body,
          reason,
          proposed_by: by.id,
          expires_at: sql`clock_timestamp() + make_interval(secs => ${expires_s})`,
        })
        .returning()
      await audit.record(tx, {
        type: 'proposal.made',
        body: { proposal: row!.id, kind, about: body, reason, decision: decision_id },
        subject_id: by.id,
      })
      return row!
    })
  }

  /** @throws SallyportError `not_found`, `policy_denied` for the same person or no person, `gone` when it is over. */
  async confirm(by: Actor, id: string, decision_id: string): Promise<Proposal> {
    demandPerson(by)
    return this.#answer(id, async (tx, found) => {
      if (found.proposed_by === by.id) {
        throw new SallyportError('policy_denied', 'this takes two people, and you are the one who proposed it', {
          remedy: 'ask somebody else to confirm it',
        })
      }
      const row = await this.#answered(tx, found, { state: 'confirmed', by, decision_id })
      await this.#options.effects[found.kind](tx, row)
      return row
    })
  }

  /** Also whoever proposed it may take it back. */
  refuse(by: Actor, id: string, decision_id: string, reason: string | undefined): Promise<Proposal> {
    return this.#answer(id, (tx, found) => this.#answered(tx, found, { state: 'refused', by, decision_id, reason }))
  }

  async expireDue(): Promise<number> {
    const { database, audit } = this.#options
    return database.db.transaction(async tx => {
      const over = await tx
        .update(proposals)
        .set({ state: 'expired', done_at: sql`clock_timestamp()` })
        .where(
          and(
            eq(proposals.state, 'pending'),
            isNull(proposals.done_at),
            lt(proposals.expires_at, sql`clock_timestamp()`),
          ),
        )
        .returning()
      for (const { id, kind } of over)
        await audit.record(tx, { type: 'proposal.expired', body: { proposal: id, kind } })
      return over.length
    })
  }

  #answer(id: string, run: (tx: Tx, found: Proposal) => Promise<Proposal>): Promise<Proposal> {
    return this.#options.database.db.transaction(async tx => {
      const [found] = await tx
        .select({ proposal: proposals, over: sql<boolean>`${proposals.expires_at} < clock_timestamp()` })
        .from(proposals)
        .where(eq(proposals.id, id))
        .for('update')
      if (found === undefined)
        throw new SallyportError('not_found', `there is no proposal ${id}`, { remedy: 'look at `sallyport proposals`' })
      if (found.proposal.state !== 'pending' || found.over) {
        const state = found.over && found.proposal.state === 'pending' ? 'expired' : found.proposal.state
        throw new SallyportError('gone', `this proposal is ${state} already`, { remedy: 'propose it again' })
      }
      return run(tx, found.proposal)
    })
  }

  async #answered(
    tx: Tx,
    found: Proposal,
    answer: { state: 'confirmed' | 'refused'; by: Actor; decision_id: string; reason?: string | undefined },
  ): Promise<Proposal> {
    const { state, by, decision_id, reason } = answer
    const [row] = await tx
      .update(proposals)
      .set({
        state,
        answered_by: by.id,
        answered_at: sql`clock_timestamp()`,
        decision_id,
        ...(state === 'refused' || found.kind === 'floor' ? { done_at: sql`clock_timestamp()` } : {}),
      })
      .where(eq(proposals.id, found.id))
      .returning()
    await this.#options.audit.record(tx, {
      type: `proposal.${state}`,
      body: {
        proposal: found.id,
        kind: found.kind,
        about: found.body,
        proposed_by: found.proposed_by,
        reason,
        decision: decision_id,
      },
      subject_id: by.id,
    })
    return row!
  }
}

/** The newest first; those that wait for somebody, or all. */
export function listProposals(
  db: Queryable,
  options: { readonly pending?: boolean | undefined } = {},
): Promise<Proposal[]> {
  return db
    .select()
    .from(proposals)
    .where(options.pending === true ? inArray(proposals.state, ['pending']) : undefined)
    .orderBy(desc(proposals.id))
    .limit(200)
}

function demandPerson(by: Actor): void {
  if (by.kind === 'person' && by.token === null) return
  throw new SallyportError('policy_denied', 'this takes two people, and a machine or a token is none', {
    remedy: 'sign in, and do it yourself',
  })
}
