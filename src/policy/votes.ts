import type { Static } from 'typebox'
import { isId } from '../ids.ts'
import type { ApprovalTerms, VoteFacts } from './points.ts'

type Vote = Static<typeof VoteFacts>

/** How far the recorded votes carry the terms that policy returns now. `stage` is the first one (from 0) that still waits. */
export interface Tally {
  readonly satisfied: boolean
  readonly denied: boolean
  readonly stage: number
  readonly missing: number
}

/**
 * Whether this person may vote in this stage: an id or a group of theirs is named. An empty list names nobody, and a group
 * whose name is a subject's id passes for nobody.
 */
export function mayVote(
  approvers: readonly string[],
  approver: { readonly id: string; readonly groups: readonly string[] },
): boolean {
  return (
    approvers.includes(approver.id) || approver.groups.some(group => !isId('sub', group) && approvers.includes(group))
  )
}

/**
 * Counts votes against terms: stages in order, a quorum of distinct approvers in each, a person once in all of them.
 * INVARIANT: nobody in `requesters` (who asked, and on whose behalf) ever counts; one "deny" fails the whole request.
 */
export function tally(terms: ApprovalTerms, votes: readonly Vote[], requesters: readonly (string | null)[]): Tally {
  const used = new Set<string>()
  const denied = votes.some(vote => vote.answer !== 'approve')
  for (const [stage, { approvers, quorum }] of terms.stages.entries()) {
    let count = 0
    for (const vote of votes) {
      if (vote.stage !== stage || vote.answer !== 'approve') continue
      if (requesters.includes(vote.approver) || used.has(vote.approver)) continue
      if (!mayVote(approvers, { id: vote.approver, groups: vote.groups })) continue
      used.add(vote.approver)
      count++
    }
    if (count < quorum) return { satisfied: false, denied, stage, missing: quorum - count }
  }
  return { satisfied: !denied && terms.stages.length > 0, denied, stage: terms.stages.length, missing: 0 }
}
