import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { canonical, type Json } from '../../src/canonical.ts'
import type { Input, Point } from '../../src/policy/points.ts'
import { sortSets } from '../../src/policy/results.ts'
import { sampleQuestions } from '../../src/policy/samples.ts'
import { accessInput, actionInput, bundleOf, engineOn, opaPath, starterRoot } from './support.ts'

interface Vector {
  readonly point: Point
  readonly input: Input<Point>
  readonly result: unknown
}

const path = join(import.meta.dirname, '../vectors/decision/starter.json')
const vectors = JSON.parse(readFileSync(path, 'utf8')) as Vector[]

/** What OPA's own evaluator says of the same commit and input. */
function opaEval(point: Point, input: unknown): unknown {
  const query = ['eval', '-b', '.', '--format=json', '--stdin-input', `data.sallyport.${point}.result`]
  const out = execFileSync(opaPath(), query, { cwd: starterRoot, input: JSON.stringify(input), encoding: 'utf8' })
  const { result } = JSON.parse(out) as { result?: { expressions: { value: unknown }[] }[] }
  return result?.[0]?.expressions[0]?.value
}

describe('decisions of the starter policies', () => {
  test.each(vectors.map((v, i) => [`${i} ${v.point}`, v] as const))(
    'vector %s: decide(), opa eval and the file agree',
    async (_, { point, input, result }) => {
      const { decision } = (await engineOn()).decide(point, input)
      expect(canonical(decision.result as Json)).toBe(canonical(result as Json))
      expect(canonical(sortSets(opaEval(point, input)) as Json)).toBe(canonical(result as Json))
    },
  )

  test('the sample questions of the gate get the answers of OPA', async () => {
    const engine = await engineOn()
    for (const { point, input, label } of sampleQuestions((await bundleOf()).data).slice(0, 24)) {
      const ours = engine.decide(point, input).decision.result
      expect(canonical(ours as Json), label).toBe(canonical(sortSets(opaEval(point, input)) as Json))
    }
  })

  test('whatever an action is, a decision comes out, and a Permit only for an allow', async () => {
    const engine = await engineOn()
    const words = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string(),
      fc.constantFrom('read', 'write', 'ddl', 'pg_stats', '', '__proto__', '\ud800'),
    )
    const relations = fc.array(fc.record({ name: words, schema: words }), { maxLength: 5 })
    const action = fc.record({
      facts: fc.dictionary(words, fc.jsonValue()),
      functions: relations,
      kind: words,
      protocol: words,
      reads: relations,
      verb: words,
      writes: relations,
    })
    fc.assert(
      fc.property(action, fc.constantFrom('reader', 'writer', 'admin', 'owner', ''), (given, role) => {
        const { decision, permit } = engine.decide('action', {
          ...actionInput(),
          action: given,
          role,
        } as Input<'action'>)
        expect(permit !== null).toBe(decision.effect === 'allow')
        if (decision.effect === 'allow') expect(['read', 'write', 'ddl', 'admin', 'session']).toContain(given.verb)
        if (decision.effect === 'deny') expect(decision.reasons.length).toBeGreaterThan(0)
      }),
      { numRuns: 500 },
    )
  })

  test('whoever asks, nobody without a role of roles/data.yaml gets further than a denial', async () => {
    const engine = await engineOn()
    const groups = fc.array(
      fc.oneof(fc.string(), fc.constantFrom('auditors', 'security-admins', 'Engineers', 'engineers ', '*')),
      { maxLength: 6 },
    )
    fc.assert(
      fc.property(groups, fc.string(), (given, role) => {
        const { subject } = accessInput()
        const { decision, permit } = engine.decide(
          'access',
          accessInput({ role, subject: { ...subject, groups: given } }),
        )
        expect([decision.effect, permit]).toEqual(['deny', null])
      }),
      { numRuns: 300 },
    )
  })
})
