import { isDeepStrictEqual } from 'node:util'
import { type Refused, refuse, refusedBy } from '../approvals/refusal.ts'
import { SallyportError } from '../errors.ts'
import { logger } from '../log.ts'
import type { Decision } from '../policy/decision.ts'
import { Permit } from '../policy/permit.ts'
import type { Point, Result } from '../policy/points.ts'
import { sessionFacts } from '../policy/question.ts'
import { resourceFacts } from '../policy/resources.ts'
import type { EndCode } from '../sessions/ports.ts'
import type { OpenedConnection } from '../sessions/present.ts'
import { ConnectionGate } from './connection-gate.ts'
import type { GatewayGround } from './ground.ts'
import type { Holds } from './holds/holds.ts'
import { extendLease, mintLease } from './lease.ts'
import { LiveSession } from './live-session.ts'
import type { ModerationTerms } from './moderation/moderation.ts'
import type { ListeningProtocol, Opened, PresentedTicket, Protocol, Refusal, Resource } from './protocol.ts'
import { GuardedTarget } from './target.ts'

const log = logger('gateway')

/** The sessions that this process serves, by id. */
export interface LiveSessions {
  get(id: string): LiveSession | undefined
  add(session: LiveSession): void
  remove(session: LiveSession): void
  joined(session: LiveSession, generation: number | null): Promise<void>
  onEnd(session: LiveSession, code: EndCode, refusal: Refusal): void
}

export interface Client {
  readonly address: string
  readonly application: string
  readonly facts?: Record<string, string>
}

/**
 * From a proved ticket to an open connection: `access` decided, session opened or joined, masking and recording decided,
 * recorder open, credential made. Whatever fails on the way closes what was opened before it.
 */
export class Opening {
  readonly #ground: GatewayGround
  readonly #live: LiveSessions
  readonly #holds: Holds
  /** Connections of one session that come together wait for the first one's recorder and credential. */
  readonly #turns = new Map<string, Promise<unknown>>()

  constructor(ground: GatewayGround, live: LiveSessions, holds: Holds) {
    this.#ground = ground
    this.#holds = holds
    this.#live = live
  }

  /** `wire` serves the connection; the resource is of its protocol, or of one that rides on it. */
  async open(wire: ListeningProtocol, ticket: PresentedTicket, client: Client): Promise<Opened | Refusal> {
    let presented: OpenedConnection | undefined
    try {
      const unavailable = this.#ground.journal.unavailable
      if (unavailable !== undefined)
        return plain(refuse('recording_unavailable', `no session can be recorded now: ${unavailable}`))
      const answer = await this.#ground.sessions.present({
        ticket_id: ticket.id,
        client: { address: client.address, application: client.application, via: wire.name },
        ...(client.facts === undefined ? {} : { client_facts: client.facts }),
        process_id: this.#ground.process_id,
      })
      if (answer.refused) return plain(answer)
      presented = answer
      const admitted = await this.#inTurn(answer.session.id, () => this.#admit(wire, answer))
      if ('refused' in admitted) return await this.#giveBack(presented, admitted)
      const opened = this.#connection(answer, admitted, client)
      await this.#live.joined(admitted, answer.decision.generation)
      return opened
    } catch (error) {
      const refusal = faultRefusal(error)
      if (refusal.code === 'internal' || !(error instanceof SallyportError))
        log.error({ err: error }, 'a connection could not be opened')
      return presented === undefined ? refusal : await this.#giveBack(presented, refusal)
    }
  }

  async #giveBack(presented: OpenedConnection, refusal: Refusal): Promise<Refusal> {
    await this.#ground.sessions
      .closeConnection(presented.connection_id, refusal.message)
      .catch(error =>
        log.error({ err: error }, 'a refused connection could not be closed in the database; the sweeper does it'),
      )
    return refusal
  }

  #inTurn<T>(key: string, act: () => Promise<T>): Promise<T> {
    const turn = (this.#turns.get(key) ?? Promise.resolve()).then(act, act)
    const settled = turn.then(
      () => {},
      () => {},
    )
    this.#turns.set(key, settled)
    void settled.then(() => {
      if (this.#turns.get(key) === settled) this.#turns.delete(key)
    })
    return turn
  }

  /** The session in this process, with a recorder and a credential. */
  async #admit(wire: ListeningProtocol, presented: OpenedConnection): Promise<LiveSession | Refusal> {
    const { session, subject } = presented
    const resource = this.#ground.resources.get(session.resource)
    if (resource === undefined) return plain(refuse('not_found', `policy no longer declares ${session.resource}`))
    const problems = this.#ground.registry.problems(resource)
    if (problems.length > 0) {
      return plain(
        refuse(
          'unsupported',
          `${resource.name} cannot be served: ${problems.join('; ')}`,
          'correct resources/data.yaml',
        ),
      )
    }
    const protocol = this.#protocolOf(resource)
    if (this.#ground.registry.wireOf(protocol) !== wire)
      return plain(
        refuse('conflict', `${resource.name} is reached in another way since this ticket was made`, 'get a new one'),
      )
    const about = sessionFacts({ subject, resource: resourceFacts(resource), role: session.role })
    const masking = await this.#ask('masking', about, session.id)
    if ('refused' in masking) return masking
    const recording = await this.#ask('recording', about, session.id)
    if ('refused' in recording) return recording
    if (masking.result.rules.length > 0 && !protocol.capabilities.mask) {
      return plain(refuse('unsupported', `policy asks to mask, which ${protocol.name} cannot do in this build`))
    }
    let live = this.#live.get(session.id)
    const fits = live !== undefined && !live.isEnded && isDeepStrictEqual(live.resource, resource)
    if (live === undefined || !fits) {
      if (live !== undefined && !live.isEnded) {
        return plain(
          refuse(
            'conflict',
            `${resource.name} was declared anew while this session lives`,
            'close its connections, then connect again',
          ),
        )
      }
      live = new LiveSession({
        id: session.id,
        resource,
        about,
        settings: recording.result,
        rules: masking.result.rules,
        maskKey: this.#ground.maskKey,
        moderation: moderationTerms(presented),
        onEnd: (ending, code, refusal) => this.#live.onEnd(ending, code, refusal),
      })
    } else live.moderation.renew(moderationTerms(presented))
    live.ends_at_ms = session.ends_at.getTime()
    if (live.recorder === null) {
      const { id, name } = subject
      const recorder = await this.#ground.journal.open({
        session_id: session.id,
        subject_id: id,
        subject_name: name,
        resource: resource.name,
        labels: resource.labels,
        role: session.role,
        protocol: protocol.name,
        settings: live.settings,
        decision_id: recording.decision.id,
      })
      live.recorder = recorder
      const opened = live
      recorder.onLost(reason => void opened.lostRecorder(reason))
    }
    this.#live.add(live)
    try {
      const why = await live.newRules(masking.result.rules)
      if (why !== undefined)
        return plain(
          refuse(
            'conflict',
            `new masking rules do not fit what the session does: ${why}`,
            'close its other connections',
          ),
        )
      live.minted ??= await mintLease(this.#ground, protocol, live, presented)
      await extendLease(this.#ground, live)
      if (live.isEnded) return live.refusal!
      return live
    } catch (error) {
      await this.#rest(live, (error as Error).message)
      throw error
    }
  }

  async #ask<P extends 'masking' | 'recording'>(
    point: P,
    about: LiveSession['about'],
    session_id: string,
  ): Promise<{ readonly decision: Decision; readonly result: Result<P> } | Refusal> {
    const { decision, permit } = this.#ground.engine.decide<Point>(point, about, { session_id })
    await this.#ground.decisionLog.insert(this.#ground.database.db, decision)
    if (!Permit.is(permit) || decision.result === null) return plain(refusedBy(decision))
    return { decision, result: decision.result as Result<P> }
  }

  #connection(presented: OpenedConnection, live: LiveSession, client: Client): Opened {
    const { connection_id, session, subject, permit } = presented
    const { engine, decisionLog, targets, sessions, registry, handlers } = this.#ground
    const ended = new AbortController()
    const gate = new ConnectionGate(live, connection_id, {
      engine,
      append: decision => decisionLog.append(decision),
      holds: this.#holds,
      ended: ended.signal,
      client: { address: client.address, application: client.application, via: live.resource.protocol },
      access_decision_id: presented.decision.id,
    })
    live.connections.set(connection_id, { id: connection_id, gate, ended })
    if (live.isEnded) ended.abort(live.refusal)
    gate.record('connected', {
      protocol: live.resource.protocol,
      resource: live.resource.name,
      role: session.role,
      address: client.address,
      application: client.application,
      decision: presented.decision.id,
    })
    let closing: Promise<void> | undefined
    const close = async (reason: string): Promise<void> => {
      gate.finish(reason)
      live.connections.delete(connection_id)
      if (live.connections.size === 0) await this.#inTurn(session.id, () => this.#rest(live, reason))
      await sessions
        .closeConnection(connection_id, reason)
        .catch(error =>
          log.warn({ err: error, connection_id }, 'a closed connection could not be written down; the sweeper does it'),
        )
    }
    return {
      refused: false,
      connection_id,
      session_id: session.id,
      subject,
      resource: live.resource,
      role: session.role,
      permit,
      target: new GuardedTarget(registry.onTheWire(live.resource), targets),
      credential: live.minted!,
      gate,
      moderation: live.moderation,
      commands: handlers.get(live.resource.protocol) ?? null,
      ended: ended.signal,
      close: reason => (closing ??= close(reason)),
    }
  }

  #protocolOf(resource: Resource): Protocol {
    return this.#ground.registry.get(resource.protocol)!
  }

  /** Nobody is connected here any more: the part of the recording ends; the credential stays until the session does. */
  async #rest(live: LiveSession, reason: string): Promise<void> {
    if (live.connections.size > 0) return
    const { recorder } = live
    live.recorder = null
    await recorder?.close(live.refusal?.message ?? reason)
    if (live.isEnded) this.#live.remove(live)
  }
}

/** What a protocol is told: no more than a refusal's words. */
export function plain(refused: Refused): Refusal {
  const { code, message, remedy, decision_id } = refused
  return { refused: true, code, message, remedy, decision_id }
}

function moderationTerms({ decision, session }: OpenedConnection): ModerationTerms {
  return { moderators: decision.result?.session?.moderators ?? [], idle_s: session.idle_s }
}

function faultRefusal(error: unknown): Refusal {
  if (error instanceof SallyportError) {
    return { refused: true, code: error.code, message: error.message, remedy: error.remedy, decision_id: null }
  }
  return plain(refuse('internal', 'the gateway failed to open the session'))
}
