import type { Me, RequestEntry, ReviewEntry } from './types.ts'

/** The stage that answers now, or undefined when nobody has to. */
export function stageOf(request: RequestEntry): number | undefined {
  if (request.state !== 'pending') return undefined
  const stage = request.terms?.stages.findIndex(
    ({ quorum }, place) => request.votes.filter(v => v.stage === place && v.answer === 'approve').length < quorum,
  )
  return stage === -1 ? undefined : stage
}

/**
 * Whether this person is among those who answer now. It decides what a page shows first, never what somebody may do:
 * policy decides that at the click.
 */
export function waitsForMe(request: RequestEntry, me: Me): boolean {
  const stage = stageOf(request)
  if (stage === undefined || request.subject.id === me.subject.id) return false
  if (request.votes.some(v => v.approver.id === me.subject.id)) return false
  const approvers = request.terms?.stages[stage]?.approvers ?? []
  return approvers.includes(me.subject.id) || me.subject.groups.some(group => approvers.includes(group))
}

/** Who answers now, as people say it: `1 of dbas`, or `dbas` where one of them is enough. */
export function whoAnswers(request: RequestEntry): string {
  const stage = request.terms?.stages[stageOf(request) ?? 0]
  if (stage === undefined) return 'an approver'
  const names = stage.approvers.join(', ')
  return stage.quorum === 1 ? names : `${stage.quorum} of ${names}`
}

/** Whether this person is among those who are to look at it. Policy decides at the click. */
export function mayReview(review: ReviewEntry, me: Me): boolean {
  const { id, groups } = me.subject
  if (review.answer !== null || review.subject.id === id || review.on_behalf_of === id) return false
  return [id, ...groups].some(name => review.reviewers.includes(name))
}
