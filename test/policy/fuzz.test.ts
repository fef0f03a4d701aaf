import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { canonical, type Json } from '../../src/canonical.ts'
import { Permit } from '../../src/policy/permit.ts'
import { type Input, type Point, points } from '../../src/policy/points.ts'
import { Evaluator } from '../../src/policy/wasm.ts'
import { accessInput, actionInput, adminInput, bundleOf, engineOn, rawBundle, rawEngine } from './support.ts'

const names = Object.keys(points) as Point[]
const words = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.constantFrom('', '__proto__', 'constructor', '\ud800', '\u0000', 'allow', 'person', 'request', 'reader', '💥'),
)
/** Anything that JavaScript can hand over, and some that JSON cannot carry. */
const anything = fc.oneof(
  fc.anything({ maxDepth: 4, withBigInt: true, withDate: true, withMap: true, withSet: true, withNullPrototype: true }),
  fc.constantFrom(undefined, null, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, -0, '', [], {}),
)

/** A value with one of its members replaced, wherever it lies. */
const broken = (whole: object) =>
  fc.tuple(fc.constantFrom(...pathsOf(whole)), anything).map(([path, value]) => replaced(whole, path, value))

describe('no input of any shape', () => {
  test('PO6: gets an answer without a decision; one that does not have the shape of its point gets a denial and no Permit', async () => {
    const engine = await rawEngine({}) // whatever is read is allowed
    fc.assert(
      fc.property(fc.constantFrom(...names), anything, (point, input) => {
        const { decision, permit } = engine.decide(point, input as Input<Point>)
        expect([decision.effect, decision.code, permit]).toEqual(['deny', 'input_invalid', null])
      }),
      { numRuns: 2_000 },
    )
  })

  test.each<[Point, object]>([
    ['access', accessInput()],
    ['action', actionInput()],
    ['admin', adminInput('grants.revoke')],
  ])(
    'PO6: makes %s allow by accident: with any member replaced, a Permit comes of nothing but an allow',
    async (point, whole) => {
      const engine = await engineOn()
      expect(engine.decide(point, whole as Input<Point>).decision.code).toBe('policy')
      fc.assert(
        fc.property(broken(whole), input => {
          const { decision, permit } = engine.decide(point, input as Input<Point>)
          expect(permit !== null).toBe(decision.effect === 'allow')
          if (permit !== null) expect(Permit.is(permit)).toBe(true)
          if (decision.code === 'input_invalid') expect([decision.effect, decision.input]).toEqual(['deny', 'null'])
          else expect(canonical(JSON.parse(decision.input) as Json)).toBe(decision.input)
        }),
        { numRuns: 1_000 },
      )
      expect(engine.decide(point, whole as Input<Point>).decision.code).toBe('policy')
    },
  )

  test('PO1: text that is no input of a point is a fault of the evaluation or undefined, never an allow', async () => {
    const bundle = await bundleOf()
    const evaluator = new Evaluator(Buffer.from(bundle.wasm, 'base64'), canonical(bundle.data as Json))
    fc.assert(
      fc.property(
        fc.constantFrom('access', 'approve', 'action', 'admin', 'replay'),
        fc.oneof(words, fc.json()),
        (point, text) => {
          const answer = evaluator.evaluate(point as Point, text)
          if (answer.ok && answer.value !== undefined)
            expect((answer.value as { effect: string }).effect).not.toBe('allow')
        },
      ),
      { numRuns: 1_000 },
    )
    expect(evaluator.evaluate('action', canonical(actionInput() as Json))).toMatchObject({ value: { effect: 'allow' } })
  })

  test('PO9: an entry point is a number that was read at load; no text of a question names one', async () => {
    const bundle = await rawBundle({})
    const evaluator = new Evaluator(Buffer.from(bundle.wasm, 'base64'), '{}')
    for (const name of ['__proto__', 'constructor', 'toString', '', 'sallyport/action/result/../admin/result', '0'])
      expect(evaluator.evaluateEntry(name, '{}')).toMatchObject({ ok: false, code: 'policy_error' })
    expect(evaluator.evaluate('action', '{}')).toMatchObject({ ok: true, value: { effect: 'allow' } })
  })
})

describe('an instance', () => {
  test('FA1: keeps its memory flat over many evaluations, and is a new one after a trap', async () => {
    const rules = `package sallyport.action
result := {"effect": "allow", "reasons": []} if input.role == "reader"
result := {"effect": "deny", "reasons": []} if { input.role == "trap"; xs := numbers.range(1, 3000); some a in xs; some b in xs; a < b; b < a }`
    const bundle = await rawBundle({ action: rules })
    const evaluator = new Evaluator(Buffer.from(bundle.wasm, 'base64'), '{}')
    const [reader, trap] = ['reader', 'trap'].map(role => canonical(actionInput({}, role) as Json))
    evaluator.evaluate('action', reader!)
    const before = evaluator.memoryBytes
    for (let i = 0; i < 20_000; i++) evaluator.evaluate('action', reader!)
    expect(evaluator.memoryBytes).toBe(before)
    for (let i = 0; i < 3; i++) {
      expect(evaluator.evaluate('action', trap!)).toMatchObject({ ok: false, code: 'policy_fuel' })
      expect(evaluator.memoryBytes).toBe(0)
      expect(evaluator.evaluate('action', reader!)).toMatchObject({ ok: true, value: { effect: 'allow' } })
      expect(evaluator.memoryBytes).toBe(before)
    }
  })
})

function pathsOf(value: unknown, path: readonly string[] = []): string[][] {
  if (typeof value !== 'object' || value === null) return path.length === 0 ? [] : [[...path]]
  const below = Object.entries(value).flatMap(([name, member]) => pathsOf(member, [...path, name]))
  return path.length === 0 ? below : [[...path], ...below]
}

function replaced(whole: object, path: readonly string[], value: unknown): unknown {
  const [first, ...rest] = path
  const copy: Record<string, unknown> | unknown[] = Array.isArray(whole) ? [...whole] : { ...whole }
  const at = copy as Record<string, unknown>
  at[first!] = rest.length === 0 ? value : replaced(at[first!] as object, rest, value)
  return copy
}
