import { describe, expect, test } from 'vitest'
import type { Point } from '../../src/policy/points.ts'
import { accessInput, actionInput, engineer, rawEngine, shop } from './support.ts'

const action = (result: string) => ({ action: `package sallyport.action\nresult := ${result}` })

describe('odd shapes of a result', () => {
  test.each([
    [
      'two reasons with a number that is no integer',
      '{"effect": "allow", "reasons": [{"rule": "test.rule", "message": "a", "x": 1.5}, {"rule": "test.rule", "message": "b"}]}',
    ],
    [
      'a lone surrogate among several reasons',
      `{"effect": "allow", "reasons": [{"rule": "test.rule", "message": json.unmarshal(\`"\\ud800"\`)}, {"rule": "test.rule", "message": "b"}]}`,
    ],
    [
      'a lone surrogate in the only reason',
      `{"effect": "allow", "reasons": [{"rule": "test.rule", "message": json.unmarshal(\`"\\ud800"\`)}]}`,
    ],
    ['members behind __proto__', '{"__proto__": {"effect": "allow", "reasons": []}}'],
    ['a member __proto__ beside the others', '{"effect": "allow", "reasons": [], "__proto__": {"x": true}}'],
    [
      'a reason that inherits',
      '{"effect": "allow", "reasons": [{"__proto__": {"rule": "test.rule", "message": "m"}}]}',
    ],
    [
      'a depth of 3,000',
      'json.unmarshal(concat("", [concat("", ["[" | some _ in numbers.range(1, 3000)]), concat("", ["]" | some _ in numbers.range(1, 3000)])]))',
    ],
    [
      'more than is read',
      '{"effect": "allow", "reasons": [{"rule": "test.rule", "message": concat("", ["0123456789abcdef" | some _ in numbers.range(1, 300000)])}]}',
    ],
  ])('PO1: %s is a denial, never an exception', async (_, result) => {
    const engine = await rawEngine(action(result))
    const { decision, permit } = engine.decide('action', actionInput())
    expect(decision.effect).toBe('deny')
    expect(decision.code).toMatch(/^policy_(shape|fuel|memory|error)$/)
    expect(permit).toBeNull()
    expect(decision.result).toBeNull()
  })

  test('an odd data point gives no data', async () => {
    const engine = await rawEngine({
      masking: 'package sallyport.masking\nresult := {"__proto__": {"rules": []}}',
      recording: 'package sallyport.recording\nresult := {"__proto__": {"level": "full"}, "level": "metadata"}',
    })
    for (const point of ['masking', 'recording'] as Point[]) {
      const { decision, permit } = engine.decide(point, { resource: shop, role: 'reader', subject: engineer })
      expect([point, decision.effect, decision.code, permit]).toEqual([point, 'deny', 'policy_shape', null])
    }
  })

  test('who holds a decision cannot change what others get of it', async () => {
    const engine = await rawEngine({
      access: `package sallyport.access
result := {"effect": "allow", "reasons": [{"rule": "test.rule", "message": "m"}], "session": {"max_s": 60, "idle_s": 60, "max_connections": 1, "from": ["192.0.2.0/24"]}}`,
    })
    const { decision } = engine.decide('access', accessInput())
    expect(decision.effect).toBe('allow')
    expect(() => decision.result!.session!.from.push('0.0.0.0/0')).toThrow(TypeError)
  })
})
