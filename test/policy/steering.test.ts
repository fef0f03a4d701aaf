import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createAuditWriter } from '../../src/audit/writer.ts'
import { newId } from '../../src/ids.ts'
import { bundleDigest, unpackBundle } from '../../src/policy/bundle.ts'
import { RevisionFollower } from '../../src/policy/follower.ts'
import { deliverNotices } from '../../src/policy/repository/notices.ts'
import { changeState, readState } from '../../src/policy/repository/policy-state.ts'
import { recover } from '../../src/policy/repository/recovery.ts'
import type { Repository } from '../../src/policy/repository/repository.ts'
import type { Hand } from '../../src/policy/repository/steering.ts'
import { packSources, revisionSources } from '../../src/policy/revision-sources.ts'
import { activate, compiledCandidate, getRevision, listRevisions } from '../../src/policy/revision-store.ts'
import { signRevision } from '../../src/policy/signing.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { commit, git, manyCommits, removeFolders, repository, starterRepository } from './repositories.ts'
import { accessInput, actionInput, bundleOf, keys, lean, newEngine, starter } from './support.ts'

const sam: Hand = { subject_id: 'sub_sam', name: 'Sam', reason: 'an incident' }

let db: TestDatabase
let dir: string
let control: Repository
let first: string
let second: string

const note = { 'note/data.json': '{"n": 2}' }

/** Two followed commits, generations 1 and 2, as polls would have made them: compiled once for all tests of this file. */
async function follow(): Promise<void> {
  db = await createTestDatabase()
  dir = starterRepository()
  first = git(dir, 'rev-parse', 'HEAD')
  second = commit(dir, Object.entries(note), 'second')
  control = repository(dir, db)
  const audit = createAuditWriter({ database: db.database, process_id: newId('prc') })
  for (const [id, changes] of [
    [first, {}],
    [second, note],
  ] as const) {
    const of = { commit: id, author: 'Mallory <m@example.com>', subject_line: 'x', signer: null }
    await activate(
      { database: db.database, audit, key: keys.privateKey },
      compiledCandidate(of, await bundleOf(changes), lean(changes), 'followed'),
      async () => null,
      async tx => changeState(tx, { followed: id, current_at: new Date() }),
    )
  }
}

/** A revision as a build with other options made and signed it. */
async function asOfAnOlderBuild(generation: number): Promise<void> {
  const row = (await getRevision(db.database.db, generation))!
  const digest = bundleDigest({ ...unpackBundle(row.bundle), opts: 0 })
  const signature = signRevision({ generation, commit: row.commit, digest }, keys.privateKey)
  await db.database
    .sql`update revisions set opts = 0, digest = ${digest}, signature = ${signature} where generation = ${generation}`
}

const revisions = async () =>
  (await listRevisions(db.database.db)).map(r => [r.generation, r.commit, r.kind, r.reused] as const).reverse()
const active = async () => (await listRevisions(db.database.db, 1))[0]
const events = async () =>
  (
    await db.database.sql<{ type: string }[]>`
      select type from audit_inbox where type like 'revision.%' and type not in ('revision.activated', 'revision.refused') order by at_ms, wseq`
  ).map(e => e.type)
const told = async () => {
  const heard: string[] = []
  await deliverNotices(db.database, async message => void heard.push(message))
  return heard.join('\n')
}

afterAll(removeFolders)

describe('the tracked ref', () => {
  beforeEach(follow)

  test('names an older commit: nothing happens until somebody pins it, and then it is followed on from there', async () => {
    git(dir, 'reset', '-q', '--hard', first)
    const refused = await control.poll()
    expect(refused).toMatchObject({ outcome: 'refused', commit: first, problems: [{ code: 'history' }] })
    expect(JSON.stringify(refused)).toContain(`sallyport policy pin ${first.slice(0, 12)}`)
    expect((await control.poll()).outcome).toBe('unchanged')
    expect((await active())?.commit).toBe(second)

    expect(await control.pin(first.slice(0, 12), sam)).toEqual({ generation: 3, commit: first })
    expect((await control.poll()).outcome).toBe('held')
    const third = commit(dir, [['lib/third.rego', 'package sallyport.lib.third\n']], 'third')
    expect((await control.poll()).outcome).toBe('held')
    expect(await control.unpin(sam)).toEqual({ ended: 'pin' })
    expect(await control.poll()).toMatchObject({ outcome: 'activated', commit: third })
    expect(await revisions()).toEqual([
      [1, first, 'followed', null],
      [2, second, 'followed', null],
      [3, first, 'pinned', 1],
      [4, third, 'followed', null],
    ])
    expect(await events()).toEqual(['revision.pinned', 'revision.unpinned'])
    expect((await readState(db.database.db)).acknowledged).toBeNull()
  })

  test('is rewritten by a force-push: the new history is not followed, whatever is pushed on top, in a fresh mirror too', async () => {
    git(dir, 'reset', '-q', '--hard', first)
    const rewritten = commit(dir, [['lib/evil.rego', 'package sallyport.lib.evil\n']], 'second')
    expect(await control.poll()).toMatchObject({ outcome: 'refused', commit: rewritten })
    const onTop = commit(dir, [['lib/more.rego', 'package sallyport.lib.more\n']], 'on top')
    expect(await repository(dir, db).poll()).toMatchObject({ outcome: 'refused', commit: onTop })
    expect((await active())?.commit).toBe(second)
    expect(await told()).toContain('does not come from')

    // Who goes back to what they know says nothing about what was pushed.
    await control.pin(first, sam)
    await control.unpin(sam)
    expect(await control.poll()).toMatchObject({ outcome: 'refused', commit: onTop })

    git(dir, 'reset', '-q', '--hard', second)
    const good = commit(dir, [['lib/good.rego', 'package sallyport.lib.good\n']], 'good')
    expect(await control.poll()).toMatchObject({ outcome: 'activated', commit: good })
  })

  test('is rewritten and acknowledged: what was dropped does not come back by itself, nor what is pushed on top of it', async () => {
    git(dir, 'reset', '-q', '--hard', first)
    const kept = commit(dir, [['lib/kept.rego', 'package sallyport.lib.kept\n']], 'without what was dropped')
    expect((await control.poll()).outcome).toBe('refused')
    await control.pin(kept, sam)
    await control.unpin(sam)

    git(dir, 'reset', '-q', '--hard', second)
    expect(await control.poll()).toMatchObject({ outcome: 'refused', commit: second, problems: [{ code: 'history' }] })
    const onTop = commit(dir, [['lib/more.rego', 'package sallyport.lib.more\n']], 'on top of what was dropped')
    expect(await control.poll()).toMatchObject({ outcome: 'refused', commit: onTop })
    expect((await active())?.commit).toBe(kept)

    git(dir, 'reset', '-q', '--hard', kept)
    expect((await control.poll()).outcome).toBe('unchanged')
    const next = commit(dir, [['lib/next.rego', 'package sallyport.lib.next\n']], 'next')
    expect(await control.poll()).toMatchObject({ outcome: 'activated', commit: next })
  })

  test('moves on by many commits and merges at once: it is followed, as far back as history is looked for', async () => {
    git(dir, 'checkout', '-q', '-b', 'side')
    manyCommits(dir, 'side', 40)
    git(dir, 'checkout', '-q', 'main')
    commit(dir, [['lib/third.rego', 'package sallyport.lib.third\n']], 'third')
    git(dir, 'merge', '-q', '--no-ff', '-m', 'merge', 'side')
    const merged = git(dir, 'rev-parse', 'HEAD')
    expect(await control.poll()).toMatchObject({ outcome: 'activated', commit: merged })
    manyCommits(dir, 'main', 40)
    expect(await control.poll()).toMatchObject({ outcome: 'activated', commit: git(dir, 'rev-parse', 'HEAD') })
  })
})

describe('PO7: a revision that is behind the tracked ref for longer than the deployment allows', () => {
  beforeAll(follow)

  test('lets nobody new in, and takes it back when it is what the ref names, or somebody holds it', async () => {
    const engine = newEngine()
    const follower = new RevisionFollower({ database: db.database, engine, maxAge_s: 60 })
    const access = (stage: 'request' | 'live') => engine.decide('access', accessInput({ stage })).decision.code
    await follower.poll()
    expect([follower.notReady, access('request')]).toEqual([null, 'policy'])
    commit(dir, [['action/action.rego', 'package sallyport.action\nresult := input.nonsense\n']], 'does not compile')
    expect((await control.poll()).outcome).toBe('refused')
    await follower.poll()
    expect(access('request')).toBe('policy')
    await db.database.sql`update policy_state set current_at = now() - interval '61 s'`
    expect((await control.poll()).outcome).toBe('unchanged')
    await follower.poll()
    expect(access('request')).toBe('policy_aged')
    expect(access('live')).toBe('votes_unsatisfied') // judged as ever: who is in stays in by policy alone
    expect(engine.decide('action', actionInput(), { session_id: 'ses_1' }).decision.code).toBe('policy')
    await control.pin(second, sam)
    await control.poll()
    await follower.poll()
    expect(access('request')).toBe('policy')
  })
})

describe('a hand on the policy', () => {
  beforeEach(follow)

  test('rolls back to the revision before, from what is stored: the repository is not asked', async () => {
    const engine = newEngine()
    const follower = new RevisionFollower({ database: db.database, engine })
    await follower.poll()
    const [one] = (await listRevisions(db.database.db)).slice(-1)
    const offline = repository('/nonexistent', db)
    expect(await offline.rollback(undefined, sam)).toEqual({ generation: 3, commit: first })
    await follower.poll()
    expect(engine.revision).toMatchObject({ generation: 3, commit: first, digest: one!.digest })
    expect(engine.decide('action', actionInput(), { session_id: 'ses_1' }).decision.code).toBe('policy')
    expect((await control.poll()).outcome).toBe('held')
    expect(await offline.rollback(2, sam)).toEqual({ generation: 4, commit: second })
    expect(await events()).toEqual(['revision.rolled_back', 'revision.rolled_back'])
    expect(await told()).toContain('Sam rolled back to policy commit')
    await expect(offline.rollback(99, sam)).rejects.toMatchObject({ code: 'not_found' })
    await expect(offline.pin('fffffff', sam)).rejects.toMatchObject({ code: 'policy_unavailable' })
  })

  test('pins a commit that never was in force only when it is in the history of the tracked ref and passes the gate', async () => {
    const bad = commit(dir, [['action/action.rego', 'package sallyport.action\nresult := input.nonsense\n']], 'bad')
    const good = commit(dir, [['action/action.rego', starter().get('action/action.rego')!]], 'mended')
    git(dir, 'checkout', '-q', '-b', 'other')
    const elsewhere = commit(dir, [], 'elsewhere')
    git(dir, 'checkout', '-q', 'main')
    await expect(control.pin(bad, sam)).rejects.toMatchObject({
      message: expect.stringContaining('action/action.rego:2'),
    })
    await expect(control.pin(elsewhere, sam)).rejects.toMatchObject({ code: 'not_found' })
    await expect(control.pin('HEAD', sam)).rejects.toMatchObject({ code: 'bad_request' })
    expect(await control.pin(good.slice(0, 7), sam)).toEqual({ generation: 3, commit: good })
    expect(await control.pin(good, sam)).toEqual({ generation: 3, commit: good }) // in force already: held, nothing new
    await control.unpin(sam)
    await expect(control.unpin(sam)).rejects.toMatchObject({ code: 'conflict' })
  })

  test('stays over an upgrade: what an older build compiled is compiled again from its stored sources, without git', async () => {
    await control.pin(first, sam)
    await asOfAnOlderBuild(3)
    const upgraded = repository('/nonexistent', db)
    await expect(upgraded.poll()).rejects.toMatchObject({ code: 'policy_unavailable' })
    expect((await revisions()).slice(2)).toEqual([
      [3, first, 'pinned', 1],
      [4, first, 'pinned', null],
    ])
    await expect(upgraded.poll()).rejects.toMatchObject({ code: 'policy_unavailable' })
    expect((await control.poll()).outcome).toBe('held')
    expect(await revisions()).toHaveLength(4)
    await db.database.sql`update revisions set opts = 9 where generation = 4` // of a newer build
    await control.poll()
    expect(await revisions()).toHaveLength(4)
  })

  test('is no way around the signature: stored sources that do not compile to what was signed are not signed after an upgrade', async () => {
    await control.pin(first, sam)
    await asOfAnOlderBuild(3)
    const admin = starter().get('admin/admin.rego')!.toString().replace('"me",', '"me", "tokens.forge",')
    const forged = packSources(lean({ 'admin/admin.rego': admin }))
    await db.database.sql`update revisions set sources = ${forged} where generation = 3`
    await expect(repository('/nonexistent', db).poll()).rejects.toMatchObject({ code: 'policy_unavailable' })
    expect(await revisions()).toHaveLength(3)

    expect((await control.poll()).outcome).toBe('held') // git has the commit whose id was signed
    expect((await active())?.generation).toBe(4)
    const { sources } = (await revisionSources(db.database.db, 4))!
    expect(sources.get('admin/admin.rego')!.toString()).not.toContain('tokens.forge')
    await db.database.sql`update revisions set opts = 0, digest = 'forged' where generation = 4`
    await control.poll()
    expect(await revisions()).toHaveLength(4)
    expect(await told()).toContain('is not what this control plane signed')
  })

  test('does not guess: the beginning of several commits that were in force names none of them, however often one was', async () => {
    const twin = first.slice(0, 12) + second.slice(12)
    await db.database.sql`update revisions set commit = ${twin} where generation = 2`
    await db.database.sql`
      insert into revisions (generation, commit, digest, opa_version, opts, bundle, rules, signature, author, subject_line)
      select generation + 1, commit, digest, opa_version, opts, bundle, rules, signature, author, subject_line
      from revisions where generation = 2`
    await expect(control.pin(first.slice(0, 12), sam)).rejects.toMatchObject({
      code: 'bad_request',
      message: expect.stringContaining('the beginning of several commits'),
    })
  })

  test('cannot have control sign what control never signed', async () => {
    await db.database
      .sql`update revisions set bundle = (select bundle from revisions where generation = 2) where generation = 1`
    await expect(control.rollback(1, sam)).rejects.toMatchObject({
      message: expect.stringContaining('is not the one that was signed'),
    })
    await db.database
      .sql`update revisions set digest = (select digest from revisions where generation = 2) where generation = 1`
    await expect(control.rollback(1, sam)).rejects.toMatchObject({ message: expect.stringContaining('was not signed') })
    expect((await active())?.generation).toBe(2)
  })
})

describe('a recovery', () => {
  let audit: ReturnType<typeof createAuditWriter>
  beforeAll(async () => {
    await follow()
    audit = createAuditWriter({ database: db.database, process_id: newId('prc') })
  })
  const store = () => ({ database: db.database, audit, key: keys.privateKey })
  const local = async (ends_in_s: number) => {
    const of = { commit: 'recovery-0123456789ab', author: 'root', subject_line: 'recovery', signer: null }
    return { ...compiledCandidate(of, await bundleOf(), starter(), 'recovery'), ends_in_s }
  }

  test('lasts an hour at most, is told, holds everything else off, and ends by itself with what was in force before', async () => {
    const by = { who: 'root@control-1', reason: 'everybody is locked out' }
    await expect(recover(store(), await local(3601), by)).rejects.toMatchObject({ code: 'bad_request' })
    const { generation, ends_at_ms } = await recover(store(), await local(60), by)
    expect(generation).toBe(3)
    let now = ends_at_ms! - 30_000
    const engine = newEngine({ now: () => now })
    const follower = new RevisionFollower({ database: db.database, engine, now: () => now })
    await follower.poll()
    expect([follower.notReady, engine.revision?.generation]).toEqual([null, 3])
    expect((await control.poll()).outcome).toBe('held')
    await expect(control.rollback(undefined, sam)).rejects.toMatchObject({ code: 'conflict' })
    expect(await told()).toContain('RECOVERY: root@control-1')

    await control.endDueRecovery() // its time is not over
    expect((await active())?.generation).toBe(3)
    now = ends_at_ms! + 1
    await follower.poll() // control is gone: nothing is decided by it any more, all the same
    expect(follower.notReady).toContain('the recovery is over')
    expect(engine.decide('action', actionInput(), { session_id: 'ses_1' }).decision.code).toBe('policy_stale')

    await db.database.sql`update policy_state set recovery_ends_at = now()`
    await Promise.all([control.endDueRecovery(), repository(dir, db).endDueRecovery()])
    expect((await revisions()).slice(2)).toEqual([
      [3, 'recovery-0123456789ab', 'recovery', null],
      [4, second, 'returned', 2],
    ])
    await follower.poll()
    expect([follower.notReady, engine.revision?.generation]).toEqual([null, 4])
    expect((await control.poll()).outcome).toBe('unchanged')
    expect(await events()).toEqual(['revision.recovered', 'revision.recovery_ended'])
    expect(await told()).toContain('The recovery is over')
    await expect(control.rollback(3, sam)).rejects.toMatchObject({ message: expect.stringContaining('was a recovery') })
  })

  test('ends when somebody unpins, and cannot be made longer in the database', async () => {
    const { generation } = await recover(store(), await local(600), { who: 'root', reason: 'again' })
    await db.database.sql`update revisions set ends_at = ends_at + interval '1 day' where generation = ${generation}`
    const engine = newEngine()
    const follower = new RevisionFollower({ database: db.database, engine })
    await follower.poll()
    expect(engine.revision).toBeNull()
    expect(await control.unpin(sam)).toEqual({ ended: 'recovery' })
    expect(await active()).toMatchObject({ commit: second, kind: 'returned' })
  })

  test('that is over while nothing from before can come back lets the tracked ref be compiled anew', async () => {
    await recover(store(), await local(600), { who: 'root', reason: 'again' })
    await db.database.sql`update revisions set signature = bundle where kind <> 'recovery'`
    await db.database.sql`update policy_state set recovery_ends_at = now()`
    await control.endDueRecovery()
    expect(await control.poll()).toMatchObject({ outcome: 'activated', commit: second })
    expect(await active()).toMatchObject({ commit: second, kind: 'followed' })
  })

  test('that is over is not begun with by a process that starts after its end, before control has ended it', async () => {
    const { ends_at_ms } = await recover(store(), await local(60), { who: 'root', reason: 'once more' })
    const engine = newEngine()
    const follower = new RevisionFollower({ database: db.database, engine, now: () => ends_at_ms! + 1 })
    await follower.poll()
    expect(follower.notReady).toContain('the recovery is over')
    expect(engine.decide('action', actionInput(), { session_id: 'ses_1' }).decision.code).toBe('policy_stale')
    await control.unpin(sam)
  })
})
