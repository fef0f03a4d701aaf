import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createGitWorld, type GitWorld, gitEnv, run } from './world.ts'

/** A server that opens one channel on a connection: the gateway can ask it nothing besides. */
let world: GitWorld

const serve = `#!/bin/sh
exec git-shell -c "$SSH_ORIGINAL_COMMAND"
`
beforeAll(async () => {
  world = await createGitWorld(
    folder => [
      {
        name: 'forge',
        options: `repositories:\n  fresh: { path: ${folder}/fresh.git }\n  grown: { path: ${folder}/grown.git }\n`,
      },
    ],
    () => serve,
    [],
    ['Match all', 'MaxSessions 1'],
  )
  for (const name of ['fresh', 'grown']) await direct(world.folder, 'init', '--quiet', '--bare', `${name}.git`)
}, 120_000)
afterAll(() => world?.close())

const direct = async (cwd: string, ...args: string[]) => {
  const said = await run(['git', ...args], cwd, gitEnv(world.folder))
  if (said.code !== 0) throw new Error(`git ${args.join(' ')}: ${said.stderr}`)
  return said.stdout.trim()
}
async function work(name: string): Promise<(text: string) => Promise<string>> {
  const folder = join(world.folder, name)
  mkdirSync(folder)
  await direct(folder, 'init', '--quiet')
  return async text => {
    writeFileSync(join(folder, 'a'), text)
    writeFileSync(join(folder, '.gitattributes'), 'a text\n') // looked at when it comes, and not asked for again
    await direct(folder, 'add', '.')
    await direct(folder, 'commit', '--quiet', '-m', text)
    return direct(folder, 'rev-parse', 'HEAD')
  }
}
const refs = (name: string) =>
  direct(join(world.folder, `${name}.git`), 'for-each-ref', '--format=%(refname) %(objectname)')

test('a server with MaxSessions 1 takes pushes as long as all it has came this way; aliases are judged as every ref they may be', async () => {
  const git = await world.git('forge', 'writer')
  const commit = await work('pusher')
  const folder = join(world.folder, 'pusher')
  const push = (...specs: string[]) => git(folder, 'push', 'forge:fresh.git', ...specs)
  const [one, two] = [await commit('one'), await commit('two')]
  for (const id of [one, two]) {
    const said = await push(`${id}:refs/heads/topic`)
    expect(said.code, said.stderr).toBe(0)
  }
  expect(await refs('fresh')).toBe(`refs/heads/topic ${two}`)
  const bare = join(world.folder, 'fresh.git')
  await direct(bare, 'update-ref', 'refs/heads/main', two)
  await direct(bare, 'symbolic-ref', 'refs/heads/alias', 'refs/heads/main')
  const three = await commit('three')
  const said = await push(`${three}:refs/heads/alias`)
  expect(said.stderr).toMatch(/\[remote rejected\].*-> alias \(refused by policy/)
  expect(said.stderr).toContain('refs/heads/main')
  expect(await refs('fresh')).not.toContain(three)
  const read = await git(world.folder, 'clone', '--quiet', 'forge:fresh.git', 'cloned')
  expect(read.code, read.stderr).toBe(0)
})

test('a push to a server with MaxSessions 1 that holds what the gateway never saw is refused in words, and changes nothing', async () => {
  const git = await world.git('forge', 'writer')
  const commit = await work('grower')
  const folder = join(world.folder, 'grower')
  const one = await commit('one')
  await direct(folder, 'push', '--quiet', join(world.folder, 'grown.git'), `${one}:refs/heads/main`)
  const two = await commit('two')
  const said = await git(folder, 'push', 'forge:grown.git', `${two}:refs/heads/topic`)
  expect(said.code).not.toBe(0)
  expect(said.stderr).toContain(
    'remote: sallyport: forge does not run a command of the gateway: it opens no second channel',
  )
  expect(said.stderr).toContain('MaxSessions')
  expect(await refs('grown')).toBe(`refs/heads/main ${one}`)
})
