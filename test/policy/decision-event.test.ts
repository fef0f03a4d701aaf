import { describe, expect, test } from 'vitest'
import { canonical, digest, type Json } from '../../src/canonical.ts'
import type { Decision } from '../../src/policy/decision.ts'
import type { Engine } from '../../src/policy/engine.ts'
import { decisionEvent, eventInput, readDecisionEvent } from '../../src/policy/log/decision-event.ts'
import { decisionRow } from '../../src/policy/log/decision-row.ts'
import type { StoredDecision } from '../../src/policy/log/decision-store.ts'
import { ruleQuery, wordQuery, wordsOf } from '../../src/policy/log/decision-words.ts'
import { accessInput, actionInput, engineer, engineOn, now } from './support.ts'

const labels = { app: 'sallyport', id: 'test', version: '0.0.0' } as const

/** The row as it would be read again, with what a `decision_log` point names hidden. */
function stored(decision: Decision, hide: { erase?: string[]; mask?: string[] } = {}): StoredDecision {
  const engine = {
    decide: () => ({ decision: { result: { erase: hide.erase ?? [], mask: hide.mask ?? [] } } }),
  } as unknown as Engine
  const { words: _, reasons, erased, masked, ...row } = decisionRow(decision, 3, engine)
  return {
    ...row,
    effect: decision.effect,
    reasons: JSON.parse(reasons) as StoredDecision['reasons'],
    erased: JSON.parse(erased) as string[],
    masked: JSON.parse(masked) as string[],
    batch: null,
  }
}
const denied = async () => (await engineOn()).decide('access', accessInput({ role: 'owner' })).decision

describe('the event of a decision', () => {
  test('has the members of OPA’s decision logs, and what they have no place for under custom', async () => {
    const decision = await denied()
    const event = JSON.parse(decisionEvent(stored(decision), labels)) as Record<string, unknown>
    expect(event).toEqual({
      labels,
      decision_id: decision.id,
      bundles: { sallyport: { revision: decision.commit } },
      path: 'sallyport/access/result',
      input: JSON.parse(decision.input),
      result: decision.result,
      requested_by: engineer.id,
      timestamp: new Date(now).toISOString(),
      custom: {
        sallyport: {
          point: 'access',
          effect: 'deny',
          code: 'policy',
          generation: 1,
          digest: decision.digest,
          input_digest: decision.input_digest,
          reasons: decision.reasons,
          subject_id: engineer.id,
          resource: 'shop-db',
          session_id: null,
          request_id: null,
          count: 3,
        },
      },
    })
  })

  test('is read back with the very text that was judged', async () => {
    const { decision } = (await engineOn()).decide('action', actionInput({ kind: 'sele\u2028ct "\\ é' }), {
      session_id: 'ses_1',
    })
    const event = readDecisionEvent(decisionEvent(stored(decision), labels), 'log:1')
    expect(eventInput(event)).toEqual({ text: decision.input, whole: true })
    expect(digest(eventInput(event).text)).toBe(event.custom.sallyport.input_digest)
    expect(canonical(event.result as Json)).toBe(canonical(decision.result as Json))
  })

  test('a denial of the engine itself has an error and no result', async () => {
    const { decision } = (await engineOn()).decide('admin', { call: 7 } as never)
    const event = readDecisionEvent(decisionEvent(stored(decision), labels), 'log:1')
    expect(event).toMatchObject({ error: { code: 'input_invalid' }, input: null })
    expect(event).not.toHaveProperty('result')
  })

  test.each(['', '[]', '{}', '{"decision_id":"x"}', 'null', '{'])('%j is named as no event, with its place', line => {
    expect(() => readDecisionEvent(line, 'log.jsonl:12')).toThrow(/^log\.jsonl:12 is no decision of Sallyport: /)
  })
})

describe('what the decision_log point names', () => {
  test('is gone or masked, listed as JSON pointers, and not among the words', async () => {
    const decision = await denied()
    const row = stored(decision, {
      erase: ['/input/subject/email', '/input/nothing', '/input/subject/groups/0', '/result/reasons'],
      mask: ['/input/subject/name', '/input/client/none/x', '/input/subject/groups/length', '/other'],
    })
    expect([row.erased, row.masked]).toEqual([
      ['/input/subject/email', '/result/reasons'],
      ['/input/subject/groups/0', '/input/subject/name'],
    ])
    const shown = JSON.parse(row.input) as { subject: Record<string, unknown> }
    expect(shown.subject).toMatchObject({ name: '[masked]', groups: ['[masked]'] })
    expect(shown.subject).not.toHaveProperty('email')
    expect(row.input_digest).toBe(decision.input_digest)
    const event = readDecisionEvent(decisionEvent(row, labels), 'log:1')
    expect(event).toMatchObject({ erased: row.erased, masked: row.masked })
    expect(eventInput(event).whole).toBe(false)
    expect(decision.result).toHaveProperty('reasons') // the decision itself is nobody's to change
  })

  test('may be the whole input or result', async () => {
    const row = stored(await denied(), { erase: ['/input', '/result'] })
    expect([row.input, row.result, row.erased]).toEqual(['null', 'null', ['/input', '/result']])
  })

  test('hides words from the search too', async () => {
    const decision = await denied()
    const words = (mask: string[]) => {
      const engine = { decide: () => ({ decision: { result: { erase: [], mask } } }) } as unknown as Engine
      return decisionRow(decision, 1, engine).words.split('\u001f')
    }
    expect(words([])).toEqual(expect.arrayContaining(['ada', 'example', 'owner', 'rule=access.default']))
    expect(words(['/input/subject/email'])).not.toContain('example')
  })
})

describe('the words of a decision', () => {
  test('are those of names, reasons and relations, bounded in number and length', () => {
    const about = { resource: 'shop-db', reasons: [{ rule: 'a.b', message: 'Readers MAY not; ask Zoë' }] }
    expect(wordsOf(about, { time: { zone: 'UTC' }, reads: [{ schema: 'public', name: 'customers' }] })).toEqual([
      'rule=a.b',
      'readers',
      'may',
      'not',
      'ask',
      'zoë',
      'shop',
      'db',
      'public',
      'customers',
    ])
    const many = wordsOf(about, { list: Array.from({ length: 1000 }, (_, i) => `w${i}`) })
    expect(many).toHaveLength(64)
    expect(Math.max(...wordsOf(about, { x: 'y'.repeat(100_000) }).map(w => w.length))).toBeLessThanOrEqual(48)
  })

  test('a search asks for all of them, the last one from its beginning; quotes and operators are text', () => {
    expect(wordQuery('Ada @example.co')).toBe("'ada' & 'example' & 'co':*")
    expect(wordQuery("'); drop & | ! <->")).toBe("'drop':*")
    expect(wordQuery(' -- ')).toBeNull()
    expect(ruleQuery("it's \\ a.rule")).toBe("'rule=it''s \\\\ a.rule'")
  })
})
