import type { Tx } from '../db/database.ts'
import { holdersOf } from '../identity/holders.ts'
import type { SubjectFacts } from '../policy/points.ts'
import type { Cast, Question } from './question.ts'
import { type Refused, refuse } from './refusal.ts'
import type { RequestRow } from './settle.ts'

/**
 * What keeps this person from answering for what was asked, whatever policy says.
 * INVARIANT: nobody answers what they asked themselves, and nobody reviews what they did: not through another door, not
 * for a machine whose token they issued, not by such a machine, and not with another account of their address.
 */
export async function ownProblem(
  tx: Tx,
  who: Pick<SubjectFacts, 'id' | 'on_behalf_of'>,
  request: Pick<RequestRow, 'subject_id' | 'on_behalf_of' | 'created_at'>,
  what: { readonly own: string; readonly machine: string; readonly remedy: string },
): Promise<Refused | undefined> {
  const acting = [who.id, who.on_behalf_of]
  const asking = [request.subject_id, request.on_behalf_of]
  if (acting.some(id => id !== null && asking.includes(id))) return refuse('policy_denied', what.own, what.remedy)
  const askers = await holdersOf(tx, asking, request.created_at)
  for (const holder of await holdersOf(tx, acting, request.created_at))
    if (askers.has(holder)) return refuse('policy_denied', what.machine, what.remedy)
  return undefined
}

/** What keeps this person from voting, whatever policy says. */
export async function problemWith(tx: Tx, q: Question, cast: Cast): Promise<Refused | undefined> {
  const { approver } = cast
  const { request, recorded } = q
  const own = await ownProblem(tx, approver, request, {
    own: 'nobody answers a request of their own, through whatever door',
    machine:
      'whoever issued the API token of a machine answers nothing that it asks, and it nothing that they ask; accounts of one address are one person',
    remedy: 'ask another approver',
  })
  if (own !== undefined) return own
  if (cast.expected_hash !== undefined && cast.expected_hash !== request.hash)
    return refuse('conflict', 'what you saw is not what this request asks for')
  if (recorded.some(vote => vote.approver === approver.id)) {
    return refuse(
      'conflict',
      'you have answered this request already',
      'one person has one vote: another approver must answer',
    )
  }
  // INVARIANT: two approvers are two persons, whatever accounts and machines they have.
  const acting = [approver.id, approver.on_behalf_of]
  const behind = await holdersOf(tx, acting, request.created_at)
  const answered = recorded.map(vote => vote.approver)
  for (const person of await holdersOf(tx, answered, request.created_at))
    if (behind.has(person))
      return refuse(
        'conflict',
        'the person behind this account has answered this request already',
        'another person must answer',
      )
  return undefined
}
