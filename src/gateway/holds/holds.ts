import {
  beatHolds,
  type HoldAsked,
  placeHold,
  readHolds,
  releaseHold,
  tellRefused,
  withdrawHold,
} from '../../approvals/hold.ts'
import { newId } from '../../ids.ts'
import { logger } from '../../log.ts'
import { Rounds } from '../../rounds.ts'
import type { GatewayGround } from '../ground.ts'
import type { LiveSession } from '../live-session.ts'
import { type HeldGate, type HeldStore, WaitingAction } from './waiting-action.ts'

const log = logger('gateway')
const most = { session: 8, process: 500, hour: 60 } as const
const hourMs = 3_600_000

/** What is written down of a hold besides what this process adds. */
export type Placed = Omit<HoldAsked, 'id' | 'process_id'>

/**
 * The actions of this process that wait for approvers. What crosses to control is rows and notices: this side writes its
 * holds, says each second that it waits, and reads the answers, at the latest a second after they were given.
 */
export class Holds implements HeldStore, Disposable {
  readonly #ground: Pick<GatewayGround, 'database' | 'notices' | 'audit' | 'decisionLog' | 'process_id' | 'origin'>
  readonly #waiting = new Map<string, WaitingAction>()
  /** Written down already: approvers see them. */
  readonly #placed = new Set<string>()
  /** Given up here and not yet in the database. */
  readonly #withdrawn = new Map<string, string>()
  readonly #started = new WeakMap<LiveSession, number[]>()
  #listening: Disposable | undefined
  readonly #rounds = new Rounds(() => this.#work())

  constructor(ground: Pick<GatewayGround, 'database' | 'notices' | 'audit' | 'decisionLog' | 'process_id' | 'origin'>) {
    this.#ground = ground
  }

  start(): void {
    this.#listening = this.#ground.notices.listen('requests', payload => this.#told(payload))
  }

  [Symbol.dispose](): void {
    this.#listening?.[Symbol.dispose]()
    for (const hold of [...this.#waiting.values()]) hold.withdraw('the gateway is stopping')
  }

  /** What was given up is written down, as far as the database can be reached. */
  async close(): Promise<void> {
    this[Symbol.dispose]()
    await this.#rounds.run()
  }

  get origin(): string {
    return this.#ground.origin
  }

  get size(): number {
    return this.#waiting.size
  }

  /** Why nothing more of this session may wait now. */
  whyNot(session: LiveSession): string | undefined {
    if (this.#waiting.size >= most.process) return 'too many actions wait for approvals here'
    const own = [...this.#waiting.values()].filter(hold => hold.session === session).length
    if (own >= most.session) return `${own} actions of this session wait for approvals already`
    const recent = this.#recent(session)
    if (recent.length >= most.hour)
      return `${recent.length} actions of this session asked for approvals within the hour`
    return undefined
  }

  #recent(session: LiveSession): number[] {
    const since = performance.now() - hourMs
    return (this.#started.get(session) ?? []).filter(at => at > since)
  }

  place(gate: HeldGate, placed: Placed): WaitingAction {
    const hold = new WaitingAction(newId('req'), gate, this)
    this.#started.set(gate.session, [...this.#recent(gate.session), performance.now()])
    this.#waiting.set(hold.id, hold)
    void this.#place(hold, placed)
    return hold
  }

  async #place(hold: WaitingAction, placed: Placed): Promise<void> {
    const { database, decisionLog, process_id } = this.#ground
    try {
      await decisionLog.flush() // whoever is shown the hold is shown the rule that asks
      const why = await database.db.transaction(tx =>
        hold.isOver
          ? Promise.resolve('nobody waits for it any more')
          : placeHold(this.#ground, tx, { ...placed, id: hold.id, process_id }),
      )
      if (why !== undefined) {
        this.#withdrawn.delete(hold.id)
        return hold.failed(why)
      }
      this.#placed.add(hold.id)
      if (hold.isOver) void this.#rounds.run()
      else hold.placed()
    } catch (error) {
      log.error({ err: error, session_id: placed.session_id }, 'an action that must wait could not be written down')
      this.#withdrawn.delete(hold.id)
      hold.failed('the approval could not be asked for')
    }
  }

  release(id: string): Promise<string | undefined> {
    return this.#ground.database.db.transaction(tx => releaseHold(this.#ground, tx, id))
  }

  withdrawn(id: string, why: string): void {
    this.#withdrawn.set(id, why)
    void this.#rounds.run()
  }

  refused(id: string, why: string): void {
    this.#ground.database.db
      .transaction(tx => tellRefused(this.#ground, tx, id, why))
      .catch(error => {
        log.warn({ err: error, request_id: id }, 'a refused action could not be written down; trying again')
        this.#placed.add(id)
        this.#withdrawn.set(id, why)
      })
  }

  settled(hold: WaitingAction): void {
    this.#waiting.delete(hold.id)
    if (!this.#withdrawn.has(hold.id)) this.#placed.delete(hold.id)
  }

  #told(payload: string | null): Promise<void> | undefined {
    if (this.#waiting.size === 0 && this.#withdrawn.size === 0) return undefined
    if (payload === null) return this.#rounds.run()
    const { id } = JSON.parse(payload) as { id?: unknown }
    return typeof id === 'string' && this.#waiting.has(id) ? this.#rounds.run() : undefined
  }

  async #work(): Promise<void> {
    try {
      await this.#withdrawAll()
      await this.#look()
    } catch (error) {
      log.warn({ err: error }, 'how actions that wait stand could not be read; trying again')
    }
  }

  async #withdrawAll(): Promise<void> {
    for (const [id, why] of [...this.#withdrawn]) {
      if (!this.#placed.has(id)) continue // it is being written down: `#place` comes back to it
      await this.#ground.database.db.transaction(async tx => {
        if (!(await withdrawHold(this.#ground, tx, id, why))) await tellRefused(this.#ground, tx, id, why)
      })
      this.#withdrawn.delete(id)
      this.#placed.delete(id)
    }
  }

  async #look(): Promise<void> {
    const ids = [...this.#waiting.keys()].filter(id => this.#placed.has(id))
    if (ids.length === 0) return
    const states = await this.#ground.database.db.transaction(async tx => {
      await beatHolds(tx, ids)
      return await readHolds(tx, ids)
    })
    for (const id of ids) {
      const state = states.get(id)
      if (state !== undefined) this.#waiting.get(id)?.look(state)
    }
  }
}
