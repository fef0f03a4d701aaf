import type { FastifyRequest } from 'fastify'
import { Type as T } from 'typebox'
import { timeFacts } from '../policy/time.ts'
import type { BaseDeps } from './deps.ts'
import { callerOf } from './guard.ts'

/** Keyset pages: ids sort by time, and the cursor is the id of the last item. */
export const pageQuery = {
  limit: T.Optional(T.Integer({ minimum: 1, maximum: 500 })),
  cursor: T.Optional(T.String({ maxLength: 64, pattern: '^[a-z]{3}_[0-9a-hjkmnp-tv-z]{26}$' })),
}
export const defaultLimit = 100

/** The last instant (ms) that a call may name: the end of the year 9999, which every clock and column can hold. */
export const lastInstant_ms = 253_402_300_799_999
export const Instant = T.Optional(T.Integer({ minimum: 0, maximum: lastInstant_ms }))

export function pageOf<Item extends { readonly id: string }>(
  items: Item[],
  limit: number,
): { items: Item[]; next: string | null } {
  return { items, next: items.length < limit ? null : items.at(-1)!.id }
}

/**
 * Whether policy lets the caller see what is not theirs, in a list where everybody sees their own. Only an allow widens
 * the list; the decision is in the log like any other.
 */
export function seesAll(deps: BaseDeps, request: FastifyRequest, call: string): boolean {
  const { decision, permit } = deps.engine.decide('admin', {
    subject: callerOf(request).facts,
    call,
    target: {},
    own: false,
    time: timeFacts(deps.now(), deps.config.zone),
  })
  return permit !== null && deps.decisions.append(decision)
}

/** How an act reaches us, in the words of requests and votes: a token is the API, the others are what people use. */
export function clientOf(request: FastifyRequest): { address: string; application: string; via: string } {
  const { via } = callerOf(request)
  const application = (request.headers['user-agent'] ?? '').replace(/[^\x20-\x7e]/g, '?').slice(0, 200)
  return { address: request.ip, application, via: via === 'token' ? 'api' : via }
}
