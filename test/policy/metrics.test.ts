import { register } from 'prom-client'
import { expect, test } from 'vitest'
import { countActivation, countLook, countRefusal, countSwitch } from '../../src/policy/metrics.ts'

test('a refused commit is counted by the code of its first problem, and the gauge falls when one is in force', async () => {
  countRefusal([
    { code: 'field', message: 'a' },
    { code: 'test', message: 'b' },
  ])
  const refused = await register.metrics()
  expect(refused).toContain('sallyport_policy_refused_total{code="field"} 1')
  expect(refused).toContain('sallyport_policy_problems 2')
  countActivation()
  countSwitch(7)
  countLook()
  const active = await register.metrics()
  expect(active).toContain('sallyport_policy_problems 0')
  expect(active).toContain('sallyport_policy_generation 7')
  expect(active).toMatch(/sallyport_policy_looked_timestamp_seconds 1\.?\d+/)
})
