import { and, eq, isNull } from 'drizzle-orm'
import { permits } from '../approvals/approvals.ts'
import { reasonProblem } from '../approvals/bounds.ts'
import { clock } from '../approvals/clock.ts'
import { type Refused, refuse } from '../approvals/refusal.ts'
import type { Tx } from '../db/database.ts'
import type { Permit } from '../policy/permit.ts'
import type { SubjectFacts } from '../policy/points.ts'
import { Together } from '../together.ts'
import { type ConnectionClose, closeConnections, endSessions, type SessionEnd } from './end.ts'
import { liveMark, type Redecided, redecideLive, withoutGrant } from './live.ts'
import type { EndCode, EndedSession, SessionGround, SessionPorts } from './ports.ts'
import { type OpenedConnection, type Presented, present } from './present.ts'
import { sessions } from './schema.ts'
import {
  endDueSession,
  endUnusedTickets,
  listDueSessions,
  listLost,
  orphanLeases,
  sessionsWithoutGrant,
  sweepPage,
} from './sweep.ts'

/** The `admin` call that lets somebody else than its holder end a session. */
export const endCall = 'sessions.end'

const oneTransaction = { most: 100, again: 'each' } as const

export class Sessions {
  readonly #ground: SessionGround
  readonly #ports: SessionPorts
  /** Session → what its last logged live decision stood on. */
  readonly #logged = new Map<string, string>()
  readonly #ends = new Together<SessionEnd, EndedSession | undefined>(
    ends => this.#act(async tx => endSessions(this.#ground.audit, tx, ends, await clock(tx))),
    oneTransaction,
  )
  readonly #closes = new Together<ConnectionClose, boolean>(
    closes => this.#act(async tx => closeConnections(this.#ground.audit, tx, closes, await clock(tx))),
    oneTransaction,
  )

  constructor(ground: SessionGround, ports: SessionPorts = {}) {
    this.#ground = ground
    this.#ports = ports
  }

  /** The gateway's entry, once the ticket's secret was proved. */
  present(presented: Presented): Promise<OpenedConnection | Refused> {
    return this.#act(tx => present(this.#ground, tx, presented))
  }

  /** Decides the live sessions of a process again, and moves the ends of those that go on. The caller ends the others. */
  async redecideLive(process_id: string): Promise<Redecided> {
    const redecided = await redecideLive(this.#ground, process_id, this.#logged)
    for (const kept of redecided.moved) {
      await this.#ground.database.db
        .update(sessions)
        .set({ grant_id: kept.grant_id, ends_at: new Date(kept.ends_at_ms) })
        .where(and(eq(sessions.id, kept.session_id), isNull(sessions.ended_at)))
    }
    return redecided
  }

  /** Differs from the last one when something that `redecideLive` reads has changed; cheap. */
  liveMark(process_id: string): Promise<string> {
    return liveMark(this.#ground, process_id)
  }

  /** @returns false when it was closed before. Those that come together are one transaction. */
  closeConnection(connection_id: string, reason: string): Promise<boolean> {
    return this.#closes.ask({ id: connection_id, reason })
  }

  /** Idempotent: undefined when it had ended before. Those that come together are one transaction. */
  async end(session_id: string, code: EndCode, reason: string, by?: string): Promise<EndedSession | undefined> {
    return this.#told(await this.#ends.ask({ id: session_id, code, reason, by }))
  }

  /** A person ends a session: their own, or with the Permit of `admin` for `sessions.end` anybody's. */
  async revoke(wanted: {
    session_id: string
    by: SubjectFacts
    reason: string
    permit?: Permit | null
  }): Promise<{ refused: false; session: EndedSession } | Refused> {
    const { session_id, by, permit } = wanted
    const problem = reasonProblem(wanted.reason)
    if (problem !== undefined) return refuse('bad_request', problem)
    const [session] = await this.#ground.database.db
      .select({ subject_id: sessions.subject_id, ended_at: sessions.ended_at })
      .from(sessions)
      .where(eq(sessions.id, session_id))
    if (session === undefined) return refuse('not_found', 'there is no such session')
    if (session.subject_id !== by.id && !permits(permit, endCall, by))
      return refuse('policy_denied', 'this session is not yours, and no policy lets you end it')
    const ended = await this.end(session_id, 'revoked', `ended by ${by.name}: ${wanted.reason}`, by.id)
    return ended === undefined
      ? refuse('gone', 'this session has ended already', 'nothing is left to end')
      : { refused: false, session: ended }
  }

  /** The sweeper of control: what is over by the clock, unused, idle or without a grant. Call it each second or so. */
  async sweep(): Promise<number> {
    let swept = 0
    for (let more = true; more; ) {
      const due = await listDueSessions(this.#ground)
      for (const row of due) this.#told(await this.#act(tx => endDueSession(this.#ground, tx, row)))
      const without = await this.#act(tx => sessionsWithoutGrant(tx))
      await Promise.all(
        without.map(({ id, revoke_reason }) => {
          const [code, reason] = withoutGrant(revoke_reason)
          return this.end(id, code, reason, 'time')
        }),
      )
      const unused = await this.#act(tx => endUnusedTickets(tx))
      swept += due.length + without.length + unused
      more = [due.length, without.length, unused].includes(sweepPage)
    }
    return swept
  }

  /**
   * Closes what dead processes left open. The sessions go on for who connects again through another process, and end
   * idle otherwise.
   */
  async reapDead(): Promise<number> {
    let reaped = 0
    for (;;) {
      const { connections, dead } = await listLost(this.#ground)
      const closed = await Promise.all(connections.map(id => this.closeConnection(id, 'its process was lost')))
      reaped += closed.filter(Boolean).length
      await this.#act(tx => orphanLeases(tx, dead))
      if (connections.length < sweepPage) return reaped
    }
  }

  #told(ended: EndedSession | undefined): EndedSession | undefined {
    if (ended !== undefined) this.#ports.onEnded?.(ended)
    return ended
  }

  #act<T>(run: (tx: Tx) => Promise<T>): Promise<T> {
    return this.#ground.database.db.transaction(run)
  }
}
