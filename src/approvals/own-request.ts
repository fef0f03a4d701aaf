import type { Tx } from '../db/database.ts'
import { holdersOf } from '../identity/holders.ts'
import type { Cast, Question } from './question.ts'
import { requestersOf } from './question.ts'
import { type Refused, refuse } from './refusal.ts'

/**
 * What keeps this person from answering, whatever policy says.
 * INVARIANT: nobody answers what they asked themselves: not through another door, not for a machine whose token they
 * issued, and not by such a machine.
 */
export async function problemWith(tx: Tx, q: Question, cast: Cast): Promise<Refused | undefined> {
  const { approver } = cast
  const { request, recorded } = q
  const acting = [approver.id, approver.on_behalf_of]
  const asking = requestersOf(q)
  if (acting.some(id => id !== null && asking.includes(id)))
    return refuse(
      'policy_denied',
      'nobody answers a request of their own, through whatever door',
      'ask another approver',
    )
  const askers = await holdersOf(tx, asking, request.created_at)
  for (const holder of await holdersOf(tx, acting, request.created_at)) {
    if (!askers.has(holder)) continue
    const message =
      'whoever issued the API token of a machine answers nothing that it asks, and it nothing that they ask'
    return refuse('policy_denied', message, 'ask another approver')
  }
  if (cast.expected_hash !== undefined && cast.expected_hash !== request.hash)
    return refuse('conflict', 'what you saw is not what this request asks for')
  if (recorded.some(vote => vote.approver === approver.id)) {
    return refuse(
      'conflict',
      'you have answered this request already',
      'one person has one vote: another approver must answer',
    )
  }
  return undefined
}
