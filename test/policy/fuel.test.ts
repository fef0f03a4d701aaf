import { describe, expect, test } from 'vitest'
import { canonical, type Json } from '../../src/canonical.ts'
import { addFuel } from '../../src/policy/fuel.ts'
import { Evaluator } from '../../src/policy/wasm.ts'
import { actionInput, bundleOf, rawBundle } from './support.ts'

const allow = '{"effect": "allow", "reasons": []}'
const text = canonical(actionInput() as Json)

async function evaluator(action: string): Promise<Evaluator> {
  const bundle = await rawBundle({ action: `package sallyport.action\n${action}` })
  return new Evaluator(Buffer.from(bundle.wasm, 'base64'), '{}')
}

describe('fuel', () => {
  test.each([
    ['a join', `result := ${allow} if { xs := numbers.range(1, 3000); some a in xs; some b in xs; a < b; b < a }`],
    [
      'a comprehension',
      `result := ${allow} if count([1 | some a in numbers.range(1, 3000); some b in numbers.range(1, 3000); a == b]) < 0`,
    ],
    [
      'every',
      `result := ${allow} if { every a in numbers.range(1, 3000) { every b in numbers.range(1, 3000) { a + b > 0 } } }`,
    ],
    ['a range', `result := ${allow} if count(numbers.range(1, 100000000)) < 0`],
    [
      'strings',
      `result := ${allow} if { some a in numbers.range(1, 100000); contains(concat("", [s | some b in numbers.range(1, 1000); s := "aaaaaaaa"]), $"b{a}") }`,
    ],
  ])('ends %s within its budget', async (_, rule) => {
    const answer = (await evaluator(rule)).evaluate('action', text)
    expect(answer.ok).toBe(false)
    expect(['policy_fuel', 'policy_memory']).toContain(answer.ok ? '' : answer.code)
  })

  test('an evaluation after one that ran out is whole again', async () => {
    const rules = `result := ${allow} if input.role == "writer"
result := ${allow} if { input.role == "reader"; xs := numbers.range(1, 3000); some a in xs; some b in xs; a < b; b < a }`
    const one = await evaluator(rules)
    const writer = canonical(actionInput({}, 'writer') as Json)
    for (let i = 0; i < 3; i++) {
      expect(one.evaluate('action', text)).toMatchObject({ ok: false, code: 'policy_fuel' })
      expect(one.evaluate('action', writer)).toEqual({ ok: true, value: { effect: 'allow', reasons: [] } })
    }
  })

  test('the rewritten module is a valid module that gives the results of the original', async () => {
    const wasm = Buffer.from((await bundleOf()).wasm, 'base64')
    const api = (globalThis as unknown as { WebAssembly: { validate(bytes: Uint8Array): boolean } }).WebAssembly
    expect(api.validate(addFuel(wasm))).toBe(true)
    expect(addFuel(wasm).length).toBeGreaterThan(wasm.length)
  })

  test('refuses what is no module, a module cut anywhere, and one with an instruction it does not know', async () => {
    const wasm = Buffer.from((await bundleOf()).wasm, 'base64')
    expect(() => addFuel(Uint8Array.of())).toThrow()
    expect(() => addFuel(Buffer.from('not wasm at all'))).toThrow()
    for (let cut = 9; cut < wasm.length; cut += 9973) expect(() => addFuel(wasm.subarray(0, cut))).toThrow()
    const simd = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 7, 1, 0, 10, 6, 1, 4, 0, 0xfd, 0x0c, 0x0b)
    expect(() => addFuel(simd)).toThrow('0xfd')
  })
})
