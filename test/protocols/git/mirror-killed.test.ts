import { once } from 'node:events'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { processesBelow, runUntilFirstLine } from '../../support/children.ts'
import { MirrorWorld, word } from './mirror-kit.ts'

const whose = { resource: 'code', repository: 'app' }
const worker = (...states: readonly (readonly [string, MirrorWorld])[]) =>
  runUntilFirstLine(
    'test/protocols/git/mirror-worker.ts',
    states.map(([state, { root }]) => `${state}=${root}`),
  )

/** Two commits on the server and in a mirror of it. */
async function world(): Promise<MirrorWorld> {
  const made = new MirrorWorld()
  await made.push([made.update('refs/heads/main', made.commit('first', { a: 'a\n' }))])
  await made.push([made.update('refs/heads/main', made.commit('second', { a: 'precious\n' }))])
  return made
}

async function kill({ child }: { child: Awaited<ReturnType<typeof worker>>['child'] }): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'close')
}

/** Files of a mirror beside the mirror itself, and what is half in it. */
function leftOver(mirror: string): string[] {
  const own = /^(?:\d+|of\.json|refs\.json|used|lost)$/
  const packs = readdirSync(join(mirror, '1/objects/pack'))
  return [
    ...readdirSync(mirror).filter(name => !own.test(name)),
    ...readdirSync(join(mirror, '1')).filter(name => /\.(?:lock|new)$/.test(name)),
    ...packs.filter(
      name => !/^pack-[0-9a-f]+\.(?:pack|idx|rev)$/.test(name) || !packs.includes(name.replace(/\.\w+$/, '.idx')),
    ),
  ]
}

test('of a gateway that is killed nothing is left at the next start, whatever its pushes were at, and the next push works', async () => {
  const worlds = await Promise.all(
    ['quarantined', 'indexing', 'preserved', 'writing'].map(async state => [state, await world()] as const),
  )
  onTestFinished(() => {
    for (const [, made] of worlds) made[Symbol.dispose]()
  })
  await kill(await worker(...worlds))
  for (const [state, made] of worlds) {
    await expect.poll(() => processesBelow(made.root), { timeout: 5_000 }).toEqual([])
    made.restart()
    expect(made.left(), state).toEqual([])
    expect(leftOver(join(made.mirror(), '..')), state).toEqual([])
    expect(made.refs().get('refs/heads/main')).toBe(word(made.clone, ['rev-parse', 'HEAD']))
    // The target may have got the force-push: what it would have lost is kept, and nothing else.
    const lost = state === 'preserved' ? [expect.objectContaining({ ref: 'refs/heads/main', without: null })] : []
    expect(made.mirrors.lost(whose)).toEqual(lost)
    for (const { id } of made.mirrors.lost(whose))
      expect(statSync(made.mirrors.bundle(whose, id)!).size).toBeGreaterThan(100)
    const [facts] = await made.push([made.update('refs/heads/main', made.commit('third', { a: 'c\n' }))])
    expect(facts, state).toMatchObject({ kind: 'fast-forward', commits_total: 1 })
  }
})

test('of two workers on one mirror one is killed at any moment: the other goes on, takes its lock, and the mirror is whole', async () => {
  using made = await world()
  const two = await Promise.all([1, 2].map(() => worker(['pushing', made])))
  await sleep(300)
  await kill(two[0]!)
  const count = () => made.refs().size
  const then = count()
  await expect.poll(count, { timeout: 20_000 }).toBeGreaterThan(then + 1)
  await kill(two[1]!)
  made.restart()
  expect(made.left()).toEqual([])
  await made.push([made.update('refs/heads/main', made.commit('third', { a: 'c\n' }))])
  const mirror = made.mirror()
  expect(leftOver(join(mirror, '..'))).toEqual([])
  const known = word(mirror, ['for-each-ref', '--format=%(objectname)', 'refs/target']).split('\n')
  expect(known.sort()).toEqual([...new Set(made.refs().values())].sort())
  word(mirror, ['rev-list', '--objects', '--filter=blob:none', '--count', '--glob=refs/target/*'])
})
