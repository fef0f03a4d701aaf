import { newId } from '../../src/ids.ts'
import type { Decision } from '../../src/policy/decision.ts'
import type { Engine } from '../../src/policy/engine.ts'
import type { Input, Point, Result } from '../../src/policy/points.ts'

/** An engine whose answers a test gives; what it was asked is kept. The real one is tested in test/policy. */
export class GivenEngine {
  readonly asked: { point: Point; input: unknown }[] = []
  answer: (point: Point, input: unknown) => unknown = () => null

  readonly decide = (<P extends Point>(
    point: P,
    input: Input<P>,
    about: { subject_id?: string | null; session_id?: string | null } = {},
  ) => {
    if (point !== 'decision_log') this.asked.push({ point, input })
    const result = (point === 'decision_log' ? null : this.answer(point, input)) as
      | (Result<P> & { effect?: 'allow' | 'deny' })
      | null
    const decision: Decision<P> = {
      id: newId('dec'),
      point,
      at_ms: Date.now(),
      effect: result === null ? 'deny' : (result.effect ?? 'data'),
      code: result === null ? 'policy_undefined' : 'policy',
      reasons:
        result?.effect === 'deny' ? [{ rule: 'test.no', message: 'this is not yours', remedy: 'ask an auditor' }] : [],
      result,
      generation: null,
      commit: 'c0ffee',
      digest: 'd1ce',
      input: '{}',
      input_digest: 'x',
      about: {
        subject_id: about.subject_id ?? null,
        resource: null,
        session_id: about.session_id ?? null,
        request_id: null,
      },
    }
    return { decision, permit: null }
  }) as Engine['decide']
}
