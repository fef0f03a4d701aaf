import { generateKeyPairSync } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type DecisionReport, type VerifyDecisionOptions, verifyDecision } from '../../src/evidence/verify-decision.ts'
import { newId } from '../../src/ids.ts'
import type { Engine } from '../../src/policy/engine.ts'
import { batchDecisions } from '../../src/policy/log/decision-batch.ts'
import { DecisionLog } from '../../src/policy/log/decision-log.ts'
import { type DecisionProof, proveDecision } from '../../src/policy/log/decision-proof.ts'
import { activate, compiledCandidate, newestBundle } from '../../src/policy/revision-store.ts'
import { type LogWorld, logWorld } from '../audit/support.ts'
import {
  accessInput,
  actionInput,
  adminInput,
  approvalInput,
  bundleOf,
  engineer,
  keys,
  newEngine,
  now,
  opaPath,
  starter,
} from '../policy/support.ts'

const commit = 'c'.repeat(40)
let world: LogWorld
let engine: Engine
let log: DecisionLog

beforeAll(async () => {
  world = await logWorld()
  const of = { commit, author: 'Sam', subject_line: 'First', signer: null }
  const store = { database: world.database, audit: world.writer, key: keys.privateKey }
  const candidate = compiledCandidate(of, await bundleOf(), starter(), 'followed')
  await activate(
    store,
    candidate,
    async () => null,
    async () => {},
  )
  engine = newEngine()
  engine.load((await newestBundle(world.database.db, 0))!)
  log = new DecisionLog({ database: world.database, engine })
})
afterAll(() => world.close())

const options = (change: Partial<VerifyDecisionOptions> = {}): VerifyDecisionOptions => ({
  sources: async () => ({ sources: starter(), from: 'from a test' }),
  opa: opaPath(),
  vkey: world.sequencer.vkey,
  bundles: keys.publicKey,
  max_groups_age_s: 3600,
  ...change,
})

/** A decision as it stands in the log, with its leaf in the audit log. */
async function recorded(decision: ReturnType<Engine['decide']>['decision']): Promise<DecisionProof> {
  await log.insert(world.database.db, decision)
  while ((await batchDecisions(world.database, world.writer)) > 0);
  while ((await world.sequencer.step()) > 0);
  return JSON.parse(
    JSON.stringify(await proveDecision(world.database, world.sequencer.vkey, decision.id)),
  ) as DecisionProof
}

const changed = (proof: DecisionProof, change: Partial<DecisionProof['decision']>): DecisionProof => ({
  ...proof,
  decision: { ...proof.decision, ...change },
})
const verify = (proof: unknown, change: Partial<VerifyDecisionOptions> = {}): Promise<DecisionReport> =>
  verifyDecision(proof, options(change))

describe('a decision computed again', () => {
  test('a denial: bundle, digest, answer, result, second judge, leaf and signature agree', async () => {
    const { decision } = engine.decide('action', actionInput({ verb: 'write' }), { session_id: newId('ses') })
    const report = await verify(await recorded(decision))
    expect([report.ok, report.flaws, report.not_proved.length]).toEqual([true, [], 2])
    const proved = report.proved.join('\n')
    for (const words of [
      'leaf 0 of a batch',
      'signed a log of',
      'its digest is the one written down',
      'the id follows from session',
      'control signed generation 1',
      'compiles to the bundle with the digest that decided',
      'the answer is the same: deny by action.reader-write (action/action.rego:',
      'the same, byte for byte',
      'a second judge agrees',
    ])
      expect(proved).toContain(words)
  })

  test('an ask that waits for votes, and one that has them, are computed with the votes', async () => {
    const vote = { answer: 'approve', approver: 'sub_dba', at_ms: now, groups: ['dbas'], stage: 0 }
    const waiting = engine.decide('access', accessInput({ stage: 'ticket' })).decision
    const voted = engine.decide('access', accessInput({ stage: 'ticket', votes: [vote] })).decision
    expect([waiting.code, voted.effect]).toEqual(['votes_unsatisfied', 'allow'])
    for (const decision of [waiting, voted])
      expect(await verify(await recorded(decision))).toMatchObject({ ok: true, flaws: [] })
  })

  test('a scope that did not cover the call and groups that were old are computed too; the age only where it is known', async () => {
    const scoped = { ...engineer, token: { id: 'tok_1', scopes: ['access:request'] } }
    const refused = engine.decide('approve', { ...approvalInput(), subject: scoped }).decision
    expect(refused.code).toBe('token_scope')
    expect(await verify(await recorded(refused))).toMatchObject({ ok: true })
    const old = engine.decide(
      'access',
      accessInput({ subject: { ...engineer, groups_at_ms: now - 3_600_001 } }),
    ).decision
    const proof = await recorded(old)
    expect(await verify(proof)).toMatchObject({ ok: true })
    const unknown = await verify(proof, { max_groups_age_s: undefined })
    expect([unknown.ok, unknown.not_proved.join()]).toEqual([true, expect.stringContaining('--max-groups-age')])
    expect((await verify(proof, { max_groups_age_s: 7200 })).flaws.join()).toContain('the answer is ANOTHER')
  })

  test('what the log left out is said; an answer that needs no claim is computed without them', async () => {
    const proof = await recorded(engine.decide('admin', adminInput('me')).decision)
    expect(proof.decision.masked).toEqual(['/input/subject/claims'])
    const report = await verify(proof)
    expect(report.ok).toBe(true)
    expect(report.proved.join()).toContain('a second judge agrees')
    expect(report.not_proved.join()).toContain('computed without them')
    const gone = await verify(changed(proof, { erased: ['/input/time'] }))
    expect(gone.not_proved.join()).toContain('cannot be computed again')
  })

  test('a process that had no revision, or was behind, is no property of the question', async () => {
    const none = newEngine().decide('admin', adminInput('me')).decision
    const report = await verify(await recorded(none))
    expect([report.ok, report.not_proved.join()]).toEqual([true, expect.stringContaining('no revision was in force')])
  })

  test('without a commit, keys and leaf it proves less, and says so', async () => {
    const { decision } = engine.decide('action', actionInput({ kind: 'bare' }), { session_id: newId('ses') })
    await log.insert(world.database.db, decision)
    const proof = await proveDecision(world.database, world.sequencer.vkey, decision.id)
    const report = await verify(proof, { sources: async () => null, vkey: undefined, bundles: undefined })
    expect(report.ok).toBe(true)
    expect(report.proved.join()).not.toContain('the same')
    for (const words of ['waits for its place', '--bundles-key', '--repo'])
      expect(report.not_proved.join()).toContain(words)
    await recorded(engine.decide('admin', adminInput('me')).decision)
  })
})

describe('whatever was changed is a flaw', () => {
  let proof: DecisionProof
  beforeAll(async () => {
    const { decision } = engine.decide('action', actionInput({ verb: 'write', kind: 'update' }), {
      session_id: newId('ses'),
    })
    proof = await recorded(decision)
  })

  test.each<[string, (proof: DecisionProof) => DecisionProof, string]>([
    ['the effect', p => changed(p, { effect: 'allow' }), 'NOT the leaf'],
    [
      'the effect, the leaf left out',
      p => ({ ...changed(p, { effect: 'allow' }), batch: null }),
      'the answer is ANOTHER',
    ],
    ['a reason', p => changed(p, { reasons: [{ rule: 'action.default', message: 'no' }] }), 'the answer is ANOTHER'],
    ['the result', p => changed(p, { result: '{"effect":"allow","reasons":[]}' }), 'the result is ANOTHER'],
    [
      'the input',
      p => changed(p, { input: p.decision.input.replace('"reader"', '"writer"') }),
      'NOT the one that was judged',
    ],
    ['the time', p => changed(p, { at_ms: p.decision.at_ms + 1 }), 'NOT the leaf'],
    ['the subject', p => changed(p, { subject_id: 'sub_other' }), 'NOT the leaf'],
    ['the session', p => changed(p, { session_id: newId('ses') }), 'does NOT follow'],
    ['the digest', p => changed(p, { digest: 'd'.repeat(64) }), 'does NOT compile to the digest'],
    ['the revision', p => ({ ...p, revision: { ...p.revision!, commit: 'd'.repeat(40) } }), 'names another revision'],
    [
      'the signature',
      p => ({ ...p, revision: { ...p.revision!, signature: Buffer.alloc(64).toString('base64') } }),
      'NO valid signature',
    ],
    ['the shape', p => ({ ...p, format: 'other' }) as unknown as DecisionProof, 'no proof of a decision'],
  ])('%s', async (_, change, words) => {
    const report = await verify(change(proof))
    expect(report.ok).toBe(false)
    expect(report.flaws.join('\n')).toContain(words)
  })

  test('another commit, one that does not compile, and other keys', async () => {
    const action = starter().get('action/action.rego')!.toString('utf8')
    const other = starter({ 'action/action.rego': `${action}\n# one more line\n` })
    other.set('lib/people.rego', Buffer.from(`# moved\n${other.get('lib/people.rego')!.toString('utf8')}`))
    expect((await verify(proof, { sources: async () => ({ sources: other, from: 'x' }) })).flaws.join()).toContain(
      'does NOT compile to',
    )
    const broken = starter({ 'action/action.rego': 'package sallyport.action\nresult := ' })
    expect((await verify(proof, { sources: async () => ({ sources: broken, from: 'x' }) })).flaws.join()).toContain(
      'does not compile',
    )
    const { publicKey } = generateKeyPairSync('ed25519')
    expect((await verify(proof, { bundles: publicKey })).flaws.join()).toContain('NO valid signature')
    const vkey = world.sequencer.vkey.replace(/^[^+]+/, 'another/log')
    expect((await verify(proof, { vkey })).ok).toBe(false)
  })
})
