import { describe, expect, test } from 'vitest'
import { canonical, type Json } from '../../src/canonical.ts'
import { freezeDeep } from '../../src/policy/frozen.ts'
import type { Input } from '../../src/policy/points.ts'
import { readQuestion, sessionFacts } from '../../src/policy/question.ts'
import { actionInput, engineer, engineOn, shop } from './support.ts'

/** A small repeatable generator (mulberry32): a failure names its seed. */
function random(seed: number): () => number {
  let a = seed
  return () => {
    a = (a + 0x6d2b79f5) | 0
    let t = Math.imul(a ^ (a >>> 15), 1 | a)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

function randomInput(next: () => number): Input<'action'> {
  const words = ['a', '', 'é', '𝒳', '"', '\\', '\n', '\u0000', '}', ',"role":"admin"', '__proto__', 'constructor']
  const pick = <T>(from: readonly T[]): T => from[Math.floor(next() * from.length)]!
  const word = () => pick(words) + (next() < 0.01 ? '\ud800' : pick(words))
  const some = <T>(make: () => T): T[] => Array.from({ length: Math.floor(next() * 3) }, make)
  const map = (): Record<string, string> => Object.fromEntries(some(() => [word(), word()] as const))
  const relation = () => ({ schema: word(), name: word() })
  const input = actionInput({
    kind: word(),
    reads: some(relation),
    writes: some(relation),
    functions: some(relation),
    facts: next() < 0.1 ? { n: 1.5 } : map(),
    verb: next() < 0.05 ? ('steal' as 'read') : 'read',
  })
  return {
    ...input,
    resource: { ...shop, labels: map(), name: word() },
    role: next() < 0.05 ? (7 as unknown as string) : word(),
    subject: { ...engineer, groups: some(word), claims: map(), name: word() },
  }
}

const textOf = (read: ReturnType<typeof readQuestion>) => ('key' in read ? read.text() : { code: read.code })

describe('the question of an action', () => {
  test('read from remembered session facts it is the canonical text of the whole, over 3,000 random inputs', () => {
    const next = random(20261121)
    const keys = new Map<string, string>()
    let judged = 0
    for (let i = 0; i < 3000; i++) {
      const input = randomInput(next)
      const plain = textOf(readQuestion('action', input))
      const about = sessionFacts(input)
      const frozen = next() < 0.5 ? freezeDeep(structuredClone(input.action)) : input.action
      for (let again = 0; again < 3; again++) {
        const read = readQuestion('action', { action: frozen, ...about })
        expect(textOf(read), `round ${i}`).toEqual(plain)
        if (!('key' in read)) continue
        judged++
        const text = read.text() as string
        expect(text).toBe(canonical(input as Json))
        expect(keys.get(read.key) ?? text).toBe(text)
        keys.set(read.key, text)
      }
    }
    expect(judged).toBeGreaterThan(3000)
  })

  test('facts that can change are read each time', async () => {
    const engine = await engineOn()
    const subject = { ...engineer, groups: ['engineers'] }
    const ask = () => engine.decide('action', { ...actionInput(), subject }, { session_id: 'ses_1' }).decision
    const before = ask()
    subject.groups = ['nobody']
    expect(ask().input).not.toBe(before.input)
    Object.freeze(subject) // its list is not frozen
    const shallow = ask()
    subject.groups.push('engineers')
    expect(ask().input).not.toBe(shallow.input)
  })

  test('a getter is never taken for a fact that stays', () => {
    let asked = 0
    const subject = Object.freeze(
      Object.defineProperty({ ...engineer }, 'name', { enumerable: true, get: () => `name ${asked++}` }),
    )
    const input = { ...actionInput(), subject, resource: freezeDeep(structuredClone(shop)) }
    const texts = [1, 2, 3].map(() => textOf(readQuestion('action', input)))
    expect(new Set(texts).size).toBe(3)
  })

  test('an inherited or a further member is not overlooked', () => {
    const about = sessionFacts(actionInput())
    expect('key' in readQuestion('action', { action: actionInput().action, ...about })).toBe(true)
    const more = { action: actionInput().action, ...about, also: true } as unknown as Input<'action'>
    expect(readQuestion('action', more)).toMatchObject({ code: 'input_invalid' })
    const inherits = Object.assign(Object.create({ subject: about.subject }) as object, {
      action: actionInput().action,
      resource: about.resource,
      role: 'reader',
      other: 1,
    }) as unknown as Input<'action'>
    expect('key' in readQuestion('action', inherits)).toBe(false)
  })

  test('sessions, facts and actions do not share an answer', async () => {
    const engine = await engineOn()
    const about = sessionFacts(actionInput())
    const other = sessionFacts({ ...about, role: 'admin' })
    const { action } = actionInput()
    const ids = [
      engine.decide('action', { action, ...about }, { session_id: 'ses_1' }),
      engine.decide('action', { action, ...about }, { session_id: 'ses_2' }),
      engine.decide('action', { action, ...other }, { session_id: 'ses_1' }),
      engine.decide('action', { action: { ...action, kind: 'x' }, ...about }, { session_id: 'ses_1' }),
    ].map(d => d.decision.id)
    expect(new Set(ids).size).toBe(4)
    expect(engine.decide('action', { action, ...about }, { session_id: 'ses_1' }).decision.id).toBe(ids[0])
  })
})
