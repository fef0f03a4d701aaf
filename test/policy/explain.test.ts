import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Decision } from '../../src/policy/decision.ts'
import type { Engine } from '../../src/policy/engine.ts'
import { type Explanation, explain } from '../../src/policy/explain.ts'
import { DecisionLog } from '../../src/policy/log/decision-log.ts'
import { getDecision, type StoredDecision } from '../../src/policy/log/decision-store.ts'
import { packSources } from '../../src/policy/revision-sources.ts'
import { timeFacts } from '../../src/policy/time.ts'
import { type PastRevision, PastRevisions } from '../../src/policy/weigh.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import {
  accessInput,
  actionInput,
  adminInput,
  bundleOf,
  engineer,
  engineOn,
  now,
  starter,
  storeRevision,
} from './support.ts'

/** Only at work, and only with a ticket where it is asked for: what starter policies of a team may well say. */
const office = {
  'access/office.rego': `package sallyport.access

# METADATA
# title: Operators work in office hours
# custom: { rule: access.office }
deny contains {"rule": rego.metadata.rule().custom.rule, "message": "not at this hour", "remedy": "wait"} if {
	input.role == "operator"
	input.resource.labels.env == "staging"
	input.time.minute_of_day < 480
}

# METADATA
# title: Writers name a ticket
# custom: { rule: access.ticketed }
deny contains {"rule": rego.metadata.rule().custom.rule, "message": "a ticket number is needed"} if {
	input.role == "writer"
	input.resource.labels.env == "staging"
	is_null(input.request.ticket_ref)
}
`,
  'access/office_test.rego': `package sallyport.access_test

import data.sallyport.access

test_office if {
	r := access.result with input as {"role": "operator", "resource": {"labels": {"env": "staging"}}, "time": {"minute_of_day": 1}, "stage": "ticket", "request": {"ticket_ref": null}}
	r.effect == "deny"
}

test_ticket if {
	r := access.result with input as {"role": "writer", "resource": {"labels": {"env": "staging"}}, "stage": "ticket", "request": {"ticket_ref": null}}
	r.effect == "deny"
}
`,
}

let db: TestDatabase
let engine: Engine
let past: PastRevisions
beforeAll(async () => {
  db = await createTestDatabase()
  engine = await engineOn(office)
  past = new PastRevisions(db.database)
  await storeRevision(db.database, await bundleOf(office), { sources: packSources(starter(office)) })
})
afterAll(() => db.drop())

async function stored(decision: Decision, log: Engine = engine): Promise<StoredDecision> {
  await new DecisionLog({ database: db.database, engine: log }).insert(db.database.db, decision)
  return (await getDecision(db.database.db, decision.id))!
}
async function why(decision: Decision, groups: readonly string[] = []): Promise<Explanation> {
  const row = await stored(decision)
  return explain(row, await past.get(1), groups)
}
const asked = { created_at_ms: now, duration_s: 1800, id: 'req_1', reason: 'an incident', ticket_ref: null }

describe('explaining a decision', () => {
  test('names the rule with its place and its very lines, and the facts that were judged', async () => {
    const { decision } = engine.decide(
      'access',
      accessInput({ role: 'operator', time: timeFacts(now - 6 * 3_600_000, 'UTC') }),
    )
    const { rules, facts } = await why(decision)
    expect(rules).toHaveLength(1)
    expect(rules[0]).toMatchObject({ rule: 'access.office', at: expect.stringMatching(/^access\/office\.rego:6@c+/) })
    expect(rules[0]!.source.map(line => [line.line, line.text])).toEqual(
      office['access/office.rego']
        .split('\n')
        .map((text, i) => [i + 1, text])
        .slice(5, 10),
    )
    expect(facts).toEqual(
      expect.arrayContaining([
        { path: 'subject.groups', value: 'engineers' },
        { path: 'resource.labels.env', value: 'staging' },
        { path: 'time.now_at_ms', value: new Date(now - 6 * 3_600_000).toISOString() },
        { path: 'grant', value: '–' },
      ]),
    )
  })

  test('says which group would have had the role, of those that policy and people know', async () => {
    const { decision } = engine.decide(
      'access',
      accessInput({
        role: 'root',
        resource: {
          ...accessInput().resource,
          name: 'web-1',
          labels: { class: 'server', env: 'staging' },
          protocol: 'ssh',
        },
      }),
    )
    const { instead, weighed, notes } = await why(decision, ['dbas', 'gardeners'])
    expect(decision.effect).toBe('deny')
    expect(notes).toEqual([])
    expect(weighed).toBeGreaterThan(170) // a week of hours, the roles, the groups
    expect(instead.find(each => each.kind === 'group')).toEqual({ kind: 'group', values: ['dbas'], effect: 'ask' })
    expect(instead.find(each => each.kind === 'role')?.values).toContain('operator')
  })

  test('says at what hour, for how long, and with what it would have been answered otherwise', async () => {
    const early = engine.decide(
      'access',
      accessInput({
        role: 'operator',
        time: timeFacts(Date.UTC(2026, 10, 21, 5, 30), 'UTC'),
        resource: { ...accessInput().resource, labels: { class: 'server', env: 'staging' } },
      }),
    ).decision
    expect((await why(early)).instead).toContainEqual({
      kind: 'time',
      values: [String(Date.UTC(2026, 10, 21, 8))],
      effect: 'ask',
    })
    const long = engine.decide('access', accessInput({ request: { ...asked, duration_s: 90_000 } })).decision
    expect((await why(long)).instead).toContainEqual({ kind: 'duration', values: ['28800'], effect: 'ask' })
    const ticketless = engine.decide('access', accessInput({ role: 'writer' })).decision
    expect((await why(ticketless)).instead).toContainEqual({ kind: 'ticket', values: ['TICKET-1'], effect: 'ask' })
  })

  test('where no single change is enough it says which two would have been', async () => {
    const { decision } = engine.decide(
      'access',
      accessInput({ role: 'writer', request: { ...asked, duration_s: 90_000 } }),
    )
    const { instead, weighed } = await why(decision)
    expect(decision.reasons.map(reason => reason.rule)).toEqual(['access.too-long', 'access.ticketed'])
    expect(instead).toContainEqual({
      kind: 'ticket',
      values: ['TICKET-1'],
      effect: 'ask',
      with: { kind: 'duration', value: '3600' },
    })
    expect(weighed).toBeLessThan(2_000)
  })

  test('an ask names who would have to approve, an allow needs nothing', async () => {
    const ask = await why(engine.decide('access', accessInput()).decision)
    expect(ask.approval?.stages.map(stage => stage.approvers)).toEqual([['dbas']])
    expect(ask.instead).toContainEqual({ kind: 'group', values: ['dbas'], effect: 'allow' })
    const allow = await why(engine.decide('admin', adminInput('me')).decision)
    expect([allow.instead, allow.weighed]).toEqual([[], 0])
  })

  test('of a call: that it is not their own, and whose it would be', async () => {
    const { decision } = engine.decide('admin', adminInput('sessions.read'))
    const { instead } = await why(decision)
    expect(instead).toContainEqual({ kind: 'own', values: [''], effect: 'allow' })
    expect(instead).toContainEqual({ kind: 'group', values: ['auditors', 'security-admins'], effect: 'allow' })
  })

  test('of a statement: the roles that may', async () => {
    const { decision } = engine.decide(
      'action',
      actionInput({ verb: 'write', kind: 'delete', writes: [{ schema: 'public', name: 'orders' }] }),
      { session_id: 'ses_1' },
    )
    expect(decision.effect).toBe('deny')
    expect((await why(decision)).instead.find(each => each.kind === 'role')?.values).toContain('writer')
  })

  test('what a token may not do is told apart from what policy says', async () => {
    const subject = { ...engineer, token: { id: 'tok_1', scopes: ['admin:me'] } }
    const { decision } = engine.decide('admin', adminInput('resources.list', subject))
    const found = await why(decision)
    expect(found.instead).toContainEqual({ kind: 'person', values: [''], effect: 'allow' })
    const old = engine.decide('admin', adminInput('me', { ...engineer, groups_at_ms: 0 })).decision
    expect((await why(old)).notes).toContainEqual(expect.stringContaining('groups_stale); policy itself says allow'))
  })

  test('what was refused because its input could not even be read is explained as far as it goes', async () => {
    const { decision } = engine.decide('access', { nonsense: true } as never, { subject_id: 'sub_1' })
    expect(decision.code).toBe('input_invalid')
    expect(await why(decision)).toMatchObject({
      instead: [],
      weighed: 0,
      notes: [expect.stringContaining('not all of the input was kept')],
    })
  })

  test('what was not kept, or is not there, is said and not guessed', async () => {
    const hiding = {
      decide: () => ({ decision: { result: { erase: ['/input/subject/groups'], mask: [] } } }),
    } as unknown as Engine
    const { decision } = engine.decide('access', accessInput({ role: 'owner' }))
    const row = await stored(decision, hiding)
    expect(await explain(row, await past.get(1), [])).toMatchObject({
      instead: [],
      weighed: 0,
      notes: [expect.stringContaining('not all of the input was kept')],
    })
    expect((await explain(row, undefined, [])).notes).toEqual([expect.stringContaining('the revision is not there')])
    expect(await past.get(7)).toBeUndefined()
    const other: PastRevision = {
      ...(await past.get(1))!,
      weigh: () => ({ effect: 'allow', code: 'policy', reasons: [], result: null }),
    }
    const whole = await stored(engine.decide('access', accessInput({ role: 'owner' })).decision)
    expect((await explain(whole, other, [])).notes).toEqual([
      expect.stringContaining('computed again it comes out as allow'),
    ])
  })

  test('a policy that is slow neither holds anybody else up nor goes on without end, and that not all was weighed is said', async () => {
    const known = (await past.get(1))!
    const slow: PastRevision = {
      ...known,
      weigh: (point, input) => {
        for (const from = performance.now(); performance.now() - from < 8; );
        return known.weigh(point, input)
      },
    }
    const row = await stored(engine.decide('access', accessInput({ role: 'owner' })).decision)
    let turns = 0
    const others = setInterval(() => turns++, 5)
    const { notes, weighed } = await explain(row, slow, [])
    clearInterval(others)
    expect(notes).toEqual([expect.stringContaining('not all was weighed')])
    expect(weighed).toBeLessThan(150) // a second, eight milliseconds each
    expect(turns).toBeGreaterThan(10)
  })
})
