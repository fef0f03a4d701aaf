import type { FastifyRequest } from 'fastify'
import type { Queryable } from '../db/database.ts'
import { getDecision } from '../policy/log/decision-store.ts'
import type { RouteGuard } from './guard.ts'

/** Of a call about the one decision that the path names: it is the caller's own where it is about the caller. */
export function ofOneDecision(db: Queryable, call: string): RouteGuard {
  const idOf = (request: FastifyRequest) => (request.params as { id: string }).id
  return {
    point: 'admin',
    call,
    target: request => ({ id: idOf(request) }),
    own: async (request, caller) => (await getDecision(db, idOf(request)))?.subject_id === caller.facts.id,
  }
}
