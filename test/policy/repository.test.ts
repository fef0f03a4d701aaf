import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { RevisionFollower } from '../../src/policy/follower.ts'
import { Refused } from '../../src/policy/problem.ts'
import { GitMirror } from '../../src/policy/repository/git.ts'
import { listRefusals, listRevisions } from '../../src/policy/revision-store.ts'
import { revisions } from '../../src/policy/schema.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { commit, folder, git, removeFolders, repository, starterRepository, write } from './repositories.ts'
import { actionInput, adminInput, engineer, newEngine, starter } from './support.ts'

let db: TestDatabase

beforeAll(async () => {
  db = await createTestDatabase()
})
afterAll(async () => {
  await db.drop()
  removeFolders()
})

const mirrorOf = (source: string) => new GitMirror({ source, ref: 'main', dir: folder() })

describe('reading a hostile repository', () => {
  test('a tag with the name of the branch does not pass for it', async () => {
    const dir = starterRepository()
    const branch = git(dir, 'rev-parse', 'HEAD')
    git(dir, 'checkout', '-q', '-b', 'evil')
    const evil = commit(dir, [['admin/admin.rego', 'package sallyport.admin\n']], 'pushed by who may push tags only')
    git(dir, 'tag', 'main', evil)
    git(dir, 'checkout', '-q', 'heads/main')
    const mirror = mirrorOf(dir)
    expect(await mirror.remoteHead()).toBe(branch)
    expect((await mirror.fetch()).commit).toBe(branch)
  })

  test('a fetch that is cut off leaves nothing behind', async () => {
    const dir = starterRepository()
    const at = folder()
    const mirror = new GitMirror({ source: dir, ref: 'main', dir: at })
    await mirror.fetch()
    const object = git(dir, 'rev-parse', 'HEAD')
    commit(dir, [['lib/more.rego', 'package sallyport.lib.more\n']])
    const head = git(dir, 'rev-parse', 'HEAD')
    rmSync(join(dir, '.git/objects', head.slice(0, 2), head.slice(2))) // it alone: others may lie in its folder
    writeFileSync(join(at, 'mirror.git/objects/pack/tmp_pack_Ab12Cd'), 'half of a pack')
    await expect(mirror.fetch()).rejects.toThrow('policy repository')
    expect(existsSync(join(at, 'mirror.git/objects/pack/tmp_pack_Ab12Cd'))).toBe(false)
    git(dir, 'update-ref', 'refs/heads/main', object)
    expect((await mirror.fetch()).commit).toBe(object)
  })

  test('a mirror that grew is thrown away and made again', async () => {
    const dir = starterRepository()
    const at = folder()
    const mirror = new GitMirror({ source: dir, ref: 'main', dir: at })
    const first = (await mirror.fetch()).commit
    const packs = join(at, 'mirror.git/objects/pack')
    for (let n = 0; n < 300; n++) writeFileSync(join(packs, `pack-${n}.keep`), '')
    const second = commit(dir, [['lib/more.rego', 'package sallyport.lib.more\n']])
    expect((await mirror.fetch(true)).commit).toBe(second)
    expect(readdirSync(packs).length).toBeLessThan(10)
    expect(await mirror.descends(second, first)).toBe(true)
  })

  test('files are read as they were committed, from a folder of it too', async () => {
    const dir = starterRepository()
    commit(dir, [
      ['.gitattributes', '*.rego export-subst ident filter=evil text eol=crlf\n'],
      ['inner/lib/x.rego', 'package sallyport.lib.x\n# $Id$ $Format:%H$\n'],
    ])
    const whole = mirrorOf(dir)
    const { commit: id, author, subject_line } = await whole.fetch()
    expect([author, subject_line]).toEqual(['Mallory <m@example.com>', 'change'])
    expect((await whole.read(id)).get('action/action.rego')).toEqual(starter().get('action/action.rego'))
    const inner = new GitMirror({ source: dir, ref: 'main', folder: 'inner', dir: folder() })
    const read = await inner.read((await inner.fetch()).commit)
    expect([...read].map(([path, text]) => [path, text.toString()])).toEqual([
      ['lib/x.rego', 'package sallyport.lib.x\n# $Id$ $Format:%H$\n'],
    ])
  })

  test('hooks, filters and configuration of it do not run', async () => {
    const dir = starterRepository()
    const trace = join(folder(), 'ran')
    for (const hook of ['post-checkout', 'pre-auto-gc', 'post-merge', 'reference-transaction', 'post-upload-pack']) {
      write(dir, [[`.git/hooks/${hook}`, `#!/bin/sh\ntouch ${trace}\n`]])
      execFileSync('chmod', ['+x', join(dir, '.git/hooks', hook)])
    }
    git(dir, 'config', 'uploadpack.packObjectsHook', `touch ${trace};`)
    git(dir, 'config', 'core.fsmonitor', `touch ${trace}`)
    const mirror = mirrorOf(dir)
    await mirror.read((await mirror.fetch()).commit)
    expect(existsSync(trace)).toBe(false)
  })

  test('links and submodules are refused', async () => {
    const dir = starterRepository()
    symlinkSync('/etc/passwd', join(dir, 'lib/passwd.rego'))
    mkdirSync(join(dir, 'resources'), { recursive: true })
    const id = commit(dir, [])
    git(dir, 'update-index', '--add', '--cacheinfo', `160000,${id},lib/module`)
    git(dir, 'commit', '-q', '-m', 'module')
    const mirror = mirrorOf(dir)
    const { commit: head } = await mirror.fetch()
    const error = await mirror.read(head).catch((e: unknown) => e)
    expect(error).toBeInstanceOf(Refused)
    expect((error as Refused).problems.map(p => p.file).sort()).toEqual(['lib/module', 'lib/passwd.rego'])
  })

  test('too large a file and too odd a name are refused', async () => {
    const dir = starterRepository()
    commit(dir, [
      ['lib/data.json', `"${'x'.repeat(9 << 20)}"`],
      ['lib/ -x.rego', 'package sallyport.lib.x'],
    ])
    const mirror = mirrorOf(dir)
    const error = await mirror.read((await mirror.fetch()).commit).catch((e: unknown) => e)
    expect((error as Refused).problems.map(p => p.code).sort()).toEqual(['source_path', 'source_size'])
  })

  test.each([
    'ssh://git@example.com/x',
    'git@example.com:x',
    'ext::sh -c touch% /tmp/x',
    'http://example.com/x',
    '--upload-pack=touch',
    'https://user:secret@example.com/x',
    'relative/path',
    'ssh://-oProxyCommand=x@example.com/x',
    'ssh://git@-oProxyCommand=x/x',
    'git@example.com:-x',
    'git@example.com:--upload-pack=x',
    'ssh://example.com/x',
    'ssh://git:secret@example.com/x',
  ])('the source %s is refused', source => {
    expect(() => new GitMirror({ source, ref: 'main', dir: '/nonexistent' })).toThrow('policy.source')
  })

  test.each(['--exec=x', '-x', 'a..b', 'a b', '', 'main\n'])('the ref %j is refused', ref => {
    expect(() => new GitMirror({ source: '/x', ref, dir: '/nonexistent' })).toThrow('policy.ref')
  })

  test('a repository that is not there is one clear error', async () => {
    const missing = mirrorOf(join(folder(), 'none')).remoteHead()
    await expect(missing).rejects.toMatchObject({
      code: 'policy_unavailable',
      message: expect.stringContaining('cannot be read'),
    })
  })
})

describe('a revision', () => {
  test('is compiled, signed, activated, followed; a commit that does not pass leaves it in force and says why', async () => {
    const dir = starterRepository()
    const heard: string[] = []
    const control = repository(dir, db, {
      onActivated: r => heard.push(`active ${r.generation}`),
      onRefused: (_, problems) => heard.push(`refused ${problems[0]?.file}`),
    })
    const engine = newEngine()
    const follower = new RevisionFollower({ database: db.database, engine })
    await follower.poll()
    expect(follower.notReady).toBe('no policy revision is active')

    expect((await control.poll()).outcome).toBe('activated')
    expect((await control.poll()).outcome).toBe('unchanged')
    await follower.poll()
    expect([follower.notReady, engine.revision?.generation]).toEqual([null, 1])
    const first = engine.decide('action', actionInput(), { session_id: 'ses_1' })

    const bad = commit(
      dir,
      [['action/action.rego', 'package sallyport.action\nresult := input.nonsense\n']],
      'break it',
    )
    const refused = await control.poll()
    expect(refused).toMatchObject({ outcome: 'refused', commit: bad })
    expect((await control.poll()).outcome).toBe('unchanged')
    await follower.poll()
    expect(engine.decide('action', actionInput(), { session_id: 'ses_1' })).toBe(first)
    const [stored] = await listRefusals(db.database.db)
    expect(stored?.commit).toBe(bad)
    expect(stored?.problems[0]).toMatchObject({ file: 'action/action.rego', line: 2 })

    const stricter = starter()
      .get('action/action.rego')!
      .toString()
      .replace('"reader": {"read", "session"}', '"reader": {"session"}')
    const good = commit(dir, [['action/action.rego', stricter]], 'readers read nothing')
    expect(await control.poll()).toMatchObject({ outcome: 'activated', commit: good })
    await follower.poll()
    const after = engine.decide('action', actionInput(), { session_id: 'ses_1' }).decision
    expect([after.effect, after.generation, after.commit]).toEqual(['deny', 2, good])
    expect(after.digest).not.toBe(first.decision.digest)
    expect(heard).toEqual(['active 1', 'refused action/action.rego', 'active 2'])
    expect((await listRevisions(db.database.db)).map(r => [r.generation, r.subject_line])).toEqual([
      [2, 'readers read nothing'],
      [1, 'the starter policies'],
    ])

    const events = await db.database.sql<
      { type: string }[]
    >`select type from audit_inbox where type like 'revision.%' order by at_ms, wseq`
    expect(events.map(e => e.type)).toEqual(['revision.activated', 'revision.refused', 'revision.activated'])
  })

  test('is refused as the first one when it locks its administrators out', async () => {
    const own = await createTestDatabase()
    const control = repository(starterRepository(), own, { first_admins: 'somebody-else' })
    const outcome = await control.poll()
    expect(outcome).toMatchObject({
      outcome: 'refused',
      problems: [{ code: 'first_admins', file: 'admin/admin.rego' }],
    })
    expect(await listRevisions(own.database.db)).toEqual([])
    await own.drop()
  })

  test('PO7: with a bad signature, another digest or a changed bundle is not taken, and after 5 s nothing is decided', async () => {
    const own = await createTestDatabase()
    await repository(starterRepository(), own).poll()
    const engine = newEngine()
    const follower = new RevisionFollower({ database: own.database, engine })
    await follower.poll()
    const [row] = await own.database.db.select().from(revisions)
    await own.database.db.insert(revisions).values({ ...row!, generation: 2, activated_at: new Date() })
    await follower.poll()
    expect([engine.revision?.generation, engine.stale]).toEqual([1, null])
    await own.database.sql`update revisions set activated_at = now() - interval '6 seconds' where generation = 2`
    await follower.poll()
    expect(follower.notReady).toContain('revision 2 is active')
    expect(engine.decide('admin', adminInput('me', engineer)).decision).toMatchObject({
      effect: 'deny',
      code: 'policy_stale',
    })
    await own.drop()
  })

  test('FA1: a database that does not answer leaves nothing to decide by after a while, and what was decided by comes back', async () => {
    const own = await createTestDatabase()
    await repository(starterRepository(), own).poll()
    const engine = newEngine()
    const follower = new RevisionFollower({ database: own.database, engine, everyMs: 50, deafAfterMs: 400 })
    await follower.start()
    expect(follower.notReady).toBeNull()
    await own.database.sql.begin(async sql => {
      await sql`lock table revisions in access exclusive mode` // every look hangs, none fails
      await expect.poll(() => follower.notReady, { timeout: 5_000 }).toContain('could not be learned')
      expect(engine.decide('action', actionInput(), { session_id: 'ses_1' }).decision.code).toBe('policy_stale')
    })
    await expect.poll(() => follower.notReady, { timeout: 5_000 }).toBeNull()
    expect(engine.decide('action', actionInput(), { session_id: 'ses_1' }).decision.code).toBe('policy')
    await follower.stop()
    await own.drop()
  })

  test('two controls at once make one revision', async () => {
    const own = await createTestDatabase()
    const dir = starterRepository()
    const outcomes = await Promise.all([repository(dir, own).poll(), repository(dir, own).poll()])
    expect(outcomes.map(o => o.outcome).sort()).toEqual(['activated', 'unchanged'])
    await own.drop()
  })
})
