import { expect, test } from 'vitest'
import { git, MirrorWorld } from './mirror-kit.ts'

const modules = (url: string, name = 'x') => `[submodule "${name}"]\n\tpath = x\n\turl = ${url}\n`

test('a push that leaves .gitattributes and .gitmodules as they are goes through, of a server that filters nothing too', async () => {
  for (const filter of [true, false]) {
    using world = new MirrorWorld({ filter })
    const special = { '.gitattributes': '*.txt text\n', '.gitmodules': modules('https://example.com/x') }
    world.commit('first', { ...special, 'd/.gitattributes': '*.md text\n', a: '1' })
    world.direct('main')
    const id = world.commit('second', { a: '2', 'd/.gitattributes': '*.md -text\n' })
    const [facts] = await world.push([world.update('refs/heads/main', id)])
    expect(facts).toMatchObject({ kind: 'fast-forward', paths_total: 2 })
  }
})

test('a submodule that a client would be harmed by is refused, and a name that is git’s own on some file system', async () => {
  using world = new MirrorWorld()
  const first = world.commit('first', { a: '1' })
  world.direct('main')
  for (const [files, why] of [
    [{ '.gitmodules': modules('--upload-pack=id') }, 'gitmodulesUrl'],
    [{ '.gitmodules': modules('https://example.com/x', '../../x') }, 'gitmodulesName'],
    [{ '.gitattributes': `${'x'.repeat(3000)}\n` }, 'gitattributesLineLength'],
  ] as const) {
    const id = world.commit('bad', files)
    await expect(world.judged([world.update('refs/heads/main', id)])).rejects.toThrow(why)
    git(world.clone, ['reset', '-q', first])
  }
  const blob = world.blob('x')
  for (const name of ['.GIT', 'git~1', '.g\u200cit']) {
    const tree = git(world.clone, ['mktree'], { input: `100644 blob ${blob}\t${name}\n` })
      .toString()
      .trim()
    const id = git(world.clone, ['commit-tree', '-m', 'x', tree]).toString().trim()
    await expect(world.judged([world.update('refs/heads/main', id)])).rejects.toThrow('hasDotgit')
  }
  expect(world.left()).toEqual([])
})
