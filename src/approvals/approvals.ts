import { and, asc, eq } from 'drizzle-orm'
import type { Tx } from '../db/database.ts'
import { Permit } from '../policy/permit.ts'
import type { SubjectFacts } from '../policy/points.ts'
import { type AccessKey, type Cover, keyText, loadCovers } from './access.ts'
import { type Answered, type Ask, type AskOptions, ask } from './ask.ts'
import { reasonProblem } from './bounds.ts'
import { clock } from './clock.ts'
import type { Counted } from './outcome.ts'
import type { ApprovalPorts, EndedGrant, Ground } from './ports.ts'
import type { Cast } from './question.ts'
import { redecideGrant, redecideRequest, suspectGrants } from './redecide.ts'
import { type Refused, refuse } from './refusal.ts'
import { remindReviews, reviewPage } from './review.ts'
import { answerReview, type Looked, type Reviewed } from './review-answer.ts'
import { grants, requests } from './schema.ts'
import { closeRequest, type RequestRow, revokeGrant } from './settle.ts'
import { endForsaken, endGrants, endUnused, expireRequests, sweepPage } from './sweep.ts'
import { vote } from './vote.ts'

/** The `admin` calls that let somebody else than its holder end a grant, than who asked take a request back. */
export const revokeCall = 'grants.revoke'
export const cancelCall = 'requests.cancel'

/**
 * Request → votes → grant. Each act is one transaction: the decision, the rows, the event and the notice stand or fall
 * together, and the ports are told after the commit.
 */
export class Approvals {
  readonly #ground: Ground
  readonly #ports: ApprovalPorts

  constructor(ground: Ground, ports: ApprovalPorts = {}) {
    this.#ground = ground
    this.#ports = ports
  }

  async ask(wanted: Ask, options: AskOptions = {}): Promise<Answered | Refused> {
    const answer = await this.#act(tx => ask(this.#ground, tx, wanted, options))
    if (!answer.refused) this.#ports.onRequested?.(answer.request.id)
    return answer
  }

  /** A grant for what policy allows without anybody's approval; a refusal, and no request, where it asks for one. */
  standingGrant(wanted: Ask): Promise<Answered | Refused> {
    return this.ask(wanted, { standing: true })
  }

  async vote(cast: Cast): Promise<Counted | Refused> {
    const counted = await this.#act(tx => vote(this.#ground, tx, cast))
    if (!counted.refused || counted.code === 'conflict') this.#ports.onChanged?.(cast.request_id)
    return counted
  }

  /** Answers a review: what was done under a grant was looked at. */
  async answerReview(looked: Looked): Promise<Reviewed | Refused> {
    const reviewed = await this.#act(tx => answerReview(this.#ground, tx, looked))
    if (!reviewed.refused) this.#ports.onChanged?.(reviewed.review.request_id)
    return reviewed
  }

  /** Takes a question back: one's own, or with the Permit of `admin` for `requests.cancel` anybody's. */
  async cancel(wanted: {
    request_id: string
    by: SubjectFacts
    permit?: Permit | null
  }): Promise<{ refused: false; request: RequestRow } | Refused> {
    const { request_id, by, permit } = wanted
    const done = await this.#act(async tx => {
      const [request] = await tx.select().from(requests).where(eq(requests.id, request_id)).for('no key update')
      if (request === undefined) return refuse('not_found', 'there is no such request')
      if (by.id !== request.subject_id && !permits(permit, cancelCall, by))
        return refuse('policy_denied', 'only who asked may cancel a request', 'deny it, if you are an approver')
      if (request.state !== 'pending')
        return refuse(
          'conflict',
          `this request is ${request.state} already`,
          'give the grant back instead, if there is one',
        )
      const now_ms = await clock(tx)
      if (request.expires_at.getTime() <= now_ms)
        return refuse('gone', 'this request expired unanswered', 'nothing is left to cancel')
      await closeRequest(this.#ground, tx, request, {
        state: 'cancelled',
        by: by.id,
        outcome: `cancelled by ${by.name}`,
        now_ms,
      })
      return { refused: false as const, request: { ...request, state: 'cancelled' as const } }
    })
    if (!done.refused) this.#ports.onChanged?.(request_id)
    return done
  }

  /** Ends a grant now: one's own, or with the Permit of `admin` for `grants.revoke` anybody's. */
  async revoke(wanted: {
    grant_id: string
    by: SubjectFacts
    reason: string
    permit?: Permit | null
  }): Promise<{ refused: false; grant: EndedGrant } | Refused> {
    const problem = reasonProblem(wanted.reason)
    if (problem !== undefined) return refuse('bad_request', problem)
    const { by, permit } = wanted
    const done = await this.#act(async tx => {
      const [grant] = await tx.select().from(grants).where(eq(grants.id, wanted.grant_id)).for('no key update')
      if (grant === undefined) return refuse('not_found', 'there is no such grant')
      const permitted = permits(permit, revokeCall, by)
      if (by.id !== grant.subject_id && !permitted)
        return refuse('policy_denied', 'this grant is not yours, and no policy lets you revoke it')
      const now_ms = await clock(tx)
      if (grant.ended_at !== null || grant.ends_at.getTime() <= now_ms)
        return refuse('gone', 'this grant has ended already', 'nothing is left to revoke')
      const decision_id = permitted && permit ? permit.decision_id : null
      return {
        refused: false as const,
        grant: await revokeGrant(this.#ground, tx, grant, { by: by.id, reason: wanted.reason, now_ms, decision_id }),
      }
    })
    if (!done.refused) this.#ports.onGrantEnded?.(done.grant)
    return done
  }

  /** Ends what is over by the clock. Call it each second or so; any number of processes may. @returns how many rows. */
  async expireDue(): Promise<number> {
    let swept = 0
    for (let more = true; more; ) {
      const expired = await this.#act(tx => expireRequests(this.#ground, tx))
      const forsaken = await this.#act(tx => endForsaken(this.#ground, tx))
      const unused = await this.#act(tx => endUnused(this.#ground, tx))
      const requests = [...expired, ...forsaken, ...unused]
      const ended = await this.#act(tx => endGrants(this.#ground, tx))
      const late = await this.#act(tx => remindReviews(this.#ground, tx))
      for (const id of requests) this.#ports.onChanged?.(id)
      for (const grant of ended) this.#ports.onGrantEnded?.(grant)
      for (const review of late) this.#ports.onChanged?.(review.request_id)
      swept += requests.length + ended.length + late.length
      more =
        [expired, forsaken, unused].some(page => page.length === sweepPage) ||
        ended.length === sweepPage ||
        late.length === reviewPage
    }
    return swept
  }

  /**
   * Judges live grants and open requests again, of one subject or of all: after a new revision, or when groups changed.
   * What is no longer allowed ends now.
   */
  async redecideAll(only: { subject_id?: string } = {}): Promise<{ revoked: EndedGrant[]; changed: string[] }> {
    const revoked: EndedGrant[] = []
    const changed: string[] = []
    if (this.#ground.resources.version === null) return { revoked, changed } // no policy here yet: nothing to judge by
    for (const id of await suspectGrants(this.#ground, only.subject_id)) {
      const ended = await this.#act(tx => redecideGrant(this.#ground, tx, id))
      if (ended === undefined) continue
      revoked.push(ended)
      this.#ports.onGrantEnded?.(ended)
    }
    for (const id of await this.#pending(only.subject_id)) {
      if (!(await this.#act(tx => redecideRequest(this.#ground, tx, id)))) continue
      changed.push(id)
      this.#ports.onChanged?.(id)
    }
    return { revoked, changed }
  }

  /** The grants that cover this instant, with their requests and votes; the one that ends last first. */
  async accessFacts(key: AccessKey, tx?: Tx): Promise<Cover[]> {
    return (await loadCovers(tx ?? this.#ground.database.db, [key])).get(keyText(key)) ?? []
  }

  async #pending(subject_id: string | undefined): Promise<string[]> {
    const rows = await this.#ground.database.db
      .select({ id: requests.id })
      .from(requests)
      .where(
        and(eq(requests.state, 'pending'), subject_id === undefined ? undefined : eq(requests.subject_id, subject_id)),
      )
      .orderBy(asc(requests.id))
    return rows.map(row => row.id)
  }

  #act<T>(run: (tx: Tx) => Promise<T>): Promise<T> {
    return this.#ground.database.db.transaction(run)
  }
}

/** Whether this is the Permit of this very call by this very person. */
export function permits(permit: Permit | null | undefined, call: string, by: SubjectFacts): boolean {
  return Permit.is(permit) && permit.point === 'admin' && permit.call === call && permit.subject_id === by.id
}
