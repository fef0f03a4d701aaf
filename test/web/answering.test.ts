import { expect, test } from 'vitest'
import { stageOf, waitsForMe, whoAnswers } from '../../src/web/answering.ts'
import type { Me, RequestEntry } from '../../src/web/types.ts'

const me = (id: string, ...groups: string[]): Me => ({ subject: { id, name: id, email: null, groups }, slack: null })
const stages = [
  { approvers: ['dbas'], quorum: 1, channel: 'c' },
  { approvers: ['security-admins', 'sub_boss'], quorum: 2, channel: 'c' },
]
const vote = (id: string, stage: number) => ({
  approver: { id, name: id },
  answer: 'approve',
  stage,
  at_ms: 0,
  via: 'web',
})
const request = (votes: RequestEntry['votes'] = [], state = 'pending'): RequestEntry => ({
  id: 'req_1',
  kind: 'access',
  hold: null,
  hash: '',
  subject: { id: 'sub_erin', name: 'Erin', email: null },
  on_behalf_of: null,
  resource: 'shop-db',
  role: 'admin',
  duration_s: 60,
  reason: '',
  ticket_ref: null,
  state,
  created_at_ms: 0,
  expires_at_ms: 0,
  ended_at_ms: null,
  outcome: null,
  terms: { stages },
  votes,
  grant: null,
})

test('a request waits for the approvers of its first open stage, and for nobody else', () => {
  expect(waitsForMe(request(), me('sub_dana', 'dbas'))).toBe(true)
  expect(waitsForMe(request(), me('sub_sam', 'security-admins'))).toBe(false)
  expect(waitsForMe(request(), me('sub_ava', 'auditors'))).toBe(false)
  expect(whoAnswers(request())).toBe('dbas')
})

test('when a stage is through, the next one answers, by group or by id', () => {
  const second = request([vote('sub_dana', 0)])
  expect(stageOf(second)).toBe(1)
  expect(waitsForMe(second, me('sub_sam', 'security-admins'))).toBe(true)
  expect(waitsForMe(second, me('sub_boss'))).toBe(true)
  expect(whoAnswers(second)).toBe('2 of security-admins, sub_boss')
})

test('it never waits for who asked, nor for who has answered, nor when it has ended', () => {
  expect(waitsForMe(request(), me('sub_erin', 'dbas'))).toBe(false)
  expect(waitsForMe(request([vote('sub_sam', 1)]), me('sub_sam', 'dbas'))).toBe(false)
  expect(waitsForMe(request([], 'approved'), me('sub_dana', 'dbas'))).toBe(false)
})
