import { canonical, type Json } from '../canonical.ts'
import type { Bundle } from './bundle.ts'
import { Refused } from './problem.ts'
import { isResult } from './results.ts'
import { sampleSubject } from './samples.ts'
import { timeFacts } from './time.ts'
import { Evaluator } from './wasm.ts'

/**
 * There is no built-in administrator: a first revision that locks everybody out would be the last one too.
 * @throws Refused
 */
export function demandFirstAdmins(bundle: Bundle, group: string): void {
  const evaluator = new Evaluator(Buffer.from(bundle.wasm, 'base64'), canonical(bundle.data as Json))
  const subject = sampleSubject(group)
  const time = timeFacts(subject.groups_at_ms, 'UTC')
  const input = { call: 'policy.status', own: false, subject, target: {}, time }
  const answer = evaluator.evaluate('admin', canonical(input as Json))
  if (answer.ok && isResult('admin', answer.value) && answer.value.effect === 'allow') return
  throw new Refused([
    {
      code: 'first_admins',
      file: 'admin/admin.rego',
      message: `a first revision must allow the group ${group} (setting first_admins) the call policy.status: nobody could administer it otherwise`,
    },
  ])
}
