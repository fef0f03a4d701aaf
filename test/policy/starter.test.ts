import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { checkRepository, testRepository } from '../../src/policy/gate.ts'
import { acceptAll, opaPath } from './support.ts'

const root = join(import.meta.dirname, '../../policies')
const options = { opa: opaPath(), protocols: acceptAll }

describe('the starter repository', () => {
  test('passes the gate that every commit passes', async () => {
    expect(await checkRepository(root, options)).toEqual({ problems: [], warnings: [] })
  })

  test('has tests that run at least 95 % of its lines, with the same outcome in OPA and in the compiled policy', async () => {
    const { tests, coverage } = await testRepository(root, options)
    expect(tests.filter(t => !t.passed)).toEqual([])
    expect(tests.length).toBeGreaterThan(60)
    expect(coverage).toBeGreaterThanOrEqual(95)
  })
})
