import { and, asc, eq, inArray, lte } from 'drizzle-orm'
import { clock } from '../approvals/clock.ts'
import { reasonText } from '../approvals/refusal.ts'
import type { Tx } from '../db/database.ts'
import { notify } from '../db/notices.ts'
import { systemFacts } from '../identity/facts.ts'
import { newId } from '../ids.ts'
import { faultMessage } from '../log.ts'
import { Permit } from '../policy/permit.ts'
import { timeFacts } from '../policy/time.ts'
import { plainText } from './end.ts'
import type { LeasePorts, LeaseToReap, ReapLease, SessionGround } from './ports.ts'
import { leases } from './schema.ts'

/** The call of `admin` that lets the system remove a credential from its target. */
export const reapCall = 'lease.reap'

export interface LeasePlanned {
  readonly id: string
  readonly session_id: string
  readonly process_id: string
  readonly resource: string
  readonly protocol: string
  readonly kind: string
  /** What `reap` needs to find it; never a secret. */
  readonly facts: Readonly<Record<string, unknown>>
}

type LeaseRow = typeof leases.$inferSelect

const claimMs = 120_000 // nobody else tries meanwhile; a worker that died with a lease in hand is overtaken then
const stuckAfter = 5
const firstBackoffMs = 1_000
const mostBackoffMs = 600_000
const secondLookMs = 30_000

/**
 * Credentials on the targets' side. INVARIANT: a row stands in the database before anything is made on the target, and
 * leaves the states that are looked at only when the target said that it is gone.
 */
export class Leases {
  readonly #ground: SessionGround
  readonly #ports: LeasePorts

  constructor(ground: SessionGround, ports: LeasePorts = {}) {
    this.#ground = ground
    this.#ports = ports
  }

  newLeaseId(): string {
    return newId('lea')
  }

  /** Writes down what will be made. Call it, and wait for it, before minting. */
  async plan(planned: LeasePlanned): Promise<void> {
    await this.#ground.database.db.insert(leases).values({ ...planned, facts: { ...planned.facts }, state: 'minting' })
  }

  /**
   * Minting worked. @returns false when the session ended meanwhile: the credential must not be used, and is due again,
   * since a reaper may have looked before it was made.
   */
  minted(lease_id: string): Promise<boolean> {
    return this.#ground.database.db.transaction(async tx => {
      const [lease] = await tx.select().from(leases).where(eq(leases.id, lease_id)).for('no key update')
      if (lease === undefined) throw new Error(`lease ${lease_id} was never planned`)
      const now = new Date(await clock(tx))
      const live = lease.state === 'minting'
      await this.#ground.audit.record(tx, {
        type: 'lease.minted',
        body: { lease_id, kind: lease.kind, late: live ? undefined : true },
        session_id: lease.session_id,
        resource: lease.resource,
      })
      await tx
        .update(leases)
        .set({ state: live ? 'minted' : 'reaping', minted_at: now, reaped_at: null, next_try_at: now })
        .where(eq(leases.id, lease_id))
      if (!live) await notify(tx, 'leases', JSON.stringify({ session_id: lease.session_id }))
      return live
    })
  }

  /** Minting failed, or its session is over: whatever is left on the target is due now. */
  async release(lease_id: string): Promise<void> {
    await this.#ground.database.db.transaction(async tx => {
      const now = new Date(await clock(tx))
      await tx
        .update(leases)
        .set({ state: 'reaping', next_try_at: now })
        .where(and(eq(leases.id, lease_id), inArray(leases.state, ['minting', 'minted'])))
      await notify(tx, 'leases', JSON.stringify({ lease_id }))
    })
  }

  /**
   * Reaps what is due, one after the other. Of any number of workers that call it at once each lease has one winner.
   * @param due_for_ms how long it must have been due: the workers that serve the session tell their clients why first.
   * @returns how many it tried.
   */
  async reapDue(reap: ReapLease, due_for_ms = 0, most = 20): Promise<number> {
    for (let tried = 0; tried < most; tried++) {
      const lease = await this.#claim(due_for_ms)
      if (lease === undefined) return tried
      await this.#tell(lease, await this.#try(reap, lease))
    }
    return most
  }

  #claim(due_for_ms: number): Promise<LeaseRow | undefined> {
    return this.#ground.database.db.transaction(async tx => {
      const now_ms = await clock(tx)
      const [due] = await tx
        .select()
        .from(leases)
        .where(and(inArray(leases.state, ['reaping', 'stuck']), lte(leases.next_try_at, new Date(now_ms - due_for_ms))))
        .orderBy(asc(leases.next_try_at))
        .limit(1)
        .for('no key update', { skipLocked: true })
      if (due === undefined) return undefined
      const claim = { attempts: due.attempts + 1, next_try_at: new Date(now_ms + claimMs) }
      await tx.update(leases).set(claim).where(eq(leases.id, due.id))
      return { ...due, ...claim }
    })
  }

  /** @returns why it failed, or undefined. */
  async #try(reap: ReapLease, lease: LeaseRow): Promise<string | undefined> {
    try {
      const now_ms = await clock(this.#ground.database.db)
      const target = { lease: lease.id, session: lease.session_id, resource: lease.resource, protocol: lease.protocol }
      const { decision, permit } = this.#ground.engine.decide(
        'admin',
        { subject: systemFacts, call: reapCall, target, own: false, time: timeFacts(now_ms, this.#ground.zone) },
        { session_id: lease.session_id },
      )
      await this.#ground.database.db.transaction(tx => this.#ground.decisionLog.insert(tx, decision))
      if (!Permit.is(permit)) return `policy does not allow ${reapCall}: ${reasonText(decision)}`
      await reap(permit, toReap(lease))
      return undefined
    } catch (error) {
      return plainText(faultMessage(error))
    }
  }

  async #tell(lease: LeaseRow, failure: string | undefined): Promise<void> {
    const stuck = await this.#ground.database.db.transaction(async tx => {
      const now_ms = await clock(tx)
      if (failure === undefined) return await this.#reaped(tx, lease, now_ms)
      const stuckNow = lease.attempts >= stuckAfter
      if (stuckNow && lease.state !== 'stuck') {
        await this.#ground.audit.record(tx, {
          type: 'lease.stuck',
          body: { lease_id: lease.id, kind: lease.kind, attempts: lease.attempts, error: failure },
          session_id: lease.session_id,
          resource: lease.resource,
        })
      }
      const wait = Math.min(firstBackoffMs * 2 ** Math.min(lease.attempts - 1, 20), mostBackoffMs)
      await tx
        .update(leases)
        .set({ state: stuckNow ? 'stuck' : 'reaping', last_error: failure, next_try_at: new Date(now_ms + wait) })
        .where(eq(leases.id, lease.id))
      return stuckNow
    })
    if (stuck) this.#ports.onStuck?.(toReap(lease), failure ?? '')
  }

  /** One that was perhaps being made while it was reaped is looked at a second time before it counts as gone. */
  async #reaped(tx: Tx, lease: LeaseRow, now_ms: number): Promise<false> {
    const [now] = await tx
      .select({ minted_at: leases.minted_at })
      .from(leases)
      .where(eq(leases.id, lease.id))
      .for('no key update')
    const mintedMeanwhile = lease.minted_at === null && now?.minted_at !== null
    if (mintedMeanwhile || (lease.minted_at === null && lease.attempts < 2)) {
      const next = new Date(mintedMeanwhile ? now_ms : now_ms + secondLookMs)
      await tx
        .update(leases)
        .set({ state: 'reaping', last_error: null, next_try_at: next })
        .where(eq(leases.id, lease.id))
      return false
    }
    await this.#ground.audit.record(tx, {
      type: 'lease.reaped',
      body: { lease_id: lease.id, kind: lease.kind, attempts: lease.attempts },
      session_id: lease.session_id,
      resource: lease.resource,
    })
    await tx
      .update(leases)
      .set({ state: 'reaped', reaped_at: new Date(now_ms), last_error: null })
      .where(eq(leases.id, lease.id))
    return false
  }
}

function toReap(lease: LeaseRow): LeaseToReap {
  const { id, session_id, resource, protocol, kind, facts } = lease
  return { id, session_id, resource, protocol, kind, facts }
}
