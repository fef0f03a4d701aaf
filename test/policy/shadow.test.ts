import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { newId } from '../../src/ids.ts'
import type { Engine } from '../../src/policy/engine.ts'
import { candidateOf } from '../../src/policy/impact/revision.ts'
import { policyNotices, shadowRevisions } from '../../src/policy/schema.ts'
import { hide } from '../../src/policy/shadow/hide.ts'
import { Shadow } from '../../src/policy/shadow/shadow.ts'
import { ShadowSource } from '../../src/policy/shadow/source.ts'
import { endShadows, newestShadow, shadowReport, storeShadow, writeWeighed } from '../../src/policy/shadow/store.ts'
import { type Observed, Weigher } from '../../src/policy/shadow/weigher.ts'
import { signRevision, signShadow, verifyRevision, verifyShadow } from '../../src/policy/signing.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { commit, folder, git, starterRepository } from './repositories.ts'
import {
  acceptAll,
  accessInput,
  actionInput,
  engineer,
  keys,
  newEngine,
  now,
  opaPath,
  rawBundle,
  signed,
} from './support.ts'

const of = { commit: 'd'.repeat(40), author: 'Sam', subject_line: 'next', signer: null }
const allowAll = 'package sallyport.action\nresult := {"effect": "allow", "reasons": []}'
const readOnly = `package sallyport.action
result := {"effect": "deny", "reasons": [{"rule": "test.rule", "message": "no"}]} if input.action.verb != "read"
result := {"effect": "allow", "reasons": []} if input.action.verb == "read"`
let db: TestDatabase
let engine: Engine
const open: Shadow[] = []

beforeAll(async () => {
  db = await createTestDatabase()
  engine = newEngine()
  engine.load(signed(await rawBundle({ action: allowAll }), 1))
})
afterEach(async () => {
  for (const shadow of open.splice(0)) await shadow[Symbol.asyncDispose]()
})
afterAll(() => db.drop())

const loader = pathToFileURL(join(import.meta.dirname, '../support/typescript.js')).href

function shadowOf(on: Engine = engine, key = keys.publicKey): Shadow {
  const shadow = new Shadow({
    database: db.database,
    engine: on,
    key,
    process_id: newId('prc'),
    zone: 'UTC',
    max_groups_age_s: 3600,
    execArgv: ['--import', loader],
  })
  open.push(shadow)
  shadow.start()
  return shadow
}

const report = () => shadowReport(db.database.db, 1, 100)

/** Waits until a shadow has weighed what was decided. */
async function weighed(shadow: Shadow, judged: number): Promise<NonNullable<Awaited<ReturnType<typeof report>>>> {
  for (let tries = 0; tries < 200; tries++) {
    await shadow.look()
    const found = await report()
    if (found !== undefined && found.counts.judged >= judged) return found
    await sleep(50)
  }
  throw new Error(`nothing was weighed: ${JSON.stringify(await report())}`)
}

describe('a shadow', () => {
  test('weighs what is decided, changes no outcome, and says whom it would have denied', async () => {
    await storeShadow(db.database, keys.privateKey, of, { bundle: await rawBundle({ action: readOnly }) })
    const shadow = shadowOf()
    await shadow.look()
    const session_id = newId('ses')
    for (let i = 0; i < 30; i++) {
      const input = actionInput({ verb: i % 3 === 0 ? 'write' : 'read', facts: { i } })
      const { decision, permit } = engine.decide('action', input, { session_id })
      expect([decision.effect, permit !== null]).toEqual(['allow', true])
    }
    engine.decide('decision_log', { effect: 'allow', point: 'action', resource: null })
    const { counts, groups } = await weighed(shadow, 30)
    expect(counts).toEqual({ judged: 30, diverged: 10, skipped: 0, left: 0, processes: 1 })
    expect(groups).toHaveLength(1)
    expect(groups[0]).toMatchObject({
      change: 'denied',
      point: 'action',
      count: 10,
      resource: 'shop-db',
      generation: 1,
    })
    expect(groups[0]!.subject).toEqual({ id: 'sub_ada', name: 'Ada' })
    expect(groups[0]!.after.reasons[0]!.at).toBe(`action/action.rego:3@${of.commit}`)
  })

  test('every process adds to the same groups', async () => {
    const other = newEngine()
    other.load(signed(await rawBundle({ action: allowAll }), 1))
    const shadow = shadowOf(other)
    await shadow.look()
    for (let i = 0; i < 5; i++)
      other.decide('action', actionInput({ verb: 'write', facts: { i } }), { session_id: newId('ses') })
    const { counts, groups } = await weighed(shadow, 35)
    expect([counts.processes, counts.diverged, groups.length, groups[0]!.count]).toEqual([2, 15, 1, 15])
  })

  test('a flood is decided all the same; what is not weighed is counted', async () => {
    const shadow = shadowOf()
    await shadow.look()
    const before = (await report())!.counts
    for (let i = 0; i < 3000; i++) engine.decide('action', actionInput({ verb: 'read', facts: { flood: i } }))
    expect(shadow.waiting).toBeLessThanOrEqual(2000)
    const { counts } = await weighed(shadow, before.judged + 1)
    expect(counts.skipped - before.skipped).toBe(1000)
  })

  test('what a session repeats is weighed too, also where it was decided before the shadow began', async () => {
    const session_id = newId('ses')
    const repeat = () => engine.decide('action', actionInput({ verb: 'read', facts: { repeated: 1 } }), { session_id })
    const first = repeat().decision
    const before = (await report())!.counts.judged
    const shadow = shadowOf()
    await shadow.look()
    expect(repeat().decision.id).toBe(first.id)
    await weighed(shadow, before + 1)
  })

  test('a candidate whose every answer is dear takes a small part of a core all the same', async () => {
    const endless = `package sallyport.action
result := {"effect": "allow", "reasons": []} if { xs := numbers.range(1, 3000); some a in xs; some b in xs; a < b; b < a }`
    await endShadows(db.database)
    await storeShadow(db.database, keys.privateKey, of, { bundle: await rawBundle({ action: endless }) })
    const shadow = shadowOf()
    await shadow.look()
    const decide = (n: number) => {
      for (let i = 0; i < 10; i++) engine.decide('action', actionInput({ verb: 'read', facts: { dear: n + i } }))
    }
    decide(0)
    await weighed(shadow, 10)
    decide(10)
    await sleep(500)
    await shadow.look()
    expect([(await report())!.counts.judged, shadow.waiting]).toEqual([10, 10]) // it rests: ten took a quarter of a second
    await endShadows(db.database)
    await storeShadow(db.database, keys.privateKey, of, { bundle: await rawBundle({ action: readOnly }) })
  })

  test('one that is not signed by control as a shadow is not weighed', async () => {
    const { number } = (await newestShadow(db.database.db))!
    const facts = { shadow: number, commit: of.commit, digest: 'a'.repeat(64) }
    const revision = { generation: number, commit: of.commit, digest: 'a'.repeat(64) }
    expect(verifyRevision(revision, signShadow(facts, keys.privateKey), keys.publicKey)).toBe(false)
    expect(verifyShadow(facts, signRevision(revision, keys.privateKey), keys.publicKey)).toBe(false)
    await db.database.db.update(shadowRevisions).set({ signature: Buffer.alloc(64) })
    const shadow = shadowOf()
    await shadow.look()
    engine.decide('action', actionInput({ facts: { unsigned: true } }))
    expect(shadow.waiting).toBe(0)
  })

  test('what ends, or is in force already, is not weighed', async () => {
    const bundle = await rawBundle({ action: allowAll })
    await storeShadow(db.database, keys.privateKey, of, { bundle })
    const shadow = shadowOf()
    await shadow.look()
    engine.decide('action', actionInput({ facts: { same: true } }))
    expect(shadow.waiting).toBe(0)
    await endShadows(db.database)
    expect(await newestShadow(db.database.db)).toBeUndefined()
    expect(await report()).toBeUndefined()
  })

  test('groups beyond the bound are counted, not stored', async () => {
    const number = await storeShadow(db.database, keys.privateKey, of, {
      bundle: await rawBundle({ action: readOnly }),
    })
    await db.database.sql`insert into shadow_divergences
      (number, generation, key, point, change, before, after, details, count, first_at_ms, last_at_ms, examples)
      select ${number}, 1, 'k' || n, 'action', 'denied', '{}', '{}', '[]', 1, 0, 0, '[]' from generate_series(1, 2000) n`
    const weigher = new Weigher({ ...(await weigherOptions()), groups: 10 })
    weigher.weigh(observed(actionInput({ verb: 'write' }) as never))
    await writeWeighed(db.database, number, newId('prc'), [weigher.take()], 0)
    expect((await report())!.counts).toMatchObject({ judged: 1, diverged: 1, left: 1 })
  })
})

async function weigherOptions() {
  const bundle = await rawBundle({ action: readOnly })
  return { candidate: candidateOf({ name: 'shadow', commit: of.commit }, bundle), zone: 'UTC', max_groups_age_s: 3600 }
}

function observed(input: object): Observed {
  const answer = {
    effect: 'allow' as const,
    code: 'policy' as const,
    reasons: [],
    result: { effect: 'allow', reasons: [] },
  }
  return {
    id: newId('dec'),
    point: 'action',
    at_ms: now,
    generation: 1,
    input: JSON.stringify(input),
    answer: answer as never,
    hidden: [],
  }
}

describe('the ref of a shadow', () => {
  test('is followed beside the other; a commit that does not pass is told and not weighed; what diverges is told once', async () => {
    const dir = starterRepository()
    git(dir, 'checkout', '-q', '-b', 'next')
    const good = commit(dir, [['README.md', 'next']], 'a candidate')
    const source = new ShadowSource({
      database: db.database,
      git: { source: dir, ref: 'next', dir: folder() },
      gate: { opa: opaPath(), protocols: acceptAll },
      key: keys.privateKey,
      engine,
    })
    await source.poll()
    const first = await newestShadow(db.database.db)
    expect([first?.commit, first?.digest === null]).toEqual([good, false])
    await source.poll()
    expect((await newestShadow(db.database.db))?.number).toBe(first?.number)

    const weigher = new Weigher({ ...(await weigherOptions()), groups: 10 })
    weigher.weigh(observed(actionInput({ verb: 'write' })))
    await writeWeighed(db.database, first!.number, newId('prc'), [weigher.take()], 0)
    for (let i = 0; i < 3; i++) await source.report()

    const signatures = { allowed_signers: join(folder(), 'signers') }
    writeFileSync(signatures.allowed_signers, 'sam@example.com namespaces="git" ssh-ed25519 AAAA\n')
    const strict = new ShadowSource({
      database: db.database,
      git: { source: dir, ref: 'next', dir: folder(), signatures },
      gate: { opa: opaPath(), protocols: acceptAll },
      key: keys.privateKey,
      engine,
    })
    commit(dir, [['README.md', 'unsigned']], 'nobody signed this')
    await strict.poll()
    expect((await newestShadow(db.database.db))?.problems).toMatchObject([{ code: 'signature' }])

    commit(dir, [['action/action.rego', 'package sallyport.action\n']], 'broken')
    await source.poll()
    const refused = await newestShadow(db.database.db)
    expect([refused?.digest, refused!.problems.length > 0]).toEqual([null, true])
    const told = (await db.database.db.select().from(policyNotices)).map(row => row.message)
    expect(told).toHaveLength(3)
    expect(told.join('\n')).toContain('is not signed, and only commits of allowed signers are followed here')
    expect(told.join('\n')).toContain('would decide 1 of 1 questions differently (nothing is enforced by it)')
    expect(told.join('\n')).toContain('1 × denied: Ada on shop-db at action, by test.rule')
    expect(told.join('\n')).toContain('does not pass the gate and is not weighed')
  })
})

test('votes, scopes and ages count in the shadow as they do in what decides', async () => {
  const asking = `package sallyport.access
result := {"effect": "ask", "reasons": [], "approval": {"stages": [{"approvers": ["dbas"], "quorum": 1, "channel": "c"}], "expires_s": 60}}`
  const bundle = await rawBundle({ access: asking })
  const weigher = new Weigher({
    candidate: candidateOf({ name: 'shadow', commit: of.commit }, bundle),
    zone: 'UTC',
    max_groups_age_s: 3600,
    groups: 10,
  })
  const vote = { answer: 'approve', approver: 'sub_dba', at_ms: now, groups: ['dbas'], stage: 0 }
  const answers = newEngine()
  answers.load(signed(bundle, 1))
  const questions = [
    accessInput({ stage: 'ticket', votes: [vote] }),
    accessInput({ stage: 'ticket' }),
    accessInput({ subject: { ...engineer, token: { id: 'tok_1', scopes: ['admin:me'] } } }),
    accessInput({ subject: { ...engineer, groups_at_ms: 0 } }),
  ]
  for (const input of questions) {
    const { id, point, at_ms, effect, code, reasons, result, input: text } = answers.decide('access', input).decision
    weigher.weigh({
      id,
      point,
      at_ms,
      generation: 1,
      input: text,
      answer: { effect, code, reasons, result },
      hidden: [],
    })
  }
  expect(weigher.take()).toMatchObject({ judged: 4, diverged: 0 })
})

describe('what the decision log hides, the shadow does not tell', () => {
  const quoting = `package sallyport.action
result := {"effect": "deny", "reasons": [{"rule": "test.rule", "message": $"{input.subject.name} may not touch {input.action.facts.query}"}]}`
  const hiding = (paths: string) =>
    `package sallyport.decision_log\nresult := {"erase": [${paths}], "mask": ["/input/subject/name"]}`

  test('a message that quotes it is hidden, its rule and place are not; the name of who asked goes too', async () => {
    const active = newEngine()
    active.load(signed(await rawBundle({ action: allowAll, decision_log: hiding('"/input/action/facts"') }), 1))
    await storeShadow(db.database, keys.privateKey, of, { bundle: await rawBundle({ action: quoting }) })
    const shadow = shadowOf(active)
    await shadow.look()
    active.decide('action', actionInput({ facts: { query: 'card 4000-1234' } }), { session_id: newId('ses') })
    const { groups } = await weighed(shadow, 1)
    expect(groups).toHaveLength(1)
    expect(groups[0]!.after.reasons).toEqual([
      { rule: 'test.rule', at: `action/action.rego:3@${of.commit}`, message: '[masked]' },
    ])
    expect(groups[0]!.subject).toEqual({ id: 'sub_ada', name: '[masked]' })
    const [row] = await db.database.sql`select jsonb_agg(to_jsonb(d))::text as text from shadow_divergences d
      where number = (select max(number) from shadow_revisions)`
    expect(row!['text']).not.toMatch(/4000-1234|Ada/)
  })

  test('what is not quoted is told as it is, and terms are hidden like messages', () => {
    const side = (message: string) => ({
      effect: 'deny' as const,
      code: 'policy' as const,
      reasons: [{ rule: 'r', at: 'x:1', message }],
    })
    const difference = {
      change: 'terms' as const,
      before: side('only DBAS may'),
      after: side('ask first'),
      details: ['approval.channel: secret-room → b', 'grant.max_s: 60 → 61'],
    }
    const party = { subject: { id: 'sub_1', name: 'Ada' }, resource: 'shop-db', role: 'reader' }
    const told = { input: { subject: { groups: ['dbas'] } }, results: [{ approval: { channel: 'secret-room' } }] }
    const shown = hide(difference, party, ['/input/subject/groups', '/result/approval/channel', '/input/none'], told)
    expect(shown.difference.before.reasons[0]!.message).toBe('[masked]')
    expect(shown.difference.after.reasons[0]!.message).toBe('ask first')
    expect(shown.difference.details).toEqual(['[masked]', 'grant.max_s: 60 → 61'])
    expect(shown.party).toEqual(party)
  })
})
