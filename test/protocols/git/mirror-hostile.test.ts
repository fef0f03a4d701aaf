import { mkdirSync, readdirSync, rmSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { Duplex } from 'node:stream'
import { expect, test } from 'vitest'
import { self } from '../../../src/protocols/git/mirror/lock.ts'
import type { TargetSide } from '../../../src/protocols/git/push.ts'
import { git, MirrorWorld, type RawObject, rawPack, word } from './mirror-kit.ts'

const person = 'A <a@example.com> 1700000000 +0000'

test('packs that are cut, wrong, bombs, loops or not whole are refused in words, and nothing of them is left', async () => {
  using world = new MirrorWorld({ limits: { pack_objects: 1_000 } })
  world.commit('first', { a: '1' })
  world.direct('main')
  const id = world.commit('second', { a: '2' })
  const good = world.pack([id])
  const wrong = Buffer.from(good)
  wrong[wrong.length - 1]! ^= 1
  const spoiled = Buffer.from(good)
  spoiled[20]! ^= 0xff
  const loop: RawObject[] = [
    { type: { base: '1'.repeat(40) }, data: Buffer.from([1, 1, 0x90, 1]) },
    { type: { base: '2'.repeat(40) }, data: Buffer.from([1, 1, 0x90, 1]) },
  ]
  const treeless = Buffer.from(`tree ${'3'.repeat(40)}\nauthor ${person}\ncommitter ${person}\n\nx\n`)
  const treelessId = word(world.clone, ['rev-parse', 'HEAD']) && hashOf(world, treeless)
  const cases: [Buffer, string, RegExp][] = [
    [good.subarray(0, good.length - 30), id, /cannot be taken: .*early EOF/],
    [good.subarray(0, 7), id, /ends after 7 bytes/],
    [Buffer.from('not a pack at all, whatever it may be'), id, /no pack of version 2 or 3/],
    [wrong, id, /pack is corrupted/],
    [spoiled, id, /cannot be taken/],
    [Buffer.concat([good, Buffer.from('tail')]), id, /bytes behind the end/],
    [rawPack(loop), id, /deltas whose base/],
    [
      rawPack([{ type: 'commit', data: Buffer.alloc(100), size: 64 * 2 ** 30 }]),
      id,
      /larger than the gateway can look at/,
    ],
    [rawPack([], 2_000_000_000), id, /2000000000 objects/],
    [
      rawPack([{ type: 'commit', data: Buffer.from(`tree ${'3'.repeat(40)}\n\nno author\n`) }]),
      id,
      /cannot be taken: .*missingAuthor/,
    ],
    [rawPack([{ type: 'tree', data: treeOf('.git', '3'.repeat(40)) }]), id, /cannot be taken: .*hasDotgit/],
    [rawPack([{ type: 'commit', data: treeless }]), treelessId, /lacks objects that it needs/],
    [rawPack([]), id, /lacks the object that refs\/heads\/main would name/],
  ]
  for (const [pack, tip, said] of cases) {
    await expect(world.judged([world.update('refs/heads/main', tip)], pack), String(said)).rejects.toThrow(said)
    expect(world.left()).toEqual([])
  }
  expect((await world.push([world.update('refs/heads/main', id)]))[0]!.kind).toBe('fast-forward')
})

test('deltas that stand upon more deltas than git writes are refused', async () => {
  using world = new MirrorWorld({ limits: { delta_depth: 1 } })
  const lines = Array.from({ length: 300 }, (_, i) => `${(i * 7919) % 9973} of ${i}`)
  let id = ''
  for (let n = 0; n < 6; n++) {
    lines[20 * n] = `changed ${n}`
    id = world.commit(`${n}`, { a: lines.join('\n') })
  }
  await expect(world.judged([world.update('refs/heads/main', id)])).rejects.toThrow(/\d deltas upon each other/)
  expect(world.left()).toEqual([])
})

test('GI10: a push that is not passed on leaves refs as they were and nothing in quarantine', async () => {
  using world = new MirrorWorld()
  const id = world.commit('first', { a: '1' })
  const { quarantine } = await world.judged([world.update('refs/heads/main', id)])
  expect(world.left()).toHaveLength(1)
  await quarantine.drop()
  await quarantine.drop()
  expect(world.left()).toEqual([])
  expect(world.refs().size).toBe(0)
  expect(() => git(world.mirror(), ['cat-file', '-e', id])).toThrow()
})

test('a client that goes in the middle of its pack leaves nothing; what a crashed gateway left goes at its next start', async () => {
  using world = new MirrorWorld()
  const id = world.commit('first', { a: '1'.repeat(5000) })
  const quarantine = await world.mirrors.quarantine(world.repository, world.target())
  await quarantine.write(world.pack([id]).subarray(0, 100))
  const lively = `${self.replace(' ', '-')}-${'0'.repeat(16)}`
  mkdirSync(join(world.folder, 'quarantine', `999999999-1-${'0'.repeat(16)}`, 'objects'), { recursive: true })
  mkdirSync(join(world.folder, 'quarantine', lively))
  await quarantine.drop()
  await expect(quarantine.whole).rejects.toThrow()
  world.restart()
  expect(world.left()).toEqual([lively])
})

test('a mirror that was lost, damaged or emptied is made anew by the push that finds it so', async () => {
  using world = new MirrorWorld()
  world.commit('first', { a: '1' })
  world.direct('main')
  const push = () => world.push([world.update('refs/heads/main', world.commit('more', { a: String(Math.random()) }))])
  await push()
  const packs = () => readdirSync(join(world.mirror(), 'objects/pack')).filter(name => name.endsWith('.pack'))
  for (const name of packs()) truncateSync(join(world.mirror(), 'objects/pack', name), 40)
  expect((await push())[0]).toMatchObject({ kind: 'fast-forward', commits_total: 1 })
  rmSync(join(world.mirror(), 'objects/pack'), { recursive: true })
  expect((await push())[0]).toMatchObject({ kind: 'fast-forward' })
  rmSync(join(world.folder, 'mirrors'), { recursive: true })
  world.restart()
  expect((await push())[0]).toMatchObject({ kind: 'fast-forward' })
})

test('two workers and two pushes at once share a mirror that is behind', async () => {
  using world = new MirrorWorld()
  const first = world.commit('first', { a: '1' })
  world.direct('main')
  const tips = ['x', 'y', 'z'].map(name => {
    git(world.clone, ['reset', '-q', '--soft', first])
    return [name, world.commit(name, { [name]: name })] as const
  })
  const facts = await Promise.all(
    tips.map(async ([name, id], i) => {
      if (i === 1) world.restart()
      return (await world.push([world.update(`refs/heads/${name}`, id)]))[0]!
    }),
  )
  expect(facts.map(each => [each.kind, each.commits_total])).toEqual([
    ['create', 1],
    ['create', 1],
    ['create', 1],
  ])
  expect(readdirSync(join(world.mirror(), '..')).filter(name => name.startsWith('lock'))).toEqual([])
  expect(word(world.mirror(), ['for-each-ref', '--format=x']).split('\n')).toHaveLength(4)
})

test('a target that says nothing while the mirror reads from it holds up no push that needs nothing of it, and is given up', async () => {
  using world = new MirrorWorld({ limits: { silent_ms: 1_000 } })
  const first = world.commit('first', { a: '1' })
  await world.push([world.update('refs/heads/main', first)])
  const early = world.target()
  const second = world.commit('second', { a: '2' })
  world.direct('main')
  const third = world.commit('third', { a: '3' })
  const begin = async (target: TargetSide) => {
    const quarantine = await world.mirrors.quarantine(world.repository, target)
    await quarantine.write(world.pack([third], [first]))
    quarantine.end()
    return quarantine
  }
  const silent = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
  const waits = await begin({ ...world.target(), fetch: async () => silent })
  const given = waits.judge([{ ref: 'refs/heads/x', old: null, new: third }]).catch((error: unknown) => error)
  const known = await begin({ ...early, fetch: () => Promise.reject(new Error('nothing is asked')) })
  const facts = await known.judge([{ ref: 'refs/heads/y', old: null, new: third }])
  expect(facts[0]).toMatchObject({ kind: 'create', commits_total: 2 })
  await known.drop()
  const behind = await begin(world.target())
  expect((await behind.judge([{ ref: 'refs/heads/z', old: null, new: third }]))[0]).toMatchObject({ commits_total: 1 })
  await behind.drop()
  expect(await given).toMatchObject({ message: expect.stringContaining('it said nothing for 1 s') })
  await waits.drop()
  expect(silent.destroyed).toBe(true)
  expect(world.refs().get('refs/heads/main')).toBe(second)
  expect(world.left()).toEqual([])
  expect(readdirSync(join(world.mirror(), '..')).filter(name => /^(?:lock|fetch)/.test(name))).toEqual([])
})

function hashOf(world: MirrorWorld, commit: Buffer): string {
  return git(world.clone, ['hash-object', '-t', 'commit', '--literally', '--stdin'], { input: commit })
    .toString()
    .trim()
}

function treeOf(name: string, id: string): Buffer {
  return Buffer.concat([Buffer.from(`100644 ${name}\0`), Buffer.from(id, 'hex')])
}
