import { describe, expect, test } from 'vitest'
import { canonical, digest, type Json } from '../../src/canonical.ts'
import { Permit } from '../../src/policy/permit.ts'
import type { Input, Point } from '../../src/policy/points.ts'
import { timeFacts } from '../../src/policy/time.ts'
import {
  accessInput,
  actionInput,
  adminInput,
  approvalInput,
  engineer,
  engineOn,
  newEngine,
  now,
  rawBundle,
  rawEngine,
  signed,
} from './support.ts'

const reasons = (d: { decision: { reasons: readonly { rule: string }[] } }) => d.decision.reasons.map(r => r.rule)

describe('decide()', () => {
  test('PO3: nothing is decided before a revision is loaded', () => {
    const { decision, permit } = newEngine().decide('action', actionInput())
    expect([decision.effect, decision.code, decision.generation, permit]).toEqual([
      'deny',
      'policy_missing',
      null,
      null,
    ])
  })

  test('PO3: a rule that would allow without its data sees the data from the first evaluation on', async () => {
    const engine = await rawEngine({
      action: 'package sallyport.action\nresult := {"effect": "allow", "reasons": []} if not data.resources',
    })
    expect(engine.decide('action', actionInput()).decision.code).toBe('policy_undefined')
  })

  test('PO1: an undefined result is a denial', async () => {
    const faults: string[] = []
    const engine = await rawEngine(
      { action: 'package sallyport.action\nresult := {"effect": "allow", "reasons": []} if input.role == "nobody"' },
      { onFault: f => faults.push(f.code) },
    )
    const { decision, permit } = engine.decide('action', actionInput())
    expect([decision.effect, decision.code, permit]).toEqual(['deny', 'policy_undefined', null])
    expect(faults).toEqual(['policy_undefined'])
  })

  test.each([
    ['a boolean', 'true'],
    ['an empty object', '{}'],
    ['an unknown effect', '{"effect": "Allow", "reasons": []}'],
    ['no reasons', '{"effect": "allow"}'],
    ['a field nobody knows', '{"effect": "allow", "reasons": [], "also": 1}'],
    ['a list of results', '[{"effect": "allow", "reasons": []}]'],
    ['a reason of an undeclared rule', '{"effect": "allow", "reasons": [{"rule": "x.y", "message": "m"}]}'],
    ['null', 'null'],
  ])('PO1: %s is a denial', async (_, result) => {
    const engine = await rawEngine({ action: `package sallyport.action\nresult := ${result}` })
    const { decision, permit } = engine.decide('action', actionInput())
    expect([decision.effect, decision.code, permit]).toEqual(['deny', 'policy_shape', null])
  })

  test('PO1: ask is the wrong shape where nobody can be asked', async () => {
    const engine = await rawEngine({ admin: 'package sallyport.admin\nresult := {"effect": "ask", "reasons": []}' })
    expect(engine.decide('admin', adminInput('me')).decision.code).toBe('policy_shape')
  })

  test('PO2, PO5: a conflict of two values throws in the module and is a denial; the engine goes on', async () => {
    const conflict = `package sallyport.action
result := {"effect": "allow", "reasons": []} if input.role == "reader"
result := {"effect": "deny", "reasons": []} if input.action.verb == "read"
result := {"effect": "allow", "reasons": []} if input.role == "writer"`
    const engine = await rawEngine({ action: conflict })
    const { decision, permit } = engine.decide('action', actionInput())
    expect([decision.effect, decision.code, permit]).toEqual(['deny', 'policy_error', null])
    expect(engine.decide('action', actionInput({ verb: 'write' }, 'writer')).decision.effect).toBe('allow')
  })

  test('PO6: a policy that does not end runs out of fuel, the same way when asked again', async () => {
    const endless = `package sallyport.action
result := {"effect": "allow", "reasons": []} if { xs := numbers.range(1, 3000); some a in xs; some b in xs; a < b; b < a }`
    const engine = await rawEngine({ action: endless })
    for (let i = 0; i < 3; i++) expect(engine.decide('action', actionInput()).decision.code).toBe('policy_fuel')
    expect(engine.decide('approve', approvalInput()).decision.effect).toBe('allow')
  })

  test('PO6: a policy that takes all memory is a denial, and the engine goes on', async () => {
    const greedy = `package sallyport.action
result := {"effect": "allow", "reasons": [], "x": y} if y := strings_of(numbers.range(1, 200000))
strings_of(xs) := [concat("", [s, s, s, s]) | some x in xs; s := format_int(x + 100000000000, 2)]`
    const engine = await rawEngine({ action: greedy })
    const { decision } = engine.decide('action', actionInput())
    expect(['policy_memory', 'policy_fuel']).toContain(decision.code)
    expect(engine.decide('approve', approvalInput()).decision.effect).toBe('allow')
  })

  test.each<[string, string, Partial<Input<'action'>['action']>]>([
    ['a lone surrogate', 'input_invalid', { kind: 'a\ud800b' }],
    ['10 MB of text', 'input_too_large', { kind: 'x'.repeat(10_000_000) }],
    ['a depth of 10,000', 'input_invalid', { facts: { deep: nested(10_000) } }],
    ['a number beyond 2^53', 'input_invalid', { facts: { n: 2 ** 53 } }],
    ['not a number', 'input_invalid', { facts: { n: Number.NaN } }],
  ])('PO6: %s is a denial and the next question is answered', async (_, code, facts) => {
    const engine = await engineOn()
    const { decision, permit } = engine.decide('action', actionInput(facts), { session_id: 'ses_1' })
    expect([decision.effect, decision.code, permit]).toEqual(['deny', code, null])
    expect(decision.input).toBe('null')
    expect(engine.decide('action', actionInput()).decision.effect).toBe('allow')
  })

  test('PO6: __proto__ is a key like any other', async () => {
    const engine = await engineOn()
    const facts = JSON.parse('{"__proto__": {"verb": "read"}, "constructor": 1}') as Record<string, unknown>
    const { decision } = engine.decide('action', actionInput({ facts, verb: 'unknown' }))
    expect(decision.effect).toBe('deny')
    expect(decision.input).toContain('"__proto__":{"verb":"read"}')
  })

  test.each([undefined, null, 0, '', 'x', [], { subject: null }])(
    'an input of the wrong shape (%j) is a denial',
    async input => {
      const engine = await engineOn()
      for (const point of ['access', 'action', 'masking', 'admin', 'retention'] as Point[]) {
        const { decision, permit } = engine.decide(point, input as unknown as Input<Point>)
        expect([decision.effect, decision.code, permit]).toEqual(['deny', 'input_invalid', null])
      }
    },
  )

  test('PO9: text of a request never chooses what is evaluated', async () => {
    const engine = await engineOn()
    const { decision } = engine.decide('admin', adminInput('../../access/result'))
    expect([decision.effect, reasons({ decision })]).toEqual(['deny', ['admin.default']])
    const other = engine.decide('sallyport/admin/result' as unknown as 'admin', adminInput('me'))
    expect([other.decision.effect, other.permit]).toEqual(['deny', null])
  })

  test('a denial names the rule with file, line and commit', async () => {
    const engine = await engineOn()
    const { decision } = engine.decide('action', actionInput({ verb: 'write' }))
    expect(decision.reasons).toHaveLength(1)
    expect(decision.reasons[0]?.rule).toBe('action.reader-write')
    expect(decision.reasons[0]?.at).toMatch(/^action\/action\.rego:\d+@c{39}1$/)
  })

  test('a denial without a reason names the default rule', async () => {
    const engine = await rawEngine({ action: 'package sallyport.action\nresult := {"effect": "deny", "reasons": []}' })
    expect(engine.decide('action', actionInput()).decision.reasons[0]?.at).toBe(
      `action/action.rego:3@${'c'.repeat(39)}1`,
    )
  })

  test('a decision carries what it takes to compute it again', async () => {
    const engine = await engineOn()
    const input = actionInput()
    const { decision } = engine.decide('action', input, { session_id: 'ses_1' })
    expect(decision.input).toBe(canonical(input as Json))
    expect(decision.input_digest).toBe(digest(decision.input))
    expect([decision.generation, decision.digest]).toEqual([1, engine.revision?.digest])
    expect(decision.about).toEqual({
      request_id: null,
      resource: 'shop-db',
      session_id: 'ses_1',
      subject_id: 'sub_ada',
    })
  })

  test('sets come out sorted, whatever order the module had them in', async () => {
    const rules = 'masking := 1\nresult := {"erase": {"/input/z", "/input/a", "/input/m", "/input/b"}, "mask": set()}'
    const engine = await rawEngine({ decision_log: `package sallyport.decision_log\n${rules}` })
    const { decision } = engine.decide('decision_log', { effect: 'allow', point: 'access', resource: null })
    expect(decision.result?.erase).toEqual(['/input/a', '/input/b', '/input/m', '/input/z'])
  })

  test('a data point answers with effect data and a Permit', async () => {
    const engine = await engineOn()
    const { decision, permit } = engine.decide('masking', {
      resource: actionInput().resource,
      role: 'reader',
      subject: engineer,
    })
    expect([decision.effect, decision.code, permit?.resource]).toEqual(['data', 'policy', 'shop-db'])
    expect(decision.result?.rules.map(r => r.rule)).toContain('masking.card-number')
  })

  test.each<[string, string, Point]>([
    ['on_derived: mask', masking('"on_derived": "mask"'), 'masking'],
    ['predicates: allow', masking('"predicates": "allow"'), 'masking'],
  ])('%s is refused as unsupported', async (_, module, point) => {
    const engine = await rawEngine({ [point]: module })
    const { resource, role, subject } = actionInput()
    const { decision, permit } = engine.decide(point, { resource, role, subject } as Input<Point>)
    expect([decision.effect, decision.code, permit]).toEqual(['deny', 'unsupported', null])
  })

  test('an action that asks is allowed by votes that satisfy the terms of now, and by those of nobody who acts', async () => {
    const asks = (quorum: number) =>
      `package sallyport.action\nresult := {"effect": "ask", "reasons": [], "approval": {"stages": [{"approvers": ["dbas"], "quorum": ${quorum}, "channel": "c"}], "expires_s": 60}}`
    const engine = await rawEngine({ action: asks(1) })
    const vote = { answer: 'approve', approver: 'sub_dba', at_ms: now, groups: ['dbas'], stage: 0 }
    const decide = (on: typeof engine, votes?: (typeof vote)[]) => {
      const hold = votes === undefined ? {} : { hold: { request: 'req_1', votes } }
      const { decision, permit } = on.decide('action', { ...actionInput(), ...hold }, { session_id: 'ses_1' })
      return [decision.effect, decision.code, permit !== null]
    }
    expect(decide(engine)).toEqual(['ask', 'policy', false])
    expect(decide(engine, [])).toEqual(['ask', 'votes_unsatisfied', false])
    expect(decide(engine, [vote])).toEqual(['allow', 'policy', true])
    expect(decide(engine, [{ ...vote, approver: actionInput().subject.id }])).toEqual([
      'ask',
      'votes_unsatisfied',
      false,
    ])
    expect(decide(engine, [{ ...vote, answer: 'deny' }])).toEqual(['ask', 'votes_unsatisfied', false])
    expect(decide(await rawEngine({ action: asks(2) }), [vote])).toEqual(['ask', 'votes_unsatisfied', false])
    const bare = await rawEngine({ action: 'package sallyport.action\nresult := {"effect": "ask", "reasons": []}' })
    expect(decide(bare)).toEqual(['deny', 'policy_shape', false])
  })

  test('step_up is refused as unsupported, even where an ask would be satisfied', async () => {
    const module = `package sallyport.access
result := {"effect": "ask", "reasons": [], "approval": {"stages": [{"approvers": ["dbas"], "quorum": 1, "channel": "c"}], "expires_s": 60, "step_up": true}}`
    const vote = { answer: 'approve', approver: 'sub_dba', at_ms: now, groups: ['dbas'], stage: 0 }
    const { decision, permit } = (await rawEngine({ access: module })).decide('access', accessInput({ votes: [vote] }))
    expect([decision.effect, decision.code, permit]).toEqual(['deny', 'unsupported', null])
  })

  test('old groups give no new access and no vote, and leave a live session to be refreshed', async () => {
    const engine = await engineOn()
    const old = { ...engineer, groups_at_ms: now - 3_600_001 }
    for (const stage of ['request', 'ticket', 'connect'] as const) {
      expect(engine.decide('access', accessInput({ stage, subject: old })).decision.code).toBe('groups_stale')
    }
    expect(engine.decide('access', accessInput({ stage: 'live', subject: old })).decision.code).not.toBe('groups_stale')
    expect(engine.decide('approve', { ...approvalInput(), subject: old }).decision.code).toBe('groups_stale')
  })

  test('ID11: old groups open no call and no replay either, not even for an auditor; a machine has no groups that age', async () => {
    const engine = await engineOn()
    const old = { ...engineer, groups: ['security-admins', 'auditors'], groups_at_ms: now - 3_600_001 }
    for (const call of ['grants.revoke', 'audit.list', 'me']) {
      const { decision, permit } = engine.decide('admin', adminInput(call, old))
      expect([decision.effect, decision.code, permit]).toEqual(['deny', 'groups_stale', null])
    }
    const replay = (subject: typeof old) => engine.decide('replay', { ...replayInput(), subject }).decision
    expect(replay(old).code).toBe('groups_stale')
    expect(replay({ ...old, groups_at_ms: now }).effect).toBe('allow')
    expect(engine.decide('admin', adminInput('me', { ...old, kind: 'machine' })).decision.effect).toBe('allow')
    expect(engine.decide('admin', adminInput('lease.reap', { ...old, kind: 'system' })).decision.effect).toBe('allow')
  })

  test('a process that is behind decides nothing', async () => {
    const engine = await engineOn()
    const before = engine.decide('action', actionInput(), { session_id: 'ses_1' })
    engine.markStale('revision 2 is active, and this process could not load it')
    expect(engine.decide('action', actionInput(), { session_id: 'ses_1' }).decision.code).toBe('policy_stale')
    engine.markStale(null)
    expect(engine.decide('action', actionInput(), { session_id: 'ses_1' })).toBe(before)
  })
})

describe('the cache of action decisions', () => {
  test('gives the same Decision for the same question of a session, and another one to another session', async () => {
    const engine = await engineOn()
    const first = engine.decide('action', actionInput(), { session_id: 'ses_1' })
    expect(engine.decide('action', actionInput(), { session_id: 'ses_1' })).toBe(first)
    expect(engine.decide('action', actionInput(), { session_id: 'ses_2' }).decision.id).not.toBe(first.decision.id)
    expect(engine.decide('action', actionInput({ kind: 'with' }), { session_id: 'ses_1' })).not.toBe(first)
  })

  test('another worker gives the same decision the same id', async () => {
    const [a, b] = [await engineOn(), await engineOn()]
    const ask = (engine: typeof a) => engine.decide('action', actionInput(), { session_id: 'ses_1' }).decision.id
    expect(ask(a)).toBe(ask(b))
    expect(ask(a)).toMatch(/^dec_[0-9a-z]{26}$/)
  })

  test('is off where the package needs the time, which decide() then fills in itself', async () => {
    let clock = now
    const module =
      'package sallyport.action\nresult := {"effect": "allow", "reasons": []} if input.time.minute_of_day < 721'
    const engine = await rawEngine({ action: module }, { now: () => clock }, { needs: ['time'] })
    expect(engine.decide('action', actionInput(), { session_id: 'ses_1' }).decision.effect).toBe('allow')
    clock += 60_000
    expect(engine.decide('action', actionInput(), { session_id: 'ses_1' }).decision.effect).toBe('deny')
  })

  test('PO8: a new revision answers the next statement, and both digests stand in the decisions', async () => {
    const engine = await engineOn()
    const before = engine.decide('action', actionInput(), { session_id: 'ses_1' }).decision
    engine.load(
      signed(await rawBundle({ action: 'package sallyport.action\nresult := {"effect": "deny", "reasons": []}' }), 2),
    )
    const after = engine.decide('action', actionInput(), { session_id: 'ses_1' }).decision
    expect([before.effect, after.effect]).toEqual(['allow', 'deny'])
    expect([before.generation, after.generation]).toEqual([1, 2])
    expect(before.digest).not.toBe(after.digest)
  })
})

describe('a Permit', () => {
  test('says what was decided', async () => {
    const engine = await engineOn()
    const { decision, permit } = engine.decide('admin', {
      ...adminInput('lease.reap', { ...engineer, kind: 'system' }),
      target: { resource: 'shop-db' },
    })
    expect(Permit.is(permit)).toBe(true)
    expect([
      permit?.decision_id,
      permit?.point,
      permit?.call,
      permit?.resource,
      permit?.subject_id,
      permit?.generation,
    ]).toEqual([decision.id, 'admin', 'lease.reap', 'shop-db', 'sub_ada', 1])
  })

  test('cannot be forged by a cast, a look-alike, a prototype, a copy or a Proxy', async () => {
    const { permit } = (await engineOn()).decide('action', actionInput())
    expect(Permit.is(permit)).toBe(true)
    const forged: unknown[] = [
      {},
      { ...permit },
      Object.create(Permit.prototype),
      Object.create(permit),
      Object.setPrototypeOf({ decision_id: 'dec_x' }, Permit.prototype),
      JSON.parse(JSON.stringify(permit)),
      new Proxy(permit as object, {}),
      structuredClone({ permit: { ...permit } }).permit,
      null,
      'permit',
    ]
    for (const one of forged) expect(Permit.is(one)).toBe(false)
    expect(() => Object.assign(permit as object, { role: 'admin' })).toThrow(TypeError)
  })

  test('cannot be made by its constructor', () => {
    // @ts-expect-error the constructor is private: this line must not compile
    const make = () => new Permit({}, {})
    expect(Permit.is(make)).toBe(false)
  })
})

function nested(depth: number): unknown {
  let value: unknown = 1
  for (let i = 0; i < depth; i++) value = [value]
  return value
}

function masking(field: string): string {
  return `package sallyport.masking
result := {"rules": [{"rule": "test.rule", "match": {"schema": "*", "table": "*", "column": "x"}, "transform": {"kind": "redact"}, ${field}}]}`
}

function replayInput(): Input<'replay'> {
  return {
    subject: engineer,
    recording: {
      id: 'rec_1',
      session: 'ses_1',
      subject: 'sub_other',
      resource: 'db',
      labels: {},
      role: 'reader',
      protocol: 'postgres',
      started_at_ms: now,
      live: false,
    },
    own: false,
    verb: 'open',
    view: 'masked',
    reason: null,
    time: timeFacts(now, 'UTC'),
  }
}
