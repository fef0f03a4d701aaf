import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { newId } from '../../src/ids.ts'
import type { ApprovalTerms } from '../../src/policy/points.ts'
import { mayVote, tally } from '../../src/policy/votes.ts'
import { accessInput, engineer, engineOn, now } from './support.ts'

const stage = (approvers: string[], quorum = 1) => ({ approvers, channel: 'c', quorum })
const terms = (...stages: ApprovalTerms['stages']): ApprovalTerms => ({ stages, expires_s: 60 })
const vote = (approver: string, groups: string[] = ['dbas'], at = 0, answer = 'approve') => ({
  answer,
  approver,
  at_ms: now,
  groups,
  stage: at,
})

describe('votes', () => {
  test.each([
    ['one of the group suffices', terms(stage(['dbas'])), [vote('sub_a')], true],
    ['a named person suffices', terms(stage(['sub_a'])), [vote('sub_a', [])], true],
    ['nobody voted', terms(stage(['dbas'])), [], false],
    ['an empty list names nobody', terms(stage([])), [vote('sub_a', [''])], false],
    ['somebody of another group does not count', terms(stage(['dbas'])), [vote('sub_a', ['engineers'])], false],
    ['one person does not make a quorum of two', terms(stage(['dbas'], 2)), [vote('sub_a'), vote('sub_a')], false],
    ['two make a quorum of two', terms(stage(['dbas'], 2)), [vote('sub_a'), vote('sub_b')], true],
    ['the requester never counts', terms(stage(['dbas'])), [vote('sub_ada')], false],
    ['nor on whose behalf it is asked', terms(stage(['dbas'])), [vote('sub_boss')], false],
    ['the second stage waits', terms(stage(['dbas']), stage(['sec'])), [vote('sub_a')], false],
    ['the second stage alone does not do', terms(stage(['dbas']), stage(['sec'])), [vote('sub_s', ['sec'], 1)], false],
    ['both stages do', terms(stage(['dbas']), stage(['sec'])), [vote('sub_a'), vote('sub_s', ['sec'], 1)], true],
    [
      'one person does not do both stages',
      terms(stage(['dbas']), stage(['sec'])),
      [vote('sub_a', ['dbas', 'sec']), vote('sub_a', ['dbas', 'sec'], 1)],
      false,
    ],
    ['a denial fails it all', terms(stage(['dbas'])), [vote('sub_a'), vote('sub_b', ['dbas'], 0, 'deny')], false],
  ])('%s', (_, asked, votes, satisfied) => {
    expect(tally(asked, votes, ['sub_ada', 'sub_boss']).satisfied).toBe(satisfied)
  })

  test('the tally names the first stage that waits and how many it misses', () => {
    expect(tally(terms(stage(['dbas'], 3), stage(['sec'])), [vote('sub_a')], [])).toEqual({
      satisfied: false,
      denied: false,
      stage: 0,
      missing: 2,
    })
  })

  test('whatever votes there are, the requester alone never satisfies', () => {
    const votes = fc.array(
      fc.record({
        answer: fc.constant('approve'),
        approver: fc.constant('sub_ada'),
        at_ms: fc.constant(1),
        groups: fc.constant<string[]>(['dbas', 'sec']),
        stage: fc.nat(2),
      }),
    )
    fc.assert(fc.property(votes, given => !tally(terms(stage(['dbas']), stage(['sec'])), given, ['sub_ada']).satisfied))
  })

  test('an ask becomes an allow with a Permit when the votes satisfy the terms of now, and only then', async () => {
    const engine = await engineOn()
    const open = engine.decide('access', accessInput())
    expect([open.decision.effect, open.decision.code, open.permit]).toEqual(['ask', 'policy', null])
    const done = engine.decide('access', accessInput({ stage: 'connect', votes: [vote('sub_dba')] }))
    expect([done.decision.effect, done.decision.result?.effect, done.permit?.role, done.permit?.call]).toEqual([
      'allow',
      'ask',
      'reader',
      'connect',
    ])
    const own = engine.decide('access', accessInput({ stage: 'connect', votes: [vote('sub_ada')] }))
    expect([own.decision.effect, own.decision.code, own.permit]).toEqual(['ask', 'votes_unsatisfied', null])
    const machine = accessInput({
      stage: 'connect',
      subject: { ...engineer, kind: 'machine', on_behalf_of: 'sub_dba' },
      votes: [vote('sub_dba')],
    })
    expect(engine.decide('access', machine).permit).toBeNull()
  })

  test('the right to vote is by id or group, whole', () => {
    expect(mayVote(['dbas'], { id: 'sub_a', groups: ['dbas2', 'DBAS'] })).toBe(false)
    expect(mayVote(['sub_a'], { id: 'sub_a', groups: [] })).toBe(true)
    expect(mayVote([], { id: '', groups: [''] })).toBe(false)
  })
})

describe('AP6: names of groups', () => {
  test('a group that is called like an approver does not make its members that approver', () => {
    const boss = newId('sub')
    expect(mayVote([boss, 'leads'], { id: newId('sub'), groups: [boss] })).toBe(false)
    expect(mayVote([boss, 'leads'], { id: newId('sub'), groups: [boss, 'leads'] })).toBe(true)
    expect(mayVote([boss], { id: boss, groups: [] })).toBe(true)
  })
})
