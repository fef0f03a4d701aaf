import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { Duplex } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { canonical, type Json } from '../../../src/canonical.ts'
import { Git } from '../../../src/protocols/git/mirror/git.ts'
import { Intake } from '../../../src/protocols/git/mirror/intake.ts'
import { mirrorLimits } from '../../../src/protocols/git/mirror/limits.ts'
import { askNames } from '../../../src/protocols/git/symrefs.ts'
import { all, git, MirrorWorld, word } from './mirror-kit.ts'

describe('unsigned commits do not come onto a protected name in two steps', () => {
  test('what HEAD is the server says, and no name that whoever pushes has made', async () => {
    using world = new MirrorWorld()
    git(world.server, ['symbolic-ref', 'HEAD', 'refs/heads/trunk'])
    world.commit('first', { a: '1' })
    world.direct('main:trunk')
    const evil = world.commit('evil', { a: '2' })
    const of = async () => {
      const { quarantine, facts } = await world.judged([world.update('refs/heads/release/1', evil)])
      await quarantine.drop()
      return facts[0]!.commits.map(each => each.subject)
    }
    await world.push([world.update('refs/heads/topic', evil)])
    expect(await of()).toEqual(['evil'])
    await world.push([world.update('refs/heads/main', evil)])
    expect(await of()).toEqual(['evil'])
    git(world.server, ['symbolic-ref', 'HEAD', 'refs/heads/none'])
    git(world.server, ['update-ref', '-d', 'refs/heads/main'])
    expect(await of()).toEqual(['evil', 'first'])
  })

  test.each(['version=2', ''])('in protocol %j it is asked which refs are names, and what HEAD is', async protocol => {
    using world = new MirrorWorld()
    git(world.server, ['symbolic-ref', 'HEAD', 'refs/heads/trunk'])
    git(world.server, ['symbolic-ref', 'refs/heads/alias', 'refs/heads/trunk'])
    const ask = () => {
      const env = { PATH: process.env['PATH'], GIT_PROTOCOL: protocol }
      const child = spawn('git', ['upload-pack', world.server], { env, stdio: ['pipe', 'pipe', 'ignore'] })
      const both = Duplex.from({ readable: child.stdout, writable: child.stdin })
      both.on('error', () => {})
      return askNames(both)
    }
    expect((await ask()).head).toBeNull()
    const first = world.commit('first', { a: '1' })
    world.direct('main:trunk')
    const { symrefs, head } = await ask()
    expect(head).toBe(first)
    expect(symrefs?.get('refs/heads/alias')).toBe(protocol === '' ? undefined : 'refs/heads/trunk')
  })
})

test('a tag of a file or a folder by itself is told as not looked at', async () => {
  using world = new MirrorWorld({ push: { secrets: true } })
  world.commit('first', { a: '1' })
  world.direct('main')
  const blob = world.blob('-----BEGIN RSA PRIVATE KEY-----\nabc\n')
  const tree = git(world.clone, ['mktree'], { input: `100644 blob ${blob}\tsecret\n` })
    .toString()
    .trim()
  git(world.clone, ['tag', '-a', '-m', 'x', 'x', blob])
  for (const id of [blob, tree, word(world.clone, ['rev-parse', 'x'])]) {
    const { quarantine, facts } = await world.judged([world.update('refs/tags/x', id)])
    expect(facts[0]).toMatchObject({ kind: 'create', commits: [], cut: ['paths', 'secrets'] })
    await quarantine.drop()
  }
})

describe('who begins pushes and ends none', () => {
  const open = (world: MirrorWorld, subject: string) =>
    world.mirrors.quarantine(world.repository, world.target(), { session_id: 'ses_1', subject })

  test('keeps nobody else out', async () => {
    using world = new MirrorWorld()
    const begun = await Promise.all(Array.from({ length: 16 }, () => open(world, 'mallory')))
    await expect(open(world, 'mallory')).rejects.toThrow('16 pushes of yours are under way')
    begun.push(await open(world, 'ada'))
    await begun.shift()!.drop()
    begun.push(await open(world, 'mallory'))
    await Promise.all(begun.map(each => each.drop()))
    expect(world.left()).toEqual([])
  })

  test('has a time for the pack, also where no byte of it comes', async () => {
    using world = new MirrorWorld({ limits: { push_ms: 300 } })
    const quarantine = await open(world, 'mallory')
    await expect(quarantine.whole).rejects.toThrow('took too long')
    await quarantine.drop()
  })

  test('fills no disk: whether there is room is seen again and again', async () => {
    using world = new MirrorWorld()
    const pack = world.pack([world.commit('large', { a: randomBytes(17 << 20) })])
    const objects = new Git({ repository: world.server, objects: join(world.server, 'objects') }, mirrorLimits)
    let room = 1
    const intake = new Intake(objects, mirrorLimits, { most: 1 << 30, format: 'sha1', hasRoom: () => room-- > 0 })
    for (let at = 0; at < pack.length; at += 1 << 20) await intake.write(pack.subarray(at, at + (1 << 20)))
    await expect(intake.whole).rejects.toThrow('no room')
    await intake.stop()
  })
})

test('a secret is found in UTF-16, between carriage returns, in a merge that made it up, and in the messages of commits and tags', async () => {
  using world = new MirrorWorld({ push: { secrets: true } })
  const first = world.commit('first', { a: '1\n' })
  world.direct('main')
  const key = '-----BEGIN RSA PRIVATE KEY-----'
  const found = async (ref: string, id: string) => {
    const { quarantine, facts } = await world.judged([world.update(ref, id)])
    await quarantine.drop()
    git(world.clone, ['reset', '-q', first])
    return facts[0]!.secrets.map(each => `${each.path}:${each.line} ${each.detector}`)
  }
  const wide = world.commit('wide', { w: Buffer.from(`\ufeffone\r\n${key}\r\n`, 'utf16le') })
  expect(await found('refs/heads/x', wide)).toEqual(['w:2 private_key'])
  expect(await found('refs/heads/x', world.commit('old', { r: `x\r${key}\r` }))).toEqual(['r:1 private_key'])
  const side = world.commit('side', { b: '2\n' })
  const names = { a: '1\n', b: '2\n', evil: key }
  const lines = Object.entries(names).map(([name, text]) => `100644 blob ${world.blob(text)}\t${name}\n`)
  const tree = git(world.clone, ['mktree'], { input: lines.join('') })
    .toString()
    .trim()
  const merge = git(world.clone, ['commit-tree', '-p', first, '-p', side, '-m', 'Merge', tree]).toString().trim()
  expect(await found('refs/heads/x', merge)).toEqual(['evil:1 private_key'])
  const said = world.commit(`said\n\n${key}`, {})
  expect(await found('refs/heads/x', said)).toEqual(['commit message:3 private_key'])
  git(world.clone, ['tag', '-a', '-m', key, 'told', first])
  expect(await found('refs/tags/told', word(world.clone, ['rev-parse', 'told']))).toEqual(['tag message:1 private_key'])
})

test('a subject and a name that are cut are cut between letters: policy takes no half ones', async () => {
  using world = new MirrorWorld()
  const id = world.commit(`${'x'.repeat(119)}😀 and more`, {}, [`--author=${'y'.repeat(199)}😀z <a@example.com>`])
  const { quarantine, facts } = await world.judged([world.update('refs/heads/main', id)])
  await quarantine.drop()
  const { subject, author } = facts[0]!.commits[0]!
  expect([subject, author.name]).toEqual(['x'.repeat(119), 'y'.repeat(199)])
  expect(() => canonical(facts[0] as Json)).not.toThrow()
})

test('what is sent behind a pack while git is still busy with it does not go on with it', async () => {
  using world = new MirrorWorld()
  world.commit('first', { a: '1' })
  world.direct('main')
  let text = randomBytes(40_000).toString('hex').replaceAll(/.{40}/g, '$&\n')
  let id = ''
  for (let i = 0; i < 25; i++) id = world.commit(`${i}`, { a: (text += `${randomBytes(8).toString('hex')}\n`) })
  const pack = world.pack([id])
  const updates = [world.update('refs/heads/main', id)]
  const [header, whole] = [pack.subarray(0, 12), pack.subarray(12)]
  for (const wait of [3, 8]) {
    const quarantine = await world.mirrors.quarantine(world.repository, world.target())
    for (const each of [header, whole]) await quarantine.write(each)
    await new Promise(resolve => setTimeout(resolve, wait))
    await quarantine.write(Buffer.alloc(20, 'x'))
    quarantine.end()
    const judged = await quarantine.judge(updates).catch((error: unknown) => error as Error)
    if (judged instanceof Error) expect(judged.message).toContain('bytes behind the end')
    else expect((await all(quarantine.pass(updates, true))).equals(pack)).toBe(true)
    await quarantine.drop()
  }
})
