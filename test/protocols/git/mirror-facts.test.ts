import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { escapeName } from '../../../src/protocols/git/mirror/escape.ts'
import { all, git, MirrorWorld, word } from './mirror-kit.ts'

test('a fast-forward is told with its commits, paths, sizes, types and lines', async () => {
  using world = new MirrorWorld()
  world.commit('first', { 'a.txt': 'one\n', 'gone.txt': 'x\n' })
  world.direct('main')
  git(world.clone, ['config', 'core.symlinks', 'false'])
  const link = world.blob('a.txt')
  git(world.clone, ['update-index', '--add', '--cacheinfo', `120000,${link},link`])
  git(world.clone, ['update-index', '--add', '--cacheinfo', `100755,${world.blob('#!/bin/sh\n')},run`])
  const id = world.commit('second\n\nwith a body', { 'a.txt': 'one\ntwo\n', 'gone.txt': null })
  const [facts] = await world.push([world.update('refs/heads/main', id)])
  expect(facts).toMatchObject({ kind: 'fast-forward', commits_total: 1, lost_total: 0, paths_total: 4, cut: [] })
  expect(facts!.commits[0]).toMatchObject({
    id,
    subject: 'second',
    author: { name: 'Ada', email: 'ada@example.com' },
    committer: { name: 'Carl', email: 'carl@example.com' },
    parents: 1,
    signature: null,
  })
  expect(facts!.paths).toEqual([
    { path: 'a.txt', change: 'modified', type: 'file', bytes: 8, added: 1, removed: 0 },
    { path: 'gone.txt', change: 'deleted', type: 'file', bytes: 0, added: 0, removed: 1 },
    { path: 'link', change: 'added', type: 'symlink', bytes: 5, added: 1, removed: 0 },
    { path: 'run', change: 'added', type: 'executable', bytes: 10, added: 1, removed: 0 },
  ])
  expect(world.left()).toEqual([])
})

test('the largest object is that of those that came, and none that was fetched to count the lines of what goes', async () => {
  using world = new MirrorWorld()
  world.commit('first', { large: 'line\n'.repeat(20_000), a: '1' })
  world.direct('main')
  const gone = world.commit('second', { large: null, b: 'two\n'.repeat(500) })
  const [facts] = await world.push([world.update('refs/heads/main', gone)])
  expect(facts).toMatchObject({ largest_bytes: 2_000 })
  expect(facts!.paths).toContainEqual(expect.objectContaining({ path: 'large', removed: 20_000 }))
})

test('a first push, a branch from HEAD, a force and a deletion are told apart', async () => {
  using world = new MirrorWorld()
  const first = world.commit('first', { a: '1' })
  expect((await world.push([world.update('refs/heads/main', first)]))[0]).toMatchObject({
    kind: 'create',
    commits_total: 1,
  })
  const second = world.commit('second', { a: '2' })
  await world.push([world.update('refs/heads/main', second)])
  git(world.clone, ['reset', '-q', '--soft', first])
  const other = world.commit('other', { a: '3' })
  const [force] = await world.push([world.update('refs/heads/main', other)])
  expect(force).toMatchObject({ kind: 'force', lost: [second], lost_total: 1, commits_total: 1 })
  expect((await world.push([world.update('refs/heads/x', first)]))[0]).toMatchObject({
    kind: 'create',
    commits_total: 0,
  })
  expect((await world.push([world.update('refs/heads/x', null)]))[0]).toMatchObject({ kind: 'delete', lost_total: 0 })
})

test('GI5: what is deleted and created anew with other commits is a force, also in another push', async () => {
  using world = new MirrorWorld()
  const first = world.commit('first', { a: '1' })
  const second = world.commit('second', { a: '2' })
  await world.push([world.update('refs/heads/main', first)])
  await world.push([world.update('refs/heads/dev', second)])
  await world.push([world.update('refs/heads/dev', null)])
  world.restart()
  git(world.clone, ['reset', '-q', '--soft', first])
  const other = world.commit('other', { a: '3' })
  const { quarantine, facts } = await world.judged([world.update('refs/heads/dev', other)])
  expect(facts[0]).toMatchObject({ kind: 'force', old: null, lost: [second] })
  await quarantine.drop()
  expect((await world.push([world.update('refs/heads/dev', second)]))[0]).toMatchObject({ kind: 'create' })
})

test('GI5: a ref that was deleted past the gateway is remembered too', async () => {
  using world = new MirrorWorld()
  const first = world.commit('first', { a: '1' })
  const second = world.commit('second', { a: '2' })
  await world.push([world.update('refs/heads/main', first), world.update('refs/heads/dev', second)])
  world.direct(':refs/heads/dev')
  git(world.clone, ['reset', '-q', '--soft', first])
  const other = world.commit('other', { a: '3' })
  expect((await world.push([world.update('refs/heads/dev', other)]))[0]).toMatchObject({ kind: 'force' })
})

test('a tag that moves is a force; an annotated one is told with its tagger', async () => {
  using world = new MirrorWorld()
  const first = world.commit('first', { a: '1' })
  const second = world.commit('second', { a: '2' })
  await world.push([world.update('refs/heads/main', second), world.update('refs/tags/v1', first)])
  git(world.clone, ['tag', '-a', '-m', 'one', 'v1', second])
  const tag = word(world.clone, ['rev-parse', 'v1'])
  const [facts] = await world.push([world.update('refs/tags/v1', tag)])
  expect(facts).toMatchObject({
    kind: 'force',
    tag: { tagger: { name: 'Carl', email: 'carl@example.com' }, target: second, signature: null },
  })
})

test('the bytes passed on are those that came, of a thin pack too; of a part of the updates they are what these need', async () => {
  using world = new MirrorWorld({ filter: false })
  const text = Array.from({ length: 400 }, (_, i) => `line ${i} ${(i * 7919) % 1000}\n`).join('')
  const first = world.commit('first', { a: text })
  world.direct('main')
  const second = world.commit('second', { a: `${text}more\n` })
  const updates = [world.update('refs/heads/main', second)]
  const input = `${second}\n^${first}\n`
  const pack = git(world.clone, ['pack-objects', '--revs', '--stdout', '-q', '--thin', '--delta-base-offset'], {
    input,
  })
  const whole = world.pack([second])
  for (const each of [whole, pack]) {
    const judged = await world.judged(updates, each).catch((error: unknown) => error as Error)
    if (judged instanceof Error) {
      expect(each).toBe(pack)
      expect(judged.message).toContain('deltas whose base')
      continue
    }
    expect((await all(judged.quarantine.pass(updates, true))).equals(each)).toBe(true)
    await judged.quarantine.drop()
  }
  git(world.clone, ['reset', '-q', '--soft', first])
  const other = world.commit('other', { b: 'other\n' })
  const both = [...updates, world.update('refs/heads/other', other)]
  const { quarantine } = await world.judged(both)
  const part = await all(quarantine.pass([both[1]!], false))
  await quarantine.drop()
  git(world.server, ['index-pack', '--stdin'], { input: part })
  expect(word(world.server, ['cat-file', '-t', other])).toBe('commit')
  expect(() => word(world.server, ['cat-file', '-t', second])).toThrow()
})

test('the mirror keeps commits and trees, and no files, with and without a server that filters', async () => {
  for (const [filter, protocol] of [
    [true, 'version=2'],
    [false, ''],
  ] as const) {
    using world = new MirrorWorld({ filter })
    world.protocol = protocol
    world.commit('first', { a: 'a\n', 'd/b': 'b\n' })
    world.direct('main')
    const second = world.commit('second', { a: 'A\n' })
    const [facts] = await world.push([world.update('refs/heads/main', second)])
    expect(facts!.paths[0]).toMatchObject({ path: 'a', added: protocol === '' ? null : 1 })
    const before = world.fetches
    await world.push([world.update('refs/heads/main', world.commit('third', { 'd/b': 'B\n' }))])
    expect(world.fetches - before).toBe(1) // for files of before alone: the rest was known
    expect(Object.keys(world.held())).toEqual(['commit', 'tree'])
  }
})

test('many refs of one push are each told as if they came alone, and more than are looked at are refused with the remedy', async () => {
  using world = new MirrorWorld({ push: { secrets: true }, limits: { updates: 6 } })
  const first = world.commit('first', { a: '1\n', b: 'b\n' })
  const second = world.commit('second', { a: '2\n' })
  const key = `AKIA${'ABCDEFGH'.repeat(2)}`
  world.direct('main', `${first}:refs/heads/x`, `${second}:refs/heads/y`)
  const grown = world.commit('grown', { a: '3\n', key: `id=${key}\n` })
  git(world.clone, ['reset', '-q', '--hard', first])
  const forced = world.commit('forced', { a: '4\n' })
  git(world.clone, ['tag', '-a', '-m', `with ${key}`, 'v1', second])
  const updates = [
    world.update('refs/heads/main', grown),
    world.update('refs/heads/x', forced),
    world.update('refs/heads/y', forced),
    world.update('refs/heads/new', grown),
    world.update('refs/tags/v1', word(world.clone, ['rev-parse', 'v1'])),
    world.update('refs/tags/light', first),
  ]
  const { quarantine, facts } = await world.judged(updates)
  await quarantine.drop()
  const short = (id: string) => ({ [grown]: 'grown', [forced]: 'forced', [second]: 'second' })[id] ?? id
  expect(
    facts.map(each => [
      each.kind,
      each.commits.map(({ id }) => short(id)),
      each.lost.map(short),
      each.paths.map(({ path, added, removed }) => `${path} +${added} -${removed}`),
      each.secrets.map(({ path }) => path),
    ]),
  ).toEqual([
    ['fast-forward', ['grown'], [], ['a +1 -1', 'key +1 -0'], ['key']],
    ['fast-forward', ['forced'], [], ['a +1 -1'], []],
    ['force', ['forced'], [], ['a +1 -1'], []],
    ['create', ['grown'], [], ['a +1 -1', 'key +1 -0'], ['key']],
    ['create', [], [], [], ['tag message']],
    ['create', [], [], [], []],
  ])
  await expect(world.judged([...updates, world.update('refs/tags/more', first)])).rejects.toMatchObject({
    message: 'the push changes 7 refs, and more than 6 are not looked at at once',
    remedy: 'push fewer refs at a time',
  })
})

test('a name that is no UTF-8 or does not print is told in one way only', () => {
  expect(escapeName(Buffer.from('grün/日本.txt'))).toBe('grün/日本.txt')
  expect(escapeName(Buffer.from([97, 255, 10, 98]))).toBe('a\\xff\\x0ab')
  expect(escapeName(Buffer.from('a\\xff'))).toBe('a\\\\xff')
  expect(escapeName(Buffer.from('a\u202eb'))).toBe('a\\xe2\\x80\\xaeb')
})

test('a secret is found in the commit that adds it, also when the next one takes it away; what stood there before is not', async () => {
  using world = new MirrorWorld({ push: { secrets: true } })
  const key = `AKIA${'ABCDEFGH'.repeat(2)}`
  world.commit('first', { 'old.txt': `id=${key}\nx\n` })
  world.direct('main')
  const bad = world.commit('adds', { 'new.txt': 'one\n-----BEGIN RSA PRIVATE KEY-----\n', 'old.txt': `id=${key}\ny\n` })
  const good = world.commit('removes', { 'new.txt': 'one\n' })
  const { quarantine, facts } = await world.judged([world.update('refs/heads/main', good)])
  await quarantine.drop()
  expect(facts[0]!.secrets).toEqual([{ detector: 'private_key', path: 'new.txt', line: 2, commit: bad }])
  expect(facts[0]!.cut).toEqual([])
  // In the message of a tag to which another tag leads.
  git(world.clone, ['tag', '-a', '-m', `with ${key}`, 'inner', good])
  git(world.clone, ['tag', '-a', '-m', 'says nothing', 'outer', 'inner'])
  const [inner, outer] = ['inner', 'outer'].map(name => word(world.clone, ['rev-parse', name]))
  const tagged = await world.judged([world.update('refs/tags/outer', outer!)])
  await tagged.quarantine.drop()
  expect(tagged.facts[0]!.secrets.filter(each => each.path === 'tag message')).toEqual([
    { detector: 'access_key', path: 'tag message', line: 1, commit: inner },
  ])
})

test('which list is not whole is told: what is lost does not make what comes unseen, and what comes without a pack is nothing new', async () => {
  using world = new MirrorWorld({ push: { secrets: true } })
  const first = world.commit('first', { a: '1' })
  const who = 'committer Ada <ada@example.com> 1 +0000'
  const more = Array.from({ length: 201 }, (_, i) => `commit refs/heads/long\n${who}\ndata 1\n${i % 10}\n`)
  more[0] += `from ${first}\n`
  git(world.clone, ['fast-import', '--quiet'], { input: more.join('\n') })
  const long = word(world.clone, ['rev-parse', 'long'])
  world.direct('main')
  const toldOf = async (ref: string, id: string) => {
    const { quarantine, facts } = await world.judged([world.update(ref, id)])
    await quarantine.drop()
    return facts[0]!
  }
  expect(await toldOf('refs/heads/topic', long)).toMatchObject({ commits_total: 201, cut: ['commits', 'secrets'] })
  world.direct('long:topic')
  const other = world.commit('other', { a: '2' })
  expect(await toldOf('refs/heads/topic', other)).toMatchObject({ kind: 'force', lost_total: 201, cut: ['lost'] })
  const { mirrors, repository } = world
  const quarantine = await mirrors.quarantine(repository, world.target(), { session_id: 'ses_1', subject: 'ada' })
  const again = await quarantine.judge([world.update('refs/heads/again', long)])
  await quarantine.drop()
  expect(again[0]).toMatchObject({ kind: 'create', commits_total: 201, cut: ['commits'] })
})

test('a signature is verified with the keys of the resource, and with nobody else’s', async () => {
  using world = new MirrorWorld()
  const key = join(world.root, 'key')
  spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key])
  const stranger = join(world.root, 'stranger')
  spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', stranger])
  world.options.signers = [`ada@example.com ${readFileSync(`${key}.pub`, 'utf8').trim()}`]
  for (const each of [key, stranger]) {
    git(world.clone, ['config', 'gpg.format', 'ssh'])
    git(world.clone, ['config', 'user.signingkey', each])
    world.commit(`by ${each === key ? 'Ada' : 'a stranger'}`, { [each === key ? 'a' : 'b']: '1' }, ['-S'])
  }
  const last = world.commit('unsigned', {})
  const { quarantine, facts } = await world.judged([world.update('refs/heads/main', last)])
  await quarantine.drop()
  expect(facts[0]!.commits.map(each => each.signature)).toEqual([
    null,
    { kind: 'ssh', status: 'unknown', signer: null },
    { kind: 'ssh', status: 'verified', signer: expect.stringMatching(/^ada@example\.com ssh SHA256:/) },
  ])
  // Whoever holds a key whose time is over writes any date they like into a commit.
  const [principal, rest] = world.options.signers[0]!.split(/ (.*)/s) as [string, string]
  const early = { GIT_COMMITTER_DATE: '2019-06-01T00:00:00Z', GIT_AUTHOR_DATE: '2019-06-01T00:00:00Z' }
  git(world.clone, ['config', 'user.signingkey', key])
  git(world.clone, ['commit', '-q', '--allow-empty', '-S', '-m', 'backdated'], { env: early })
  const backdated = word(world.clone, ['rev-parse', 'HEAD'])
  for (const [until, status] of [
    ['20200101', 'unknown'],
    ['202001010000Z', 'unknown'],
    ['21000101', 'verified'],
  ]) {
    world.options.signers = [`${principal} valid-before="${until}" ${rest}`]
    const { quarantine: held, facts: told } = await world.judged([world.update('refs/heads/main', backdated)])
    await held.drop()
    expect(told[0]!.commits[0]!.signature, until).toMatchObject({ status })
  }
})
