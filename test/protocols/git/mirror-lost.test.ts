import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { CommandChannel, Opened } from '../../../src/gateway/protocol.ts'
import { lostCommand } from '../../../src/protocols/git/mirror/restore.ts'
import { git, MirrorWorld, word } from './mirror-kit.ts'

const whose = { resource: 'code', repository: 'app' }

test('what a force-push and a deletion lost comes back with its files from a bundle, also when the mirror is gone', async () => {
  using world = new MirrorWorld()
  const first = world.commit('first', { a: 'a\n' })
  const second = world.commit('second', { a: 'precious\n' })
  world.direct('main')
  git(world.clone, ['reset', '-q', '--soft', first])
  const other = world.commit('other', { a: 'other\n' })
  await world.push([world.update('refs/heads/main', other)])
  const third = world.commit('third', { b: 'branch\n' })
  await world.push([world.update('refs/heads/dev', third)])
  await world.push([world.update('refs/heads/dev', null)])
  git(world.server, ['-c', 'gc.pruneExpire=now', 'gc', '-q', '--prune=now'])

  const [deleted, forced] = world.mirrors.lost(whose)
  expect(deleted).toMatchObject({
    ref: 'refs/heads/dev',
    old: third,
    new: null,
    how: 'delete',
    commits: 1,
    without: null,
  })
  expect(forced).toMatchObject({ ref: 'refs/heads/main', old: second, new: other, how: 'force', commits: 1 })
  expect(forced!.by).toEqual({ session_id: 'ses_1', subject: 'ada' })

  const fresh = join(world.root, 'fresh')
  git(world.root, ['clone', '-q', world.server, fresh])
  for (const [each, file, text] of [
    [forced!, 'a', 'precious'],
    [deleted!, 'b', 'branch'],
  ] as const) {
    const bundle = world.mirrors.bundle(whose, each.id)!
    git(fresh, ['fetch', '-q', bundle, `${each.ref}:refs/heads/back-${each.how}`])
    expect(word(fresh, ['show', `back-${each.how}:${file}`])).toBe(text)
  }
  expect(world.mirrors.bundle(whose, '../../x')).toBeUndefined()

  const listed = (await asked(world, `sallyport-lost 'app'`)).toString().trim().split('\n')
  expect(listed.map(line => JSON.parse(line).id)).toEqual([deleted!.id, forced!.id])
  const sent = await asked(world, `sallyport-lost '/app.git' ${forced!.id}`)
  expect(sent.equals(readFileSync(world.mirrors.bundle(whose, forced!.id)!))).toBe(true)
  await expect(asked(world, `sallyport-lost 'app'`, 'ERR access denied')).rejects.toThrow(
    'does not let this login read',
  )
  expect(lostCommand(`sallyport-lost 'other'`, opened(world), world.mirrors)).toMatchObject({ refused: true })
  expect(lostCommand(`sallyport-lost 'app' x; id`, opened(world), world.mirrors)).toBeUndefined()
})

const opened = (world: MirrorWorld) => ({ resource: world.repository.resource }) as Opened

/** What the gateway answers to a command about what was lost, once the server began to answer. */
async function asked(world: MirrorWorld, line: string, server = '# service'): Promise<Buffer> {
  const command = lostCommand(line, opened(world), world.mirrors)
  if (command === undefined || command.refused) throw new Error('refused')
  expect(command.line).toBe("git-upload-pack 'app.git'")
  const out: Buffer[] = []
  let said = ''
  await new Promise<void>((done, fail) => {
    const reader = command.start!({
      toClient: (bytes: Buffer, stream?: string) => void (stream === 'err' ? (said += bytes) : out.push(bytes)),
      finish: (status: number) => (status === 0 ? done() : fail(new Error(said))),
    } as unknown as CommandChannel)
    reader.fromTarget(Buffer.from(`0010${server}`), 'out')
  })
  return Buffer.concat(out)
}

test('policy is told when what a push loses cannot be kept, and why is told to who looks for it', async () => {
  for (const [protocol, limits, why] of [
    ['version=2', {}, null],
    ['', {}, /hands out no object by its id/],
    ['version=2', { lost_bytes: 4_096 }, /./],
  ] as const) {
    using world = new MirrorWorld({ limits, filter: protocol !== '' })
    world.protocol = protocol
    const first = world.commit('first', { a: 'a\n' })
    world.commit('second', { a: randomBytes(20_000).toString('base64') })
    world.direct('main')
    const [facts] = await world.push([world.update('refs/heads/main', first)])
    expect(facts).toMatchObject({ kind: 'force', lost_total: 1, kept: why === null })
    const [tip] = world.mirrors.lost(whose)
    expect(tip).toMatchObject({ commits: 1, without: why === null ? null : expect.stringMatching(why) })
    expect(world.mirrors.bundle(whose, tip!.id) === undefined).toBe(why !== null)
  }
})

test('what one update loses is kept also where another one of its push is refused; of an annotated tag the tag is', async () => {
  using world = new MirrorWorld()
  const first = world.commit('first', { a: 'a\n' })
  const second = world.commit('second', { a: 'b\n' })
  git(world.clone, ['tag', '-a', '-m', 'one', 'v1', first])
  world.direct('main', 'v1')
  const updates = [
    world.update('refs/heads/main', first),
    world.update('refs/heads/other', second),
    world.update('refs/tags/v1', null),
  ]
  const { quarantine, facts } = await world.judged(updates)
  expect(facts.map(each => each.kept)).toEqual([true, null, true])
  await quarantine.settled(await quarantine.preserve([updates[0]!, updates[2]!]).then(() => [updates[0]!, updates[2]!]))
  await quarantine.drop()
  const fresh = join(world.root, 'fresh')
  git(world.root, ['clone', '-q', '--bare', '-b', 'main', '--single-branch', '--no-tags', world.server, fresh])
  for (const { id, ref } of world.mirrors.lost(whose))
    git(fresh, ['fetch', '-q', world.mirrors.bundle(whose, id)!, `${ref}:refs/back/${ref.slice(5)}`])
  expect(word(fresh, ['cat-file', '-t', 'refs/back/tags/v1'])).toBe('tag')
  expect(word(fresh, ['show', 'refs/back/heads/main:a'])).toBe('b')
})

test('a push that was told the refs before another one made some takes none of these for deleted', async () => {
  using world = new MirrorWorld()
  const first = world.commit('first', { a: 'a\n' })
  await world.push([world.update('refs/heads/main', first)])
  const early = world.target()
  const second = world.commit('second', { a: 'b\n' })
  await world.push([world.update('refs/heads/other', second)])
  const third = world.commit('third', { a: 'c\n' })
  const quarantine = await world.mirrors.quarantine(world.repository, early, { session_id: 'ses_2', subject: 'ada' })
  await quarantine.write(world.pack([third], [first]))
  quarantine.end()
  const [facts] = await quarantine.judge([{ ref: 'refs/heads/third', old: null, new: third }])
  await quarantine.drop()
  expect(facts).toMatchObject({ kind: 'create', commits_total: 2 })
  expect(world.mirrors.lost(whose)).toEqual([])
  world.direct(':refs/heads/other')
  await world.push([world.update('refs/heads/main', second)])
  expect(world.mirrors.lost(whose)).toEqual([expect.objectContaining({ ref: 'refs/heads/other', how: 'seen' })])
})

test('a client that goes before it has the answer of its force-push loses nothing: what may be lost is kept', async () => {
  using world = new MirrorWorld()
  const first = world.commit('first', { a: 'a\n' })
  const second = world.commit('second', { a: 'b\n' })
  world.direct('main')
  const updates = [world.update('refs/heads/main', first)]
  const { quarantine } = await world.judged(updates)
  await quarantine.preserve(updates)
  await quarantine.drop()
  expect(world.mirrors.lost(whose)).toEqual([expect.objectContaining({ old: second, how: 'force', without: null })])
  expect(world.left()).toEqual([])
})

test('what was lost is kept for as long as the recording of its session, and no longer', async () => {
  using world = new MirrorWorld()
  const first = world.commit('first', { a: 'a\n' })
  const second = world.commit('second', { a: 'b\n' })
  world.direct('main')
  await world.push([world.update('refs/heads/main', first)])
  const [tip] = world.mirrors.lost(whose)
  const bundle = world.mirrors.bundle(whose, tip!.id)!
  const asked: string[][] = []
  const kept = (still: string[]) => async (sessions: readonly string[]) => {
    asked.push([...sessions])
    return new Set(still)
  }
  await world.mirrors.tend(kept(['ses_1']))
  expect(world.mirrors.lost(whose)).toHaveLength(1)
  expect(word(world.mirror(), ['rev-parse', `refs/lost/${second}`])).toBe(second)
  await world.mirrors.tend(kept([]))
  expect(asked).toEqual([['ses_1'], ['ses_1']])
  expect(world.mirrors.lost(whose)).toEqual([])
  expect(existsSync(bundle)).toBe(false)
  expect(word(world.mirror(), ['for-each-ref', 'refs/lost'])).toBe('')
})

test('mirrors that nobody used for long go, and those used least lately where they take too much room', async () => {
  using world = new MirrorWorld({ limits: { idle_ms: 10_000, push_ms: 1_000 } })
  await world.push([world.update('refs/heads/main', world.commit('first', { a: 'a\n' }))])
  const none = async () => new Set<string>()
  await world.mirrors.tend(none, Date.now() + 5_000)
  expect(existsSync(world.mirror())).toBe(true)
  const mirror = world.mirror()
  await world.mirrors.tend(none, Date.now() + 20_000)
  expect(existsSync(mirror)).toBe(false)
})
